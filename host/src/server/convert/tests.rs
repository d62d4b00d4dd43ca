//! Replies as they look on the wire.

use std::time::Duration;

use super::*;
use crate::model::Timestamp;
use crate::pipeline::PendingState;

fn reply(answer: Answer) -> Reply {
    Reply { call_id: CallId::from_bytes([7; 16]), trace: TraceContext::random(), replayed: None, answer }
}

fn recipient(era: Era) -> Recipient {
    let calls_at = "https://tools.example.com/v1/calls/".into();
    Recipient { era, had_token: false, takes_tasks: false, takes_questions: Default::default(), calls_at }
}

fn result(answer: Answer, era: Era) -> Value {
    let Wire::Result(result) = Wire::of(reply(answer), &recipient(era)) else { panic!("not a result") };
    serde_json::to_value(result).expect("JSON")
}

fn overloaded() -> Envelope {
    let rejection = Rejection::Overloaded { retry_after: Duration::from_secs(3) };
    Envelope::of_rejection(&rejection, CallId::from_bytes([7; 16]), "t".into()).expect("an envelope")
}

#[test]
fn a_structured_output_without_content_is_repeated_as_text() {
    let output = Output { structured: Some(json!({ "answer": 42 })), content: vec![] };
    let result = result(Answer::Output(output), Era::Modern);
    assert_eq!(result["content"], json!([{ "type": "text", "text": "{\"answer\":42}" }]));
    assert_eq!((&result["structuredContent"], &result["isError"]), (&json!({ "answer": 42 }), &json!(false)));
}

#[test]
fn content_blocks_pass_as_they_are() {
    let content =
        vec![json!({ "type": "image", "data": "AA==", "mimeType": "image/png", "annotations": { "audience": ["user"] } })];
    let output = Output { structured: Some(json!(1)), content: content.clone() };
    assert_eq!(result(Answer::Output(output), Era::Legacy)["content"], json!(content));
}

#[test]
fn an_error_is_the_envelope_in_text_and_structured_only_where_no_output_schema_forbids_it() {
    for structured in [true, false] {
        let result = result(Answer::Error { envelope: overloaded(), structured }, Era::Modern);
        let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().expect("text")).expect("JSON");
        assert_eq!(
            (&result["isError"], &text["error"], &text["retry_after_seconds"]),
            (&json!(true), &json!("overloaded"), &json!(3))
        );
        assert_eq!(result.get("structuredContent").is_some(), structured);
    }
}

#[test]
fn modern_results_say_what_they_are_and_who_sent_them_and_legacy_ones_do_not() {
    let modern = result(Answer::Output(Output::default()), Era::Modern);
    assert_eq!(modern["resultType"], "complete");
    assert_eq!(modern["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "tidegate");
    let legacy = result(Answer::Output(Output::default()), Era::Legacy);
    assert_eq!((legacy.get("resultType"), legacy["_meta"].get("io.modelcontextprotocol/serverInfo")), (None, None));
}

#[test]
fn every_result_carries_its_call_id_and_trace_and_a_replay_says_so() {
    let mut reply = reply(Answer::Output(Output::default()));
    let traceparent = reply.trace.to_string();
    reply.replayed = Some(Replayed { first: CallId::from_bytes([8; 16]), completed_at: Timestamp(1_800_000_000_000) });
    let Wire::Result(result) = Wire::of(reply, &recipient(Era::Legacy)) else { panic!("not a result") };
    let meta = serde_json::to_value(result).expect("JSON")["_meta"].clone();
    assert_eq!(meta["dev.tidegate/call-id"], "call_07070707070707070707070707070707");
    assert_eq!((&meta["traceparent"], &meta["dev.tidegate/replayed"]), (&json!(traceparent), &json!(true)));
    assert_eq!(meta["dev.tidegate/replay-of"], "call_08080808080808080808080808080808");
    assert_eq!(meta["dev.tidegate/completed-at"], "2027-01-15T08:00:00.000Z");
}

#[test]
fn an_unknown_tool_is_invalid_params_and_never_method_not_found() {
    let Wire::Error(error) = Wire::of(reply(Answer::Refused(Rejection::UnknownTool("x".repeat(500)))), &recipient(Era::Modern))
    else {
        panic!("not an error")
    };
    assert_eq!((error.code, error.status.as_u16()), (-32602, 200));
    assert!(error.message.len() < 200, "{}", error.message);
}

#[test]
fn a_missing_client_capability_is_named_as_an_object() {
    let rejection = Rejection::ClientLacks(vec!["sampling".into()]);
    let Wire::Error(error) = Wire::of(reply(Answer::Refused(rejection)), &recipient(Era::Modern)) else { panic!("not an error") };
    assert_eq!((error.code, error.status.as_u16()), (-32021, 400));
    assert_eq!(error.data.as_deref(), Some(&json!({ "requiredCapabilities": { "sampling": {} } })));
}

#[test]
fn a_missing_extension_is_named_where_extensions_are_declared() {
    let error = RpcError::missing_capabilities(&["io.modelcontextprotocol/tasks".into(), "sampling".into()]);
    let required = json!({ "extensions": { "io.modelcontextprotocol/tasks": {} }, "sampling": {} });
    assert_eq!(error.data.as_deref(), Some(&json!({ "requiredCapabilities": required })));
}

fn pending() -> Answer {
    let pending = Pending {
        call: CallId::from_bytes([7; 16]),
        state: PendingState::Queued,
        asks: None,
        created: Timestamp(1_800_000_000_000),
        updated: Timestamp(1_800_000_000_000),
        retry_after: Duration::from_millis(1200),
        kept_for: Duration::from_secs(60),
    };
    Answer::Pending(pending)
}

#[test]
fn pending_is_no_error_and_all_it_takes_to_ask_again() {
    for era in [Era::Modern, Era::Legacy] {
        let result = result(pending(), era);
        let told: Value = serde_json::from_str(result["content"][0]["text"].as_str().expect("text")).expect("JSON");
        assert_eq!(
            (&told["status"], &told["state"], &told["retry_after_seconds"]),
            (&json!("pending"), &json!("queued"), &json!(2))
        );
        assert_eq!(
            (&told["call_id"], &told["poll_tool"]),
            (&json!("call_07070707070707070707070707070707"), &json!("get_call_result"))
        );
        assert_eq!(told["poll_url"], "https://tools.example.com/v1/calls/call_07070707070707070707070707070707");
        assert_eq!((&result["isError"], result.get("structuredContent")), (&json!(false), Some(&told)));
        assert_eq!(result["_meta"]["dev.tidegate/pending"], true);
    }
}

#[test]
fn pending_is_a_task_to_those_who_take_tasks_and_to_nobody_else() {
    let takes_tasks = Recipient { takes_tasks: true, ..recipient(Era::Modern) };
    let Wire::Result(task) = Wire::of(reply(pending()), &takes_tasks) else { panic!("not a result") };
    let task = serde_json::to_value(task).expect("JSON");
    assert_eq!((&task["resultType"], &task["status"], task.get("content")), (&json!("task"), &json!("working"), None));
    assert_eq!(result(pending(), Era::Modern)["resultType"], "complete");
}

#[test]
fn a_polled_answer_says_so_under_the_id_of_its_call() {
    let Wire::Result(result) = Wire::of_polled(reply(Answer::Output(Output::default())), &recipient(Era::Modern)) else {
        panic!("not a result")
    };
    let meta = serde_json::to_value(result).expect("JSON")["_meta"].clone();
    assert_eq!(
        (&meta["dev.tidegate/polled"], &meta["dev.tidegate/call-id"]),
        (&json!(true), &json!(CallId::from_bytes([7; 16])))
    );
    assert_eq!(meta.get("dev.tidegate/replayed"), None);
}

#[test]
fn missing_scopes_are_a_challenge_over_http_and_a_tool_error_elsewhere() {
    let scope: crate::model::Scope = "write:invoices".parse().expect("well formed");
    let rejection = Rejection::InsufficientScope { missing: vec![scope.clone()], needed: vec![scope] };
    let recipient = Recipient { had_token: true, ..recipient(Era::Modern) };
    let Wire::Challenge { challenge, otherwise } = Wire::of(reply(Answer::Refused(rejection)), &recipient) else {
        panic!("not a challenge")
    };
    assert_eq!(challenge.status().as_u16(), 403);
    let result = serde_json::to_value(otherwise.without_challenge().expect("a result")).expect("JSON");
    assert!(result["content"][0]["text"].as_str().is_some_and(|text| text.contains("\"permission_denied\"")), "{result}");
}
