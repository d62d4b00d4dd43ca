//! What makes a host look: the verb, a signal, the folder itself.

use std::io::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{World, answer_of};
use crate::harness::{Version, records, save, tidegate};

const WATCHED: &str = "[plugins]\nwatch = true\n";

#[test]
fn the_verb_takes_a_new_version_into_force_and_says_what_changed() {
    let world = World::new("");
    assert_eq!(world.version(), Version::new(1).answer());
    let (code, said) = world.reload();
    assert!(code == 0 && said.contains("nothing is new; generation 1"), "{said}");
    Version::new(2).manifest("0.1.0", "0.2.0").put(world.plugins.path());
    let (code, said) = world.reload();
    assert!(code == 0 && said.contains("generation 2 is in force") && said.contains("~ versions 0.1.0"), "{said}");
    assert!(said.contains("-> 0.2.0"), "{said}");
    assert_eq!(world.version(), Version::new(2).answer());
    let status = world.status();
    assert_eq!((&status["reloads"], &status["source"], &status["state"]), (&json!(1), &json!("verb"), &json!("current")));
    // Back again: nothing is compiled for what was there before.
    Version::new(1).put(world.plugins.path());
    assert_eq!(world.reload().0, 0);
    assert_eq!(world.version(), Version::new(1).answer());
}

#[test]
fn every_swap_is_written_down_with_what_changed_and_by_whom() {
    let mut world = World::of(&[Version::new(1), Version::other("gone", 7)], "");
    Version::new(2).manifest("0.1.0", "0.2.0").put(world.plugins.path());
    Version::other("more", 8).put(world.plugins.path());
    std::fs::remove_dir_all(world.plugins.path().join("gone")).expect("it is there");
    let (code, said) = world.reload();
    assert_eq!(code, 0, "{said}");
    assert!(world.host.stop("-TERM").success());
    let data = world.host.data.clone();
    let records: Vec<_> = records(&data).into_iter().filter(|record| record["kind"] == "admin").collect();
    let [start, swap] = &records[..] else { panic!("one record of the start, one of the swap: {records:?}") };
    assert_eq!((&start["body"]["action"], &start["body"]["source"]), (&json!("reload"), &json!("start")));
    let body = &swap["body"];
    assert_eq!((&body["action"], &body["source"]), (&json!("reload"), &json!("verb")));
    assert!(body["by"].as_str().is_some_and(|by| by.contains("uid")), "{body}");
    assert_eq!((&body["before"]["generation"], &body["after"]["generation"]), (&json!(1), &json!(2)));
    let changes = body["plugin_changes"].as_array().expect("a list");
    let [gone, more, versions] = &changes[..] else { panic!("three changes: {changes:?}") };
    assert_eq!((&gone["before"]["plugin"], &gone["after"]), (&json!("gone"), &Value::Null));
    assert_eq!((&more["before"], &more["after"]["plugin"]), (&Value::Null, &json!("more")));
    assert_eq!((&versions["before"]["version"], &versions["after"]["version"]), (&json!("0.1.0"), &json!("0.2.0")));
    for digest in ["component", "manifest"] {
        assert_ne!(versions["before"][digest], versions["after"][digest]);
        assert_eq!(versions["after"][digest].as_str().map(str::len), Some(64));
    }
    let listed = tidegate(&["audit", "list", "--data", &data.display().to_string()]);
    let listed = String::from_utf8(listed.stdout).expect("text");
    for told in ["reload (verb)", "~versions 0.1.0 -> 0.2.0", "+more 0.1.0", "-gone 0.1.0"] {
        assert!(listed.contains(told), "`{told}` is not in\n{listed}");
    }
}

#[test]
fn a_daemon_takes_a_new_version_when_it_is_hung_up_on() {
    let world = World::new("");
    Version::new(2).put(world.plugins.path());
    // Nobody watches, so nothing happens by itself.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(world.version(), Version::new(1).answer());
    world.host.signal("-HUP");
    world.until_version(&Version::new(2));
    assert_eq!(world.status()["source"], "signal");
}

#[test]
fn a_watched_folder_takes_effect_by_itself_and_its_end_does_not() {
    let world = World::new(WATCHED);
    Version::new(2).put(world.plugins.path());
    world.until_version(&Version::new(2));
    assert_eq!(world.status()["source"], "file watch");
    // A plugin that comes is served, one that goes is gone a moment later.
    let other = Version::other("other", 1);
    other.put(world.plugins.path());
    world.until("the other plugin", || world.client.tools().contains(&other.tool()));
    assert_eq!(answer_of(&world.client, &other.tool()), other.answer());
    let removed = Instant::now();
    std::fs::remove_dir_all(world.plugins.path().join("other")).expect("it is there");
    world.until("its end", || !world.client.tools().contains(&other.tool()));
    assert!(removed.elapsed() >= Duration::from_secs(2), "whoever replaces all of them is waited for");
    // The last one is not dropped by accident.
    std::fs::remove_dir_all(world.plugins.path().join("versions")).expect("it is there");
    let refused = world.until_refused();
    assert!(refused["problems"].to_string().contains("no plugin in"), "{refused}");
    assert_eq!(world.version(), Version::new(2).answer());
    Version::new(2).put(world.plugins.path());
    world.until("the refusal's end", || world.plugin()["state"] == "current");
}

#[test]
fn a_component_that_is_still_being_written_is_waited_for() {
    let world = World::new(WATCHED);
    let (path, wasm) = (world.plugins.path().join("versions/versions.wasm"), Version::new(2).wasm());
    let mut file = std::fs::File::create(&path).expect("writable");
    let begun = Instant::now();
    for part in wasm.chunks(wasm.len() / 16 + 1) {
        file.write_all(part).and_then(|()| file.sync_all()).expect("writable");
        std::thread::sleep(Duration::from_millis(150));
        assert_eq!(world.version(), Version::new(1).answer());
        assert_eq!(world.plugin()["state"], "current", "a part was taken for the whole after {:?}", begun.elapsed());
    }
    drop(file);
    world.until_version(&Version::new(2));
    assert_eq!(world.status()["refusals"], 0);
}

#[test]
fn a_storm_of_changes_is_few_reloads_and_ends_with_the_last() {
    let world = World::new(WATCHED);
    let root = world.plugins.path();
    for number in 2..=200 {
        // What a checkout does: many files that matter to nobody, and some that do.
        for file in 0..20 {
            std::fs::write(root.join(format!("versions/{file}.rs")), number.to_string()).expect("writable");
        }
        std::fs::create_dir_all(root.join(format!("folder-{number}/src"))).expect("writable");
        save(&root.join("versions/versions.wasm"), &Version::new(number).wasm());
    }
    world.until_version(&Version::new(200));
    let reloads = world.status()["reloads"].as_u64().expect("a number");
    assert!((1..=20).contains(&reloads), "{reloads} reloads of 199 changes");
}
