//! What the suite looks for in each answer, without the suite.

use serde_json::{Value, json};
use tidegate_plugin_sdk::testing::{Host, INPUT_REQUIRED, accepted};
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

/// A tool that asks.
struct Asking {
    tool: &'static str,
    arguments: Value,
    /// What the suite answers it, by key, round by round.
    rounds: Vec<Value>,
    /// What is to stand in the text it ends with.
    text: &'static str,
}

impl Asking {
    /// The answers of a round.
    fn answers(round: &Value) -> impl Iterator<Item = (&String, &Value)> {
        round.as_object().expect("an object").iter()
    }

    /// A host whose caller has answered all of it.
    fn answered(&self) -> Host {
        let answers = self.rounds.iter().flat_map(Asking::answers);
        answers.fold(Host::new(), |host, (key, answer)| host.answers(key, answer.clone()))
    }
}

fn asking() -> Vec<Asking> {
    let (alice, yes) = (accepted(json!({ "name": "Alice" })), accepted(json!({ "ok": true })));
    let signed = |name: &str| accepted(json!({ "name": name, "confirm": true }));
    let roots = json!({ "roots": [{ "uri": "file:///test/root", "name": "Test Root" }] });
    let sampled = |text: &str| {
        let content = json!({ "type": "text", "text": text });
        json!({ "role": "assistant", "content": content, "model": "test-model", "stopReason": "endTurn" })
    };
    let asking = |tool, rounds, text| Asking { tool, arguments: json!({}), rounds, text };
    vec![
        asking("test_input_required_result_elicitation", vec![json!({ "user_name": alice })], "Hello, Alice!"),
        asking(
            "test_input_required_result_sampling",
            vec![json!({ "capital_question": sampled("It is Paris.") })],
            "It is Paris.",
        ),
        asking("test_input_required_result_list_roots", vec![json!({ "client_roots": roots })], "file:///test/root (Test Root)"),
        asking("test_input_required_result_request_state", vec![json!({ "confirm": yes })], "state-ok"),
        asking("test_input_required_result_tampered_state", vec![json!({ "confirm": yes })], "not changed"),
        asking(
            "test_input_required_result_multiple_inputs",
            vec![json!({ "user_name": alice, "greeting": sampled("Hello there!"), "client_roots": roots })],
            "To Alice: Hello there! Roots: file:///test/root (Test Root).",
        ),
        asking(
            "test_input_required_result_multi_round",
            vec![json!({ "step1": alice }), json!({ "step2": accepted(json!({ "color": "blue" })) })],
            "Alice likes blue.",
        ),
        asking(
            "test_input_required_result_capabilities",
            vec![json!({ "user_name": alice, "greeting": sampled("Hello there!") })],
            "elicitation, sampling",
        ),
        Asking {
            arguments: json!({ "filename": "a.txt" }),
            ..asking("confirm_delete", vec![json!({ "delete": accepted(json!({ "confirm": true })) })], "`a.txt` is deleted.")
        },
        asking(
            "multi_input",
            vec![json!({ "first": signed("partial-1"), "second": signed("partial-2") })],
            "partial-1 signed, partial-2 signed.",
        ),
    ]
}

#[test]
fn tools_that_ask_end_until_they_are_answered_and_then_answer_what_the_suite_looks_for() {
    for Asking { tool, arguments, rounds, text } in asking() {
        let mut host = Host::new();
        for round in &rounds {
            let ended = content(&host, tool, &arguments).expect_err("nobody has answered");
            assert_eq!(ended.code, INPUT_REQUIRED, "{tool}: {ended}");
            for (key, answer) in Asking::answers(round) {
                assert!(ended.message.contains(&format!("`{key}`")), "{tool} asks for {key}: {ended}");
                host = host.answers(key, answer.clone());
            }
        }
        let answer = content(&host, tool, &arguments).expect(tool);
        assert!(answer[0]["text"].as_str().expect("a text").contains(text), "{tool}: {answer}");
    }
}

#[test]
fn questions_are_put_in_the_words_of_the_suite() {
    let form = |message: &str, field: &str, kind: &str| {
        json!({
            "message": message,
            "requestedSchema": { "type": "object", "properties": { field: { "type": kind } }, "required": [field] },
        })
    };
    let prompt = |text: &str, max_tokens: u32| {
        let content = json!({ "type": "text", "text": text });
        json!({ "messages": [{ "role": "user", "content": content }], "maxTokens": max_tokens })
    };
    let expected = [
        ("user_name", form("What is your name?", "name", "string")),
        ("capital_question", prompt("What is the capital of France?", 100)),
        ("client_roots", json!({})),
        ("confirm", form("Please confirm", "ok", "boolean")),
        ("greeting", prompt("Generate a greeting", 50)),
        ("step1", form("Step 1: What is your name?", "name", "string")),
        ("step2", form("Step 2: What is your favorite color?", "color", "string")),
    ];
    let mut asked = Vec::new();
    for asking in asking() {
        let host = asking.answered();
        content(&host, asking.tool, &asking.arguments).expect(asking.tool);
        asked.extend(host.asked());
    }
    for (key, params) in expected {
        let mut asked = asked.iter().filter(|question| question.key() == key).peekable();
        assert!(asked.peek().is_some() && asked.all(|question| *question.params() == params), "{key}");
    }
}

#[test]
fn a_tool_that_asks_what_the_client_takes_goes_on_without_the_rest() {
    let tool = "test_input_required_result_capabilities";
    let host = Host::new().cannot_ask("elicitation");
    let ended = content(&host, tool, &json!({})).expect_err("nobody has answered");
    assert!(ended.message.ends_with("an answer to `greeting` (sampling)"), "{ended}");
    let nothing = content(&host.cannot_ask("sampling"), tool, &json!({})).expect("it runs");
    assert_eq!(nothing[0]["text"], "Answered: nothing.");
}

#[test]
fn a_person_who_declines_keeps_their_file_and_gets_no_greeting() {
    let host = Host::new().answers("delete", json!({ "action": "decline" })).answers("user_name", json!({ "action": "cancel" }));
    let kept = content(&host, "confirm_delete", &json!({ "filename": "a.txt" })).expect("it runs");
    assert_eq!(kept[0]["text"], "`a.txt` stays.");
    let failure = content(&host, "test_tool_with_task", &json!({})).expect_err("there is nobody to greet");
    assert_eq!(failure, Failure::failed("the person did not want to answer"));
}

#[test]
fn the_tool_that_becomes_a_task_asks_before_it_takes_its_time() {
    let host = Host::new();
    assert_eq!(content(&host, "test_tool_with_task", &json!({})).expect_err("nobody has answered").code, INPUT_REQUIRED);
    let host = host.answers("user_name", accepted(json!({ "name": "Alice" }))).cancelled_after(2);
    assert_eq!(content(&host, "test_tool_with_task", &json!({})).expect_err("it takes its time").code, "cancelled");
}

#[test]
fn every_tool_asks_only_the_kinds_of_questions_that_its_manifest_entry_names() {
    let manifest = include_str!("../plugin.toml");
    for asking in asking() {
        let name = format!("\nname = \"{}\"\n", asking.tool);
        let entry = manifest.split("[[tool]]").find(|entry| entry.contains(&name)).expect(asking.tool);
        let host = asking.answered();
        content(&host, asking.tool, &asking.arguments).expect(asking.tool);
        let mut kinds: Vec<_> = host.asked().iter().map(|question| format!("\"{}\"", question.kind())).collect();
        kinds.dedup();
        assert!(entry.contains(&format!("\nasks = [{}]\n", kinds.join(", "))), "it asks {kinds:?}: {entry}");
    }
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
