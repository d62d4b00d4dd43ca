//! With a live host: it does what is asked, between two calls, or leaves everything as it is.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use super::crash::{CRASHES, Small, fill};
use super::{World, path};
use crate::harness::{Ran, Started, while_calling};

/// Calls `echo` from several callers while `change` goes on; every call has to succeed, and some come after it.
fn under_load(host: &Started, change: impl FnOnce()) {
    let clients = [(); 8].map(|()| host.client());
    let call = |caller: usize| {
        let text = format!("caller {caller}");
        assert_eq!(clients[caller].call("echo", json!({"text": text})).structured(), &json!({"text": text}));
    };
    while_calling(clients.len(), call, |calls| {
        calls.wait_for(20);
        change();
        calls.wait_for(20);
    });
}

/// The version of the plugin whose calls are written down last.
fn last_called(world: &World) -> Value {
    let listed = world.audit(&["list", "--output", "json"]);
    let records: Vec<Value> = serde_json::from_str(&listed).expect("JSON");
    let mut intents = records.iter().filter(|record| record["kind"] == "intent" && record["body"]["tool"] == "echo");
    intents.next_back().expect("somebody called")["body"]["plugin_version"].clone()
}

/// A world whose `echo` is installed, and a host that serves it.
fn serving() -> (World, Started) {
    let world = World::new();
    world.install(&world.version("first", &[])).done();
    let host = world.start();
    (world, host)
}

#[test]
fn another_version_takes_its_place_under_load_once_approved_and_goes_again_with_no_call_failing() {
    let (world, mut host) = serving();
    let wider = world.wider();
    world.plugin(&["install", path(&wider)]).refused(&["would take the place of 0.1.0", "+ read:echoes", "--approve sha256:"]);
    assert_eq!(world.active().as_deref(), Some("0.1.0"));
    // Who has no such scope is not let in to the wider one; so it asks for nothing new here, but for memory.
    let second = world.version("second", &[("0.1.0", "0.2.0"), ("8MiB", "16MiB")]);
    under_load(&host, || {
        world.plugin(&["install", path(&second)]).refused(&["+ 16.0 MiB"]);
        world.install(&second).done();
    });
    assert_eq!((world.active().as_deref(), last_called(&world)), (Some("0.2.0"), json!("0.2.0")));
    under_load(&host, || {
        world.plugin(&["rollback", "echo"]).done();
    });
    assert_eq!((world.active().as_deref(), last_called(&world)), (Some("0.1.0"), json!("0.1.0")));
    assert!(host.stop("-TERM").success());
    let acts: Vec<_> = world.records("plugin_").iter().map(|body| body["action"].clone()).collect();
    assert_eq!(acts, [json!("plugin_install"), json!("plugin_install"), json!("plugin_rollback")]);
    // What was in force at the end is in force at the next start.
    let host = world.start();
    assert_eq!(host.client().call("echo", json!({"text": "x"})).structured(), &json!({"text": "x"}));
    assert_eq!(world.active().as_deref(), Some("0.1.0"));
}

#[test]
fn a_live_host_refuses_what_it_could_not_serve_and_serves_on() {
    let (world, host) = serving();
    let before = fs::read(world.data().join("plugins/installed.json")).expect("there");
    let wasm = fs::read(world.dir.path().join("first/echo.wasm")).expect("readable");
    for (name, component, why) in [
        ("truncated", &wasm[..wasm.len() / 2], "echo.wasm"),
        ("core", b"\0asm\x01\0\0\0", "component"),
        ("empty", b"", "echo.wasm"),
    ] {
        let dir = world.version(name, &[("0.1.0", "0.3.0")]);
        fs::write(dir.join("echo.wasm"), component).expect("writable");
        world.install(&dir).refused(&[why]);
    }
    let reaching = world.version("reaching", &[("memory =", "backends = [\"vault\"]\nmemory =")]);
    world.install(&reaching).refused(&["backend `vault` is not defined on this host"]);
    assert_eq!(fs::read(world.data().join("plugins/installed.json")).expect("there"), before);
    assert_eq!(fs::read_dir(world.data().join("plugins/sha256")).expect("there").count(), 1);
    assert_eq!(host.client().call("echo", json!({"text": "x"})).structured(), &json!({"text": "x"}));
    world.plugin(&["remove", "echo"]).refused(&["no plugin"]);
}

#[test]
fn a_tool_comes_and_goes_with_its_plugin() {
    let world = World::new();
    fs::rename(world.version("first", &[]), world.dir.path().join("plugins/echo")).expect("movable");
    let host = world.start();
    let other = world.dir.path().join("greeter");
    fs::create_dir(&other).expect("writable");
    // The same component under another name would have the same tool.
    fs::copy(world.dir.path().join("plugins/echo/echo.wasm"), other.join("greeter.wasm")).expect("readable");
    let manifest = fs::read_to_string(world.dir.path().join("plugins/echo/plugin.toml")).expect("readable");
    fs::write(other.join("plugin.toml"), manifest.replacen("name = \"echo\"", "name = \"greeter\"", 1)).expect("writable");
    world.install(&other).refused(&["`echo` is the name of a tool in both `echo` and `greeter`"]);
    assert_eq!(world.listed(), Vec::<Value>::new());
    drop(host);
}

#[test]
fn a_host_killed_at_any_step_of_an_installation_serves_the_old_or_the_new() {
    for (place, has_happened) in CRASHES {
        let world = World::new();
        world.install(&world.version("first", &[])).done();
        let mut host = world.host().failing(&format!("{place}=return")).start();
        let second = world.version("second", &[("0.1.0", "0.2.0")]);
        let died = world.plugin(&["install", path(&second)]);
        assert_ne!(died.code, Some(0), "{place}: {died:?}");
        assert!(!host.ended().success(), "{place}");
        let expected = if has_happened { "0.2.0" } else { "0.1.0" };
        let host = world.start();
        assert_eq!(host.client().call("echo", json!({"text": "x"})).structured(), &json!({"text": "x"}), "{place}");
        assert_eq!((world.active().as_deref(), last_called(&world)), (Some(expected), json!(expected)), "{place}");
        world.plugin(&["install", path(&second)]).done();
        assert_eq!(world.active().as_deref(), Some("0.2.0"), "{place}");
    }
}

#[test]
fn on_a_full_disk_a_live_host_keeps_what_it_serves() {
    let (world, host) = full_at_install();
    let second = world.version("second", &[("0.1.0", "0.2.0")]);
    let plugins = world.data().join("plugins");
    let filler = fill(&plugins);
    world.plugin(&["install", path(&second)]).refused(&["No space left"]);
    assert_eq!(host.1.client().call("echo", json!({"text": "x"})).structured(), &json!({"text": "x"}));
    assert_eq!(world.active().as_deref(), Some("0.1.0"));
    fs::remove_file(filler).expect("removable");
    world.plugin(&["install", path(&second)]).done();
    assert_eq!(world.active().as_deref(), Some("0.2.0"));
}

/// A host that serves `echo`, installed on a small disk of its own.
fn full_at_install() -> (World, (Small, Started)) {
    let world = World::new();
    let plugins = world.data().join("plugins");
    fs::create_dir_all(&plugins).expect("writable");
    let small = Small::mounted_at(&plugins);
    world.install(&world.version("first", &[])).done();
    let host = world.start();
    (world, (small, host))
}

#[test]
fn two_that_ask_a_live_host_at_once_take_turns() {
    let (world, host) = serving();
    let versions: Vec<_> = (1..5).map(|n| world.version(&format!("v{n}"), &[("0.1.0", &format!("0.1.{n}"))])).collect();
    let spawn = |source: &Path| {
        let mut install = world.command(&["install", path(source), "--approve"]);
        install.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("tidegate runs")
    };
    let running: Vec<_> = versions.iter().map(|source| spawn(source)).collect();
    for child in running {
        Ran::of(&child.wait_with_output().expect("it ends")).done();
    }
    assert_eq!(world.listed().len(), 5);
    drop(host);
    assert_eq!(world.records("plugin_install").len(), 5);
}

#[test]
fn what_could_not_be_put_in_force_after_it_was_written_down_is_written_down_as_undone() {
    let world = World::new();
    world.install(&world.version("first", &[])).done();
    let mut host = world.host().failing("install::unchanged=1*return->off").start();
    let second = world.version("second", &[("0.1.0", "0.2.0")]);
    world.plugin(&["install", path(&second)]).refused(&["the change is refused"]);
    assert_eq!((world.active().as_deref(), host.client().call("echo", json!({"text": "x"})).status), (Some("0.1.0"), 200));
    world.plugin(&["install", path(&second)]).done();
    assert_eq!(world.active().as_deref(), Some("0.2.0"));
    assert!(host.stop("-TERM").success());
    let acts: Vec<_> = world.records("plugin_").iter().map(|body| body["action"].clone()).collect();
    assert_eq!(acts, ["plugin_install", "plugin_install", "plugin_undone", "plugin_install"]);
}
