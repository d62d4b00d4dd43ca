//! The author's loop: from an empty folder to a tool that is served, edited, served again and called.

mod around;
mod calling;
mod checking;
mod editing;

use std::path::Path;

use serde_json::json;

use crate::harness::{Host, Ran};

/// Runs `tidegate` in `folder` to a good end; answers with what it printed.
fn run(folder: &Path, arguments: &[&str]) -> String {
    Ran::within(folder, arguments).done().out
}

/// The same, to a bad end; answers with what it said.
fn refused(folder: &Path, arguments: &[&str]) -> String {
    let ran = Ran::within(folder, arguments);
    assert_ne!(ran.code, Some(0), "`tidegate {}` went well", arguments.join(" "));
    ran.err
}

#[test]
fn a_new_plugin_builds_passes_its_tests_and_loads_wherever_it_lies() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Inside of somebody else's workspace, too.
    std::fs::write(folder.path().join("Cargo.toml"), "[workspace]\nmembers = []\n").expect("writable");
    let said = run(folder.path(), &["new", "first-steps"]);
    assert!(said.contains("cd first-steps") && said.contains("tidegate dev"), "{said}");
    let plugin = folder.path().join("first-steps");
    let said = run(&plugin, &["plugin", "test"]);
    assert!(said.contains("test result: ok. 2 passed") && said.contains("first-steps 0.1.0 loads, with first_steps"), "{said}");
    assert!(run(&plugin, &["plugin", "build"]).contains("target/plugins/first-steps"));
    assert!(run(&plugin, &["plugin", "check"]).contains("first-steps 0.1.0 loads"));
    let host = Host::dev(&plugin.join("target/plugins")).start();
    let answer = host.client().call("first_steps", json!({ "name": "Ada" }));
    assert_eq!(answer.structured(), &json!({ "greeting": "Hello, Ada!" }));
    let lock = std::fs::read_to_string(plugin.join("Cargo.lock")).expect("it is locked");
    let ours = std::fs::read_to_string(crate::harness::workspace().join("Cargo.lock")).expect("we are locked");
    for checksum in lock.lines().filter(|line| line.starts_with("checksum")) {
        assert!(ours.contains(checksum), "{checksum} is none that was tested");
    }
}

#[test]
fn a_name_that_is_none_and_a_folder_that_is_there_are_refused_and_nothing_is_made() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, hint) in [("My Tool", "did you mean `my-tool`?"), ("match", "a word of Rust's"), ("../up", "did you mean `up`?")] {
        let said = refused(folder.path(), &["new", name]);
        assert!(said.contains(hint), "{said}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 0);
    std::fs::create_dir(folder.path().join("taken")).expect("writable");
    let said = refused(folder.path(), &["new", "taken"]);
    assert!(said.contains("`taken` exists already") && said.contains("--dir"), "{said}");
    run(folder.path(), &["new", "taken", "--dir", "deep/er/other"]);
    assert!(folder.path().join("deep/er/other/plugin.toml").exists());
}

#[test]
fn an_sdk_of_another_tidegate_is_told_and_brought_up_to_date() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    run(folder.path(), &["new", "aged"]);
    std::fs::write(folder.path().join("aged/sdk/VERSION"), "0.0.9 00\n").expect("writable");
    std::fs::remove_file(folder.path().join("aged/sdk/rust/src/lib.rs")).expect("it was there");
    let said = refused(folder.path(), &["plugin", "build", "aged"]);
    assert!(said.contains("earlier tidegate (0.0.9") && said.contains("`tidegate new --update-sdk aged`"), "{said}");
    assert!(run(folder.path(), &["new", "--update-sdk", "aged"]).contains("is now that of tidegate"));
    assert!(run(folder.path(), &["new", "--update-sdk", "aged"]).contains("up to date"));
    assert!(folder.path().join("aged/sdk/rust/src/lib.rs").exists());
}
