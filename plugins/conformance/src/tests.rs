//! What the suite looks for in each answer, without the suite.

use serde_json::{Value, json};
use tidegate_plugin_sdk::testing::Host;
use tidegate_plugin_sdk::{Failure, Level};

use crate::PLUGIN;

fn content(host: &Host, tool: &str, arguments: &Value) -> Result<Value, Failure> {
    let output = PLUGIN.call(tool, &arguments.to_string(), &host.context())?;
    assert_eq!(output.structured, None);
    Ok(serde_json::from_str(&output.content).expect("content is JSON"))
}

#[test]
fn each_kind_of_content_is_answered() {
    for (tool, types) in [
        ("test_simple_text", json!(["text"])),
        ("test_image_content", json!(["image"])),
        ("test_audio_content", json!(["audio"])),
        ("test_embedded_resource", json!(["resource"])),
        ("test_multiple_content_types", json!(["text", "image", "resource"])),
    ] {
        let content = content(&Host::new(), tool, &json!({})).expect(tool);
        let found: Vec<_> = content.as_array().expect("an array").iter().map(|block| block["type"].clone()).collect();
        assert_eq!(json!(found), types, "{tool}");
    }
}

#[test]
fn progress_is_reported_three_times_and_grows() {
    let host = Host::new();
    content(&host, "test_tool_with_progress", &json!({})).expect("it runs");
    let reports: Vec<_> = host.progress().into_iter().map(|report| (report.done, report.total)).collect();
    assert_eq!(reports, [(0, Some(100)), (50, Some(100)), (100, Some(100))]);
}

#[test]
fn three_lines_are_logged() {
    let host = Host::new();
    content(&host, "test_logging_tool", &json!({})).expect("it runs");
    let logs = host.logs();
    assert_eq!(logs.len(), 3);
    assert!(logs.iter().all(|(level, _)| *level == Level::Info));
}

#[test]
fn the_failing_tool_fails_in_the_words_of_the_suite() {
    let failure = content(&Host::new(), "test_error_handling", &json!({})).expect_err("it always fails");
    assert_eq!(failure, Failure::failed("This tool intentionally returns an error for testing"));
}

#[test]
fn header_arguments_are_plain_and_marked() {
    let definitions = PLUGIN.describe();
    let tool = definitions.iter().find(|tool| tool.name == "test_custom_headers").expect("the tool exists");
    let properties = &tool.input_schema["properties"];
    assert_eq!((&properties["region"]["type"], &properties["region"]["x-mcp-header"]), (&json!("string"), &json!("Region")));
    assert_eq!(properties["priority"]["type"], "integer");
    let answer = content(&Host::new(), "test_custom_headers", &json!({ "region": "Hello" })).expect("it runs");
    assert_eq!(answer[0]["text"], "Looked for `` in `Hello` with priority 0.");
}

#[test]
fn a_job_that_is_called_off_says_so_and_one_that_is_not_takes_its_time() {
    let host = Host::new();
    let done = content(&host, "slow_compute", &json!({ "seconds": 0, "label": "nothing" })).expect("it runs");
    assert_eq!(done[0]["text"], "Computed `nothing` for 0 s.");
    host.cancel();
    let failure = content(&host, "slow_compute", &json!({ "seconds": 60 })).expect_err("it is called off");
    assert_eq!(failure.code, "cancelled");
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
