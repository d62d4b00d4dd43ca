//! What is wrong with a plugin is told with file and line, all of it, and before a host is near.

use serde_json::{Value, json};

use super::{refused, run};
use crate::harness::{Ran, edit};

#[test]
fn everything_that_is_wrong_with_a_manifest_is_told_at_once_with_its_lines() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    run(folder.path(), &["new", "checked"]);
    let manifest = folder.path().join("checked/plugin.toml");
    edit(&manifest, "contract = \"0.1\"", "contract = \"0.9\"");
    edit(&manifest, "fuel = 10_000_000", "fuel = 0");
    let ran = Ran::within(folder.path(), &["plugin", "check", "checked", "--output", "json"]);
    assert_eq!(ran.code, Some(1));
    let findings: Vec<Value> = serde_json::from_str(&ran.out).expect("JSON");
    let lines: Vec<_> = findings.iter().map(|finding| (finding["file"].clone(), finding["line"].clone())).collect();
    assert_eq!(lines, [(json!("checked/plugin.toml"), json!(4)), (json!("checked/plugin.toml"), json!(12))], "{findings:?}");
    assert!(findings[1]["problem"].as_str().expect("text").contains("`fuel` is 0"), "{findings:?}");
}

#[test]
fn what_only_the_component_can_tell_is_told_where_the_manifest_says_otherwise() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    run(folder.path(), &["new", "mismatched"]);
    edit(&folder.path().join("mismatched/plugin.toml"), "name = \"mismatched\"\neffect", "name = \"mismatch\"\neffect");
    let ran = Ran::within(folder.path(), &["plugin", "check", "mismatched"]);
    let said = &ran.out;
    assert_eq!(ran.code, Some(1), "{said}");
    assert!(said.starts_with("mismatched/plugin.toml:12:8: ") && said.contains("the component has a `mismatched`"), "{said}");
    let said = refused(folder.path(), &["plugin", "test", "mismatched"]);
    assert!(said.contains("error: mismatched/plugin.toml:12:8: "), "{said}");
}

#[test]
fn a_test_that_fails_and_a_source_that_does_not_compile_end_it_in_the_words_of_whoever_found_out() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    run(folder.path(), &["new", "failing"]);
    let source = folder.path().join("failing/src/lib.rs");
    edit(&source, "format!(\"Hello, {name}!\")", "format!(\"Hi, {name}!\")");
    let ran = Ran::within(folder.path(), &["plugin", "test", "failing"]);
    assert_ne!(ran.code, Some(0));
    assert!(ran.out.contains("a_person_is_greeted_by_name"), "{ran:?}");
    assert!(ran.err.contains("the tests of `failing` failed"), "{ran:?}");
    edit(&source, "struct Greet;", "struct Great;");
    let said = refused(folder.path(), &["plugin", "check", "failing"]);
    assert!(said.contains("error[E0"), "{said}");
}

#[test]
fn missing_tools_are_named_with_what_gets_them() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    run(folder.path(), &["new", "toolless"]);
    let mut command = crate::harness::command();
    let output = command
        .current_dir(folder.path())
        .env("PATH", folder.path())
        .args(["plugin", "build", "toolless"])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("https://rustup.rs"), "{said}");
}
