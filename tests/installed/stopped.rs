//! Without a live host: installed on its data folder, under its lock, and served when it starts.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{World, path};
use crate::harness::{self, Ran, guest, workspace};

/// The digest in force.
fn active_digest(world: &World) -> String {
    let active = world.listed().into_iter().find(|version| version["active"] == true).expect("one is in force");
    active["digest"].as_str().expect("a digest").to_owned()
}

/// The folder of the contents in force.
fn contents(world: &World) -> PathBuf {
    world.data().join("plugins/sha256").join(active_digest(world))
}

/// Everything below a folder, with what is in it.
fn snapshot(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten() {
            let path = entry.expect("readable").path();
            if path.is_dir() { dirs.push(path) } else { found.push((path.clone(), fs::read(&path).expect("readable"))) }
        }
    }
    found.sort();
    found
}

#[test]
fn a_plugin_is_shown_approved_by_its_digest_served_and_taken_back() {
    let world = World::new();
    let first = world.version("first", &[]);
    let refused =
        world.plugin(&["install", path(&first)]).refused(&["WIDENS", "echo: scope", "+ use:echo", "memory", "+ 8.0 MiB"]);
    assert!(refused.out.contains("REWORDS") && refused.out.contains("Returns the given text unchanged."), "{}", refused.out);
    assert_eq!(world.listed(), Vec::<Value>::new());
    // The command that would approve it approves it.
    let command = refused.err.lines().find(|line| line.contains("--approve")).expect("it says how");
    let words: Vec<_> = command.split_whitespace().skip(1).collect();
    assert_eq!(words[..3], ["plugin", "install", path(&first)]);
    Ran::of(&harness::command().current_dir(workspace()).args(words).output().expect("tidegate runs")).done();
    assert_eq!(world.active().as_deref(), Some("0.1.0"));
    assert!(world.plugin(&["install", path(&first)]).done().out.contains("in force already"));

    let mut host = world.start();
    assert_eq!(host.client().call("echo", json!({"text": "hello"})).structured(), &json!({"text": "hello"}));
    assert!(host.stop("-TERM").success());

    let wider = world.wider();
    let refused = world.plugin(&["install", path(&wider)]).refused(&[
        "would take the place of 0.1.0",
        "+ read:echoes",
        "- 8.0 MiB",
        "+ 16.0 MiB",
    ]);
    assert!(
        !refused.out.contains("use:echo") && !refused.out.contains("Returns the given text"),
        "only what differs:\n{}",
        refused.out
    );
    assert!(refused.err.contains("2 of these changes have to be approved"), "{}", refused.err);
    assert_eq!(world.active().as_deref(), Some("0.1.0"));
    let other = format!("sha256:{}", "0".repeat(64));
    world.plugin(&["install", path(&wider), "--approve", &other]).refused(&[&other, "look at it again"]);
    // What was compared with something else than what is in force now is looked at again.
    let digest =
        |text: &str| text.split_once("--approve ").and_then(|(_, rest)| rest.split_whitespace().next()).expect("told").to_owned();
    let (shown, was) = (digest(&refused.err), format!("sha256:{}", active_digest(&world)));
    assert!(shown.starts_with(&format!("{was}..sha256:")), "{shown}");
    let moved = shown.replacen(&was, &other, 1);
    world.plugin(&["install", path(&wider), "--approve", &moved]).refused(&[
        "was compared with sha256:0000",
        &was,
        "look at it again",
    ]);
    assert_eq!(world.active().as_deref(), Some("0.1.0"));
    world.plugin(&["install", path(&wider), "--approve", &shown]).done();
    assert_eq!(world.active().as_deref(), Some("0.2.0"));

    assert!(world.plugin(&["rollback", "echo"]).done().out.contains("is in force, in the place of 0.2.0"));
    assert_eq!(world.active().as_deref(), Some("0.1.0"));
    world.plugin(&["rollback", "echo"]).refused(&["nothing to go back to"]);
    world.plugin(&["rollback", "echo", "--to", "0.2.0"]).done();
    assert_eq!(world.active().as_deref(), Some("0.2.0"));
    world.plugin(&["rollback", "ecko"]).refused(&["did you mean `echo`?"]);

    let records = world.records("plugin_");
    let told: Vec<_> =
        records.iter().map(|body| (body["action"].as_str().unwrap_or(""), body["approved"].as_str().unwrap_or(""))).collect();
    let expected =
        [("plugin_install", "digest"), ("plugin_install", "digest"), ("plugin_rollback", "kept"), ("plugin_rollback", "kept")];
    assert_eq!(told, expected);
    assert_eq!((&records[1]["before"]["version"], &records[1]["after"]["version"]), (&json!("0.1.0"), &json!("0.2.0")));
    assert_eq!(records[1]["widened"].as_array().map(Vec::len), Some(2));
    assert!(records[1]["by"].as_str().is_some_and(|by| by.contains("(uid ")), "{}", records[1]);

    world.plugin(&["remove", "echo"]).done();
    assert_eq!(world.listed(), Vec::<Value>::new());
    assert_eq!(fs::read_dir(world.data().join("plugins/sha256")).expect("there").count(), 0, "its contents are gone");
    assert!(world.host().try_start().err().expect("nothing is left to serve").contains("no plugin in"));
}

#[test]
fn a_digest_alone_approves_contents_that_take_nobody_s_place_and_no_others() {
    let world = World::new();
    let shown = |source: &Path| {
        let refused = world.plugin(&["install", path(source)]).refused(&["--approve"]);
        let (_, rest) = refused.err.split_once("--approve ").expect("it says how");
        rest.split_whitespace().next().expect("a digest").to_owned()
    };
    let (first, wider) = (world.version("first", &[]), world.wider());
    // Shown as something new; by the time it is approved, another one is in force.
    let as_new = shown(&wider);
    assert!(as_new.starts_with("sha256:") && !as_new.contains(".."), "{as_new}");
    world.plugin(&["install", path(&first), "--approve", &shown(&first)]).done();
    let was = format!("sha256:{} is in force", active_digest(&world));
    world.plugin(&["install", path(&wider), "--approve", &as_new]).refused(&["was to be new", &was, "look at it again"]);
    assert_eq!(world.active().as_deref(), Some("0.1.0"));
    let in_its_place = shown(&wider);
    assert_eq!(in_its_place.split_once("..").map(|(_, after)| after), Some(&*as_new));
    world.plugin(&["install", path(&wider), "--approve", &in_its_place]).done();
    // What was compared with something that is gone is looked at again, too.
    world.plugin(&["remove", "echo"]).done();
    world.plugin(&["install", path(&wider), "--approve", &in_its_place]).refused(&["nothing of that name is in force"]);
}

#[test]
fn what_is_done_at_a_stopped_host_is_no_record_of_policies_in_force() {
    let world = World::new();
    world.install(&world.version("first", &[])).done();
    let mut host = world.start();
    world.install(&world.version("second", &[("0.1.0", "0.2.0")])).done();
    assert!(host.stop("-TERM").success());
    world.plugin(&["rollback", "echo"]).done();
    let records: Vec<Value> = serde_json::from_str(&world.audit(&["list", "--output", "json"])).expect("JSON");
    let acts = records.iter().filter(|record| record["body"]["action"].as_str().is_some_and(|told| told.starts_with("plugin_")));
    let none = (json!(0), json!("0".repeat(64)));
    let in_force: Vec<_> = acts.map(|record| (record["generation"].clone(), record["policy"].clone()) != none).collect();
    assert_eq!(in_force, [false, true, false]);
}

#[test]
fn what_was_changed_on_disk_after_it_was_installed_is_refused_in_words_and_mended_by_installing_it_again() {
    let world = World::new();
    let first = world.version("first", &[]);
    world.install(&first).done();
    let manifest = contents(&world).join("plugin.toml");
    assert_eq!(fs::metadata(&manifest).expect("there").permissions().mode() & 0o777, 0o400);
    let text = fs::read_to_string(&manifest).expect("readable");
    fs::set_permissions(&manifest, fs::Permissions::from_mode(0o600)).expect("it is ours");
    fs::write(&manifest, text.replace("8MiB", "9MiB")).expect("writable");
    let refused = world.host().try_start().err().expect("it must not serve that");
    assert!(refused.contains("was changed after it was installed") && refused.contains("install `echo` again"), "{refused}");
    world.plugin(&["diff", "echo", path(&first)]).refused(&["was changed after it was installed"]);
    world.plugin(&["install", path(&first)]).done();
    assert_eq!(world.start().client().call("echo", json!({"text": "x"})).structured(), &json!({"text": "x"}));
}

#[test]
fn a_pinned_plugin_is_the_one_or_none() {
    let world = World::new();
    let (first, wider) = (world.version("first", &[]), world.wider());
    world.install(&first).done();
    let digest = |world: &World| world.listed()[0]["digest"].as_str().expect("a digest").to_owned();
    let first_digest = digest(&world);
    let world = World { config: format!("{}[plugins.pins]\necho = \"sha256:{first_digest}\"\n", world.config), ..world };
    world.install(&wider).refused(&["pins `echo` to sha256:", &first_digest, "put the pinned one there, or change the pin"]);
    assert_eq!(world.active().as_deref(), Some("0.1.0"));
    drop(world.start());
    // The same holds for what is not installed, but lies in the folder.
    world.plugin(&["remove", "echo"]).done();
    fs::rename(&wider, world.dir.path().join("plugins/echo")).expect("movable");
    let refused = world.host().try_start().err().expect("it is another one");
    assert!(refused.contains(&first_digest) && refused.contains("plugins/echo` is sha256:"), "{refused}");
    let world = World { config: world.config.replace(&first_digest, "12"), ..world };
    let refused = world.host().try_start().err().expect("that is no digest");
    assert!(refused.contains("`sha256:12` is not a digest"), "{refused}");
}

#[test]
fn standing_approvals_let_in_what_they_say_and_no_more() {
    let world = World::new();
    let approvals = world.dir.path().join("approvals.toml");
    let world = world.config(&format!("approvals = \"{}\"\n", approvals.display()));
    let first = world.version("first", &[]);
    world.plugin(&["install", path(&first)]).refused(&["can't read", "approvals.toml"]);
    let allow = |memory: &str| {
        let text = format!(
            "[plugins.echo]\nmemory = \"{memory}\"\nfuel = 10_000_000\ndeadline = \"5s\"\ntools = [\"echo\"]\nscopes = [\"use:echo\"]\nwords = true\n"
        );
        fs::write(&approvals, text).expect("writable");
    };
    allow("4MiB");
    let refused = world.plugin(&["install", path(&first)]).refused(&["1 of these changes has to be approved"]);
    assert!(refused.out.contains("+ 8.0 MiB"));
    allow("8MiB");
    world.plugin(&["install", path(&first)]).done();
    assert_eq!(world.records("plugin_")[0]["approved"], json!("standing"));
    fs::write(&approvals, "[plugins.echo]\nmemroy = \"1MiB\"\n").expect("writable");
    world.plugin(&["install", path(&world.wider())]).refused(&["approvals.toml:2:1", "did you mean `memory`?"]);
}

#[test]
fn what_no_host_could_serve_is_refused_and_nothing_changes() {
    let world = World::new();
    let first = world.version("first", &[]);
    world.install(&first).done();
    let before = snapshot(&world.data().join("plugins"));
    let broken = |name: &str, spoil: &dyn Fn(&Path)| {
        let dir = world.version(name, &[("0.1.0", "0.3.0")]);
        spoil(&dir);
        dir
    };
    let wasm = fs::read(first.join("echo.wasm")).expect("readable");
    let component = |bytes: &[u8]| {
        let bytes = bytes.to_vec();
        move |dir: &Path| fs::write(dir.join("echo.wasm"), &bytes).expect("writable")
    };
    // Where the first section says what it is: a flip elsewhere may make another good component, which only a signature tells apart.
    let flipped: Vec<u8> = wasm.iter().enumerate().map(|(at, byte)| if at == 8 { byte ^ 0x40 } else { *byte }).collect();
    for (name, spoil, why) in [
        ("truncated", Box::new(component(&wasm[..wasm.len() / 2])) as Box<dyn Fn(&Path)>, "echo.wasm"),
        ("core", Box::new(component(b"\0asm\x01\0\0\0")), "component"),
        ("flipped", Box::new(component(&flipped)), "echo"),
        ("empty", Box::new(component(b"")), "echo.wasm"),
        ("missing", Box::new(|dir: &Path| fs::remove_file(dir.join("echo.wasm")).expect("there")), "there is no component at"),
        ("newer", Box::new(|dir: &Path| edit(dir, "contract = \"0.1\"", "contract = \"0.9\"")), "this host speaks `0.1`"),
        ("greedy", Box::new(|dir: &Path| edit(dir, "8MiB", "8GiB")), "sandbox.max_memory"),
        (
            "reaching",
            Box::new(|dir: &Path| edit(dir, "memory =", "backends = [\"vault\"]\nmemory =")),
            "backend `vault` is not defined on this host",
        ),
    ] {
        world.install(&broken(name, &spoil)).refused(&[why]);
        assert_eq!(snapshot(&world.data().join("plugins")), before, "{name}");
    }
    world.install(&world.dir.path().join("nowhere")).refused(&["can't read `", "nowhere`"]);
    // A guest of the tests whose `describe` never ends, if left alone.
    world.install(&guest("stuck")).refused(&["describe"]);
    assert_eq!(snapshot(&world.data().join("plugins")), before);
    assert_eq!(world.records("plugin_").len(), 1, "none of this was done");
}

/// Changes the manifest in a folder.
fn edit(dir: &Path, from: &str, to: &str) {
    let path = dir.join("plugin.toml");
    let text = fs::read_to_string(&path).expect("readable");
    assert!(text.contains(from));
    fs::write(path, text.replace(from, to)).expect("writable");
}

/// Changes what the component of `echo` tells, byte by byte.
fn reword(dir: &Path, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let path = dir.join("echo.wasm");
    let mut wasm = fs::read(&path).expect("readable");
    let at = wasm.windows(from.len()).position(|window| window == from.as_bytes()).expect("it tells that");
    wasm[at..at + to.len()].copy_from_slice(to.as_bytes());
    fs::write(path, wasm).expect("writable");
}

#[test]
fn two_that_install_at_once_take_turns() {
    let world = World::new();
    let versions: Vec<_> = (1..5).map(|n| world.version(&format!("v{n}"), &[("0.1.0", &format!("0.1.{n}"))])).collect();
    // All made before the first runs: each writes the config that they read.
    let installs: Vec<_> = versions.iter().map(|source| world.command(&["install", path(source), "--approve"])).collect();
    let spawn = |mut install: Command| install.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("tidegate runs");
    let running: Vec<_> = installs.into_iter().map(spawn).collect();
    for child in running {
        Ran::of(&child.wait_with_output().expect("it ends")).done();
    }
    assert_eq!(world.listed().len(), 4);
    assert_eq!(world.records("plugin_install").len(), 4);
    // And the one whose versions are too many keeps the last ones.
    let world = world.config("keep = 2\n");
    world.install(&world.version("v9", &[("0.1.0", "0.1.9")])).done();
    assert_eq!(world.listed().len(), 2);
    assert_eq!(fs::read_dir(world.data().join("plugins/sha256")).expect("there").count(), 2);
}

#[test]
fn a_diff_tells_what_widens_first() {
    let world = World::new();
    let other = world.version(
        "other",
        &[("0.1.0", "0.2.0"), ("8MiB", "16MiB"), ("\"5s\"", "\"4s\""), ("\"use:echo\"", "\"use:echo\", \"write:echoes\"")],
    );
    // What nobody sees on a terminal may be what the model reads.
    reword(&other, "check that tools", "check \u{200b}! tools");
    world.install(&world.version("first", &[])).done();
    let diff = world.plugin(&["diff", "echo", path(&other)]).done();
    let golden = fs::read_to_string(workspace().join("tests/golden/plugin/diff.txt")).expect("readable");
    assert_eq!(diff.out, golden, "\n{}", diff.out);
    let told: Value =
        serde_json::from_str(&world.plugin(&["diff", "echo@0.1.0", path(&other), "--output", "json"]).done().out).expect("JSON");
    let changes = told["changes"].as_array().expect("changes");
    assert_eq!(changes[0], json!({"weight": "widens", "aspect": "memory", "before": "8.0 MiB", "after": "16.0 MiB"}));
    assert_eq!((&told["before"]["version"], &told["after"]["version"]), (&json!("0.1.0"), &json!("0.2.0")));
    assert!(world.plugin(&["diff", "echo", "echo@0.1.0"]).done().out.contains("the same"));
    world.plugin(&["diff", "echo", "ecko"]).refused(&["did you mean `echo`?"]);
}
