//! Answers as servers give them, and what is read in them.

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;

fn heard(status: u16, body: &str) -> Heard {
    let status = StatusCode::from_u16(status).expect("a status");
    Heard { status, retry_after: None, session: None, is_stream: false, body: Bytes::copy_from_slice(body.as_bytes()) }
}

fn answer(result: Value) -> Answer {
    Answer::of(&heard(200, &json!({"jsonrpc": "2.0", "id": 1, "result": result}).to_string()), false)
}

fn error(envelope: Value) -> Answer {
    answer(json!({"content": [{"type": "text", "text": envelope.to_string()}], "isError": true,
                  "_meta": {"dev.tidegate/call-id": "call_2"}}))
}

#[test]
fn a_result_is_told_from_one_given_again() {
    let plain = answer(json!({"content": [], "isError": false}));
    assert_eq!((plain.says, plain.effect, plain.is_replayed), (Says::Done, None, false));
    let first = answer(json!({"content": [], "_meta": {"dev.tidegate/call-id": "call_1", "traceparent": "00-1"}}));
    assert_eq!((first.says, first.effect.as_deref(), first.is_replayed), (Says::Done, Some("call_1"), false));
    let again = answer(json!({"content": [], "_meta": {"dev.tidegate/call-id": "call_2", "dev.tidegate/replayed": true,
                                                      "dev.tidegate/replay-of": "call_1"}}));
    assert_eq!((again.says, again.effect.as_deref(), again.is_replayed), (Says::Done, Some("call_1"), true));
}

#[test]
fn pending_is_read_from_the_text_and_says_how_to_ask() {
    let told = json!({"status": "pending", "call_id": "call_1", "state": "queued", "retry_after_seconds": 3,
                      "poll_tool": "get_call_result", "poll_url": "/v1/calls/call_1", "message": "wait"});
    let meta = json!({"dev.tidegate/pending": true, "dev.tidegate/call-id": "call_1"});
    let poll = Poll::Tool { tool: "get_call_result".into(), call: "call_1".into() };
    let expected = Says::Pending { poll, after: Duration::from_secs(3) };
    let as_text = answer(json!({"content": [{"type": "text", "text": told.to_string()}], "isError": false, "_meta": meta}));
    assert_eq!((as_text.says, as_text.effect.as_deref()), (expected, Some("call_1")));
    let structured = answer(json!({"content": [], "structuredContent": told, "isError": false, "_meta": meta}));
    assert!(matches!(structured.says, Says::Pending { .. }), "{structured:?}");
    // A tool may say so too; only the server's mark makes it one.
    let tools_own = answer(json!({"content": [], "structuredContent": told}));
    assert_eq!(tools_own.says, Says::Done);
    let without = answer(json!({"content": [], "_meta": meta}));
    assert!(matches!(without.says, Says::Failed { code, .. } if code == "pending_without_handle"));
}

#[test]
fn tasks_are_followed_to_what_they_end_with() {
    let working = answer(json!({"resultType": "task", "taskId": "t1", "status": "working", "pollIntervalMs": 1500}));
    assert_eq!(working.says, Says::Pending { poll: Poll::Task("t1".into()), after: Duration::from_millis(1500) });
    let status = |status: &str, more: Value| {
        let mut task = json!({"resultType": "complete", "taskId": "t1", "status": status});
        task.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        answer(task)
    };
    let result = json!({"content": [], "isError": false, "_meta": {"dev.tidegate/call-id": "call_1"}});
    let done = status("completed", json!({"result": result}));
    assert_eq!((done.says, done.effect.as_deref(), done.is_polled), (Says::Done, Some("call_1"), true));
    let failed = status("failed", json!({"error": {"code": -32603, "message": "oh"}}));
    assert!(matches!(failed.says, Says::Failed { code, .. } if code == "rpc_-32603"));
    assert!(matches!(status("cancelled", json!({})).says, Says::Failed { code, .. } if code == "cancelled"));
    assert!(matches!(status("working", json!({})).says, Says::Pending { .. }));
    assert!(matches!(status("completed", json!({})).says, Says::Failed { .. }));
}

#[test]
fn what_asks_for_another_try_is_told_from_what_failed() {
    let overloaded = error(json!({"error": "overloaded", "effect": "none", "retry_after_seconds": 2, "message": "full"}));
    assert_eq!(overloaded.says, Says::Later { code: "overloaded".into(), after: Duration::from_secs(2) });
    assert_eq!(overloaded.effect, None, "nothing came of it");
    let in_flight = error(json!({"error": "idempotency_in_flight", "effect": "possible"}));
    assert_eq!(in_flight.says, Says::Later { code: "idempotency_in_flight".into(), after: UNHINTED });
    let failed = error(json!({"error": "backend_timeout", "effect": "possible", "retry_after_seconds": 2}));
    assert_eq!(failed.says, Says::Failed { code: "backend_timeout".into(), may_have_changed: true });
    assert_eq!(failed.effect.as_deref(), Some("call_2"));
    let unknown = error(json!({"error": "outcome_unknown", "effect": "possible"}));
    assert_eq!(unknown.effect, None, "it is said of an earlier call, under the id of the one that asked");
    let denied = error(json!({"error": "permission_denied", "effect": "none"}));
    assert_eq!(denied.says, Says::Failed { code: "permission_denied".into(), may_have_changed: false });
    let plain = answer(json!({"content": [{"type": "text", "text": "no such file"}], "isError": true}));
    assert_eq!(plain.says, Says::Failed { code: "tool_error".into(), may_have_changed: true });
}

#[test]
fn http_speaks_where_json_does_not() {
    let busy = Heard { retry_after: Some(Duration::from_secs(4)), ..heard(503, "busy") };
    assert_eq!(Answer::of(&busy, false).says, Says::Later { code: "http_503".into(), after: Duration::from_secs(4) });
    assert_eq!(Answer::of(&heard(429, ""), false).says, Says::Later { code: "http_429".into(), after: UNHINTED });
    assert_eq!(Answer::of(&heard(401, "{}"), false).says, Says::Unauthorized);
    assert_eq!(Answer::of(&heard(404, "gone"), true).says, Says::SessionOver);
    let code = |heard: &Heard| match Answer::of(heard, false).says {
        Says::Failed { code, may_have_changed } => (code, may_have_changed),
        other => panic!("{other:?}"),
    };
    let refused = json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32602, "message": "unknown tool"}}).to_string();
    assert_eq!(code(&heard(200, &refused)), ("rpc_-32602".into(), false));
    assert_eq!(code(&heard(404, &refused)), ("rpc_-32602".into(), false));
    assert_eq!(code(&heard(404, "gone")), ("http_404".into(), true));
    assert_eq!(code(&heard(200, "<html>")), ("not_mcp".into(), true));
    assert_eq!(code(&heard(502, "<html>")), ("http_502".into(), true));
}

#[test]
fn the_response_in_a_stream_of_events_is_found() {
    let says = |text: &str| Answer::of(&Heard { is_stream: true, ..heard(200, text) }, false).says;
    let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": 1}});
    let (head, tail) = (r#"{"jsonrpc":"2.0","id":1,"#, r#""result":{"content":[],"isError":false}}"#);
    let whole = format!("data:\n\nevent: message\r\ndata: {progress}\r\n\r\nid: 1\ndata: {head}\ndata: {tail}\n\n: over\n\n");
    assert_eq!(says(&whole), Says::Done);
    assert_eq!(says(&format!("data: {progress}\n\n")), failed("not_mcp".to_owned(), true));
    assert_eq!(says(""), failed("not_mcp".to_owned(), true));
}
