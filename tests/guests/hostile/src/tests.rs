//! What of the attacks can be looked at without a host to attack.

use serde_json::{Value, json};
use tidegate_plugin_sdk::testing::Host;
use tidegate_plugin_sdk::{Failure, Output};

use crate::PLUGIN;

fn call(tool: &str, arguments: &Value) -> Result<Output, Failure> {
    PLUGIN.call(tool, &arguments.to_string(), &Host::new().context())
}

#[test]
fn the_honest_tool_is_honest() {
    let output = call("honest", &json!({ "a": 40, "b": 2 })).expect("it adds");
    assert_eq!(output.structured.as_deref(), Some(r#"{"sum":42}"#));
}

#[test]
fn a_huge_answer_is_as_huge_as_asked_for_and_otherwise_in_order() {
    let output = call("huge_output", &json!({ "mebibytes": 1 })).expect("there is room");
    let content: Value = serde_json::from_str(&output.content).expect("it is JSON");
    assert_eq!(content[0]["text"].as_str().map(str::len), Some(1024 * 1024));
}

#[test]
fn a_deep_answer_is_too_deep_for_a_careful_reader() {
    let structured = call("deep_output", &json!({})).expect("it answers").structured.expect("structured");
    assert!(serde_json::from_str::<Value>(&structured).is_err());
    let shallow = call("deep_output", &json!({ "depth": 3 })).expect("it answers").structured.expect("structured");
    assert_eq!(serde_json::from_str::<Value>(&shallow).expect("it is JSON"), json!({ "deep": [[[]]] }));
}

#[test]
fn a_failure_can_be_as_strange_as_asked_for() {
    let failure = call("strange_failure", &json!({ "code": "no\u{0}thing", "message_bytes": 3 })).expect_err("it fails");
    assert_eq!(failure, Failure::new("no\u{0}thing", "xxx"));
}

#[test]
fn every_manifest_entry_has_its_tool_and_every_tool_its_entry() {
    let manifest = include_str!("../plugin.toml");
    let mut listed: Vec<_> = manifest
        .split("[[tool]]")
        .skip(1)
        .filter_map(|entry| entry.lines().find_map(|line| line.strip_prefix("name = ")))
        .map(|name| name.trim_matches('"'))
        .collect();
    let mut described: Vec<_> = PLUGIN.describe().iter().map(|tool| tool.name).collect();
    listed.sort_unstable();
    described.sort_unstable();
    assert_eq!(listed, described);
}
