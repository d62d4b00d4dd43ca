//! Tasks as they look on the wire.

use std::time::Duration;

use super::*;
use crate::model::{Envelope, Output, Rejection};
use crate::pipeline::{PendingState, Reply};
use crate::server::era::Era;

const CALL: &str = "call_07070707070707070707070707070707";

fn pending() -> Pending {
    Pending {
        call: CallId::from_bytes([7; 16]),
        state: PendingState::Queued,
        asks: None,
        created: Timestamp(1_800_000_000_000),
        updated: Timestamp(1_800_000_001_000),
        retry_after: Duration::from_millis(2500),
        kept_for: Duration::from_secs(86_400),
    }
}

fn recipient() -> Recipient {
    Recipient {
        era: Era::Modern,
        had_token: false,
        takes_tasks: true,
        takes_questions: Default::default(),
        calls_at: "/v1/calls/".into(),
    }
}

fn meta() -> ResultMeta {
    ResultMeta::new(CallId::from_bytes([7; 16]), &TraceContext::random(), Era::Modern)
}

fn ended(answer: Answer, cancelled: bool) -> Value {
    let reply = Reply { call_id: CallId::from_bytes([7; 16]), trace: TraceContext::random(), replayed: None, answer };
    let (created, ended) = (Timestamp(1_800_000_000_000), Timestamp(1_800_000_060_000));
    let ended = Ended { reply, cancelled, created, ended, expires: Some(Timestamp(1_800_086_460_000)) };
    serde_json::to_value(TaskResult::ended(ended, &recipient(), meta())).expect("JSON")
}

fn error(rejection: &Rejection) -> Answer {
    let envelope = Envelope::of_rejection(rejection, CallId::from_bytes([7; 16]), "t".into()).expect("an envelope");
    Answer::Error { envelope, structured: false }
}

#[test]
fn a_new_task_is_flat_and_says_when_to_ask() {
    let mut task = serde_json::to_value(TaskResult::created(&pending(), meta().pending(&pending()))).expect("JSON");
    let meta = task.as_object_mut().expect("an object").remove("_meta").expect("a `_meta`");
    let expected = json!({
        "resultType": "task", "taskId": CALL, "status": "working", "statusMessage": "queued",
        "createdAt": "2027-01-15T08:00:00.000Z", "lastUpdatedAt": "2027-01-15T08:00:01.000Z",
        "ttlMs": 86_401_000, "pollIntervalMs": 2500,
    });
    assert_eq!(task, expected);
    assert_eq!((&meta["dev.tidegate/call-id"], &meta["dev.tidegate/pending"]), (&json!(CALL), &json!(true)));
}

#[test]
fn a_tool_error_is_a_completed_task_and_a_json_rpc_error_a_failed_one() {
    let done = ended(Answer::Output(Output::default()), false);
    assert_eq!(
        (&done["resultType"], &done["status"], &done["ttlMs"]),
        (&json!("complete"), &json!("completed"), &json!(86_460_000))
    );
    assert_eq!((&done["result"]["isError"], &done["result"]["_meta"]["dev.tidegate/polled"]), (&json!(false), &json!(true)));
    let unknown = ended(error(&Rejection::OutcomeUnknown { first: CallId::from_bytes([8; 16]) }), false);
    assert_eq!((&unknown["status"], &unknown["result"]["isError"]), (&json!("completed"), &json!(true)));
    let failed = ended(Answer::Refused(Rejection::UnknownTool("gone".into())), false);
    assert_eq!((&failed["status"], &failed["error"]["code"], failed.get("result")), (&json!("failed"), &json!(-32602), None));
}

#[test]
fn a_task_that_was_called_off_has_neither_result_nor_error() {
    for cancelled in [ended(error(&Rejection::Cancelled), true), ended(error(&Rejection::Cancelled), false)] {
        assert_eq!((&cancelled["status"], cancelled.get("result"), cancelled.get("error")), (&json!("cancelled"), None, None));
    }
}

#[test]
fn malformed_questions_are_invalid_params() {
    let read = |method, params: Value| {
        TaskRequest::read(method, &mut params.as_object().expect("an object").clone()).map(|asked| asked.task_id)
    };
    assert_eq!(read(TaskMethod::Get, json!({ "taskId": "x" })), Ok("x".to_owned()));
    for (method, params) in [
        (TaskMethod::Get, json!({})),
        (TaskMethod::Cancel, json!({ "taskId": 7 })),
        (TaskMethod::Update, json!({ "taskId": "x" })),
        (TaskMethod::Update, json!({ "taskId": "x", "inputResponses": [] })),
    ] {
        assert_eq!(read(method, params).expect_err("malformed").code, -32602);
    }
}

#[test]
fn the_names_of_the_methods_lead_to_them() {
    for method in [TaskMethod::Get, TaskMethod::Update, TaskMethod::Cancel] {
        assert_eq!(TaskMethod::of(method.as_str()), Some(method));
    }
    assert_eq!((TaskMethod::of("tasks/list"), TaskMethod::of("tasks/result")), (None, None));
}
