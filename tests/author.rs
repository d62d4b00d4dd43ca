//! The author's loop: from an empty folder to a tool that is served, edited, served again and called.

mod calling;
mod checking;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Host, Started, command};

/// How long a build may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(400);

/// The target folder of this workspace: what new plugins depend on is built there already, in the same versions.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies in the target folder").to_owned()
}

/// Runs `tidegate` in `folder`, with what cargo builds kept.
fn tidegate(folder: &Path, arguments: &[&str]) -> Output {
    command().current_dir(folder).env("CARGO_TARGET_DIR", target()).args(arguments).output().expect("tidegate runs")
}

/// The same, to a good end; answers with what it printed.
fn run(folder: &Path, arguments: &[&str]) -> String {
    let output = tidegate(folder, arguments);
    assert!(output.status.success(), "`tidegate {}`: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The same, to a bad end; answers with what it said.
fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = tidegate(folder, arguments);
    assert!(!output.status.success(), "`tidegate {}` went well", arguments.join(" "));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Replaces one text in a file by another.
fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).expect("readable");
    assert!(text.contains(from), "`{from}` is not in `{}`", path.display());
    std::fs::write(path, text.replace(from, to)).expect("writable");
}

/// Waits until the host has said something `count` times.
fn until_said(host: &Started, what: &str, count: usize) {
    let begun = Instant::now();
    while host.log().matches(what).count() < count {
        assert!(begun.elapsed() < PATIENCE, "it never said `{what}` {count} times");
        std::thread::sleep(Duration::from_millis(20));
    }
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

#[test]
fn an_edit_is_served_a_broken_one_is_not_and_a_mended_one_is() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    run(folder.path(), &["new", "edited"]);
    let (plugin, source) = (folder.path().join("edited"), folder.path().join("edited/src/lib.rs"));
    let host = Host::dev(&plugin).env("CARGO_TARGET_DIR", &target().display().to_string()).start();
    let greeting = || host.client().call("edited", json!({ "name": "Ada" })).structured()["greeting"].clone();
    assert_eq!(greeting(), "Hello, Ada!");

    edit(&source, "Hello, {name}!", "Good day, {name}!");
    until_said(&host, "edited 0.1.0 served, ", 1);
    assert_eq!(greeting(), "Good day, Ada!");

    edit(&source, "Good day, {name}!", "Good evening, {nam}!");
    until_said(&host, "not served: ", 1);
    assert!(host.log().contains("error[E0425]") && host.log().contains("src/lib.rs"), "the compiler's message is in view");
    assert_eq!(greeting(), "Good day, Ada!");

    edit(&source, "{nam}!", "{name}!");
    until_said(&host, "edited 0.1.0 served, ", 2);
    assert_eq!(greeting(), "Good evening, Ada!");

    // What builds, but no host would load.
    edit(&plugin.join("plugin.toml"), "scopes = [\"use:edited\"]", "scopes = [\"use:edited.where(a=1)\"]");
    until_said(&host, "not served: ", 2);
    assert_eq!(greeting(), "Good evening, Ada!");
    edit(&plugin.join("plugin.toml"), ".where(a=1)", "");

    // A tool that is new is listed and called without a restart.
    edit(
        &source,
        "export!(Greet);",
        "export!(Greet, Part);\n\nstruct Part;\n\nimpl Tool for Part {\n    const NAME: &'static str = \"part\";\n    const DESCRIPTION: &'static str = \"Says good-bye.\";\n    type Input = tidegate_plugin_sdk::NoInput;\n    type Output = Greeting;\n\n    fn call(_: Self::Input, _: &Context) -> Result<Greeting, Failure> {\n        Ok(Greeting { greeting: \"Good-bye!\".to_owned() })\n    }\n}\n",
    );
    let manifest = std::fs::read_to_string(plugin.join("plugin.toml")).expect("readable");
    let further = "\n[[tool]]\nname = \"part\"\neffect = \"read\"\nscopes = [\"use:edited\"]\n";
    std::fs::write(plugin.join("plugin.toml"), manifest.replace("0.1.0", "0.2.0") + further).expect("writable");
    until_said(&host, "edited 0.2.0 served, ", 1);
    assert_eq!(host.client().tools(), ["edited", "part"]);
    let took: Vec<_> = host.log().lines().filter(|line| line.contains(" served, ")).map(str::to_owned).collect();
    println!("{}", took.join("\n"));
}
