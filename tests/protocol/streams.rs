//! Event streams: progress of a call, and subscriptions.

use serde_json::{Value, json};

use super::{Raw, exchange, modern};
use crate::harness::{Host, Started, plugins};

fn conformance() -> (tempfile::TempDir, Started) {
    let plugins = plugins(&["conformance"]);
    let host = Host::dev(plugins.path()).with(&["--profile", "conformance"]).start();
    (plugins, host)
}

fn headers<'a>(method: &'a str, name: &'a str) -> [(&'a str, &'a str); 3] {
    [("mcp-protocol-version", "2026-07-28"), ("mcp-method", method), ("mcp-name", name)]
}

fn call_with_progress(token: &Value) -> String {
    modern(9, "tools/call", json!({"name": "test_tool_with_progress", "arguments": {}, "_meta": {"progressToken": token}}))
}

/// Opens a subscription and reads its acknowledgment.
fn subscribe(host: &Started, id: u32, notifications: Value) -> (Raw, Value) {
    let mut raw = Raw::connect(&host.mcp);
    let body = modern(id, "subscriptions/listen", json!({"notifications": notifications}));
    raw.post(&headers("subscriptions/listen", "-")[..2], body.as_bytes());
    let first = raw.event(|_| true);
    (raw, first)
}

#[test]
fn progress_makes_a_stream_of_growing_steps_that_ends_with_the_result() {
    let (_plugins, host) = conformance();
    let call = call_with_progress(&json!("t-1"));
    let response = exchange(&host, &headers("tools/call", "test_tool_with_progress"), &call);
    assert!(response.head.contains("content-type: text/event-stream"), "{}", response.head);
    assert!(response.head.contains("x-accel-buffering: no"), "{}", response.head);
    let mut events = response.events();
    let result = events.pop().expect("a result");
    assert_eq!((&result["id"], &result["result"]["isError"]), (&json!(9), &json!(false)), "{result}");
    assert!(events.iter().all(|event| event["params"]["progressToken"] == json!("t-1")), "{events:?}");
    let steps: Vec<_> = events.iter().filter_map(|event| event["params"]["progress"].as_u64()).collect();
    assert!(steps.len() == events.len() && steps.len() >= 2 && steps.is_sorted_by(|a, b| a < b), "{events:?}");
}

#[test]
fn without_a_token_there_is_no_progress_and_no_stream() {
    let (_plugins, host) = conformance();
    let call = modern(9, "tools/call", json!({"name": "test_tool_with_progress", "arguments": {}}));
    let response = exchange(&host, &headers("tools/call", "test_tool_with_progress"), &call);
    assert!(response.head.contains("content-type: application/json"), "{}", response.head);
    assert_eq!(response.json()["result"]["isError"], json!(false));
    // A token alone does not make a stream either: only progress does.
    let call = modern(9, "tools/call", json!({"name": "test_simple_text", "arguments": {}, "_meta": {"progressToken": 1}}));
    let response = exchange(&host, &headers("tools/call", "test_simple_text"), &call);
    assert!(response.head.contains("content-type: application/json"), "{}", response.head);
}

#[test]
fn a_subscriber_hears_first_what_was_granted_and_then_what_it_asked_for() {
    let (_plugins, host) = conformance();
    let wanted = json!({"toolsListChanged": true, "promptsListChanged": true, "resourceSubscriptions": ["test://x"]});
    let (mut tools, granted) = subscribe(&host, 41, wanted);
    assert_eq!(granted["method"], json!("notifications/subscriptions/acknowledged"), "{granted}");
    assert_eq!(granted["params"]["notifications"], json!({"toolsListChanged": true}), "only what is offered is granted");
    let (mut prompts, _) = subscribe(&host, 42, json!({"promptsListChanged": true}));
    host.client().call("test_trigger_tool_change", json!({}));
    let heard = tools.event(|_| true);
    assert_eq!(heard["method"], json!("notifications/tools/list_changed"), "{heard}");
    assert_eq!(heard["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], json!(41), "{heard}");

    let mut host = host;
    assert!(host.stop("-TERM").success());
    let ended = tools.event(|event| event.get("result").is_some());
    assert_eq!((&ended["id"], &ended["result"]["resultType"]), (&json!(41), &json!("complete")), "{ended}");
    assert_eq!(ended["result"]["_meta"]["io.modelcontextprotocol/subscriptionId"], json!(41), "{ended}");
    // The other one was never told of tools: the end is all it hears.
    assert_eq!(prompts.event(|_| true)["id"], json!(42));
}

#[test]
fn subscriptions_beyond_the_limit_are_refused_and_places_come_free() {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).config("[server]\nmax_streams = 1\n").start();
    let (first, _) = subscribe(&host, 1, json!({"toolsListChanged": true}));
    let body = modern(2, "subscriptions/listen", json!({"notifications": {"toolsListChanged": true}}));
    let refused = exchange(&host, &headers("subscriptions/listen", "-")[..2], &body);
    assert_eq!((refused.status, &refused.json()["id"]), (503, &json!(2)), "{refused:?}");
    drop(first);
    // The host notices the disconnect by itself, some time.
    let deadline = std::time::Instant::now() + super::PATIENCE;
    loop {
        let mut raw = Raw::connect(&host.mcp);
        raw.post(&headers("subscriptions/listen", "-")[..2], body.as_bytes());
        raw.stream.set_read_timeout(Some(std::time::Duration::from_millis(200))).expect("a TCP socket");
        let mut start = [0; 12];
        if std::io::Read::read_exact(&mut raw.stream, &mut start).is_ok() && start.ends_with(b"200") {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "the place never came free");
    }
}

#[test]
fn a_call_under_way_ends_before_the_host_does() {
    let (_plugins, mut host) = conformance();
    let mut raw = Raw::connect(&host.mcp);
    raw.post(&headers("tools/call", "test_tool_with_progress"), call_with_progress(&json!(1)).as_bytes());
    let first = raw.event(|_| true);
    assert_eq!(first["method"], json!("notifications/progress"), "{first}");
    assert!(host.stop("-TERM").success());
    let result = raw.event(|event| event.get("result").is_some());
    assert_eq!(result["result"]["isError"], json!(false), "{result}");
}
