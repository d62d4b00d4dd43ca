//! The host's own tool, [`POLL_TOOL`]: the answer of a call that went on without its caller, for agents.

use std::sync::Arc;

use rmcp::model::{Tool, ToolAnnotations};
use serde_json::{Map, Value, json};

use super::convert::{CallResult, Recipient, ResultMeta, ToolResult, Wire};
use super::input::InputRequired;
use super::rpc::RpcError;
use crate::model::{CallId, CallRequest, Envelope, POLL_TOOL, Principal, Question, Rejection, TraceContext};
use crate::pipeline::{Answer, Answered, Pending, Pipeline, Polled, Reply};

/// The tool as clients list it.
pub fn listed() -> Tool {
    let description = "Gives the result of an earlier call that was answered with `\"status\": \"pending\"`. Pass the call_id from \
                       that answer, after the `retry_after_seconds` it names. If the call is still not finished, the answer is \
                       pending again: wait as long as it says, then ask again. If the call waits for answers, they are asked \
                       for here. Never repeat a pending call, ask for its result.";
    let schema = json!({
        "type": "object",
        "properties": {
            "call_id": {
                "type": "string",
                "description": "The call_id from the pending answer.",
                "pattern": "^call_[0-9a-f]{32}$",
            },
        },
        "required": ["call_id"],
        "additionalProperties": false,
    });
    let Value::Object(schema) = schema else { unreachable!("an object is written above") };
    // What it lets go on when it brings answers is another call, and no model can bring any.
    let hints = ToolAnnotations::new().read_only(true).idempotent(true).open_world(false);
    Tool::new(POLL_TOOL, description, schema).with_title("Get the result of a call").with_annotations(hints)
}

/// Answers a call of the tool: never queued, and no scope is needed for what is the caller's own.
///
/// # Errors
/// The call that is asked about ended in a JSON-RPC error.
pub async fn answer(
    pipeline: &Pipeline,
    principal: &Arc<Principal>,
    request: CallRequest,
    trace: &TraceContext,
    recipient: &Recipient,
) -> Result<CallResult, RpcError> {
    let refused = |call, envelope: Envelope| {
        let meta = ResultMeta::new(call, trace, recipient.era);
        Ok(CallResult::Tool(Box::new(ToolResult::of_error(&envelope, true, recipient.era, meta))))
    };
    let call = match read(&request.arguments) {
        Ok(call) => call,
        Err(problem) => {
            let (asked, rejection) = (CallId::random(), Rejection::InvalidArguments(vec![problem]));
            let envelope = Envelope::of_rejection(&rejection, asked, trace.trace_id());
            return refused(asked, envelope.expect("invalid arguments have an envelope"));
        }
    };
    let responses = request.offered_answers.responses;
    if !responses.is_empty() {
        match pipeline.answer(principal, call, responses).await {
            // What does not fit is asked for again below.
            Answered::Taken | Answered::NothingAsked | Answered::Invalid(_) | Answered::Unknown => {}
            Answered::Unavailable => return refused(call, Envelope::answers_not_kept(call, trace.trace_id())),
            Answered::TooMany { retry_after } => {
                let envelope = Envelope::of_rejection(&Rejection::RateLimited { retry_after }, call, trace.trace_id());
                return refused(call, envelope.expect("it has an envelope"));
            }
        }
    }
    match pipeline.poll(principal, call, trace).await {
        Polled::Pending(Pending { asks: Some(asks), .. }) if takes_all(recipient, &asks) => {
            let meta = ResultMeta::new(call, trace, recipient.era);
            Ok(CallResult::Asked(Box::new(InputRequired::new(&asks, None, meta))))
        }
        Polled::Pending(pending) => {
            let meta = ResultMeta::new(call, trace, recipient.era).pending(&pending);
            Ok(CallResult::Tool(Box::new(ToolResult::of_pending(&pending, recipient, meta))))
        }
        Polled::Ended(ended) => Wire::of_polled(structured(ended.reply), recipient).without_challenge(),
        Polled::Unknown => refused(call, Envelope::no_such_call(call, trace.trace_id())),
        Polled::Unavailable => refused(call, Envelope::call_unreadable(call, trace.trace_id())),
    }
}

/// Whether the caller can be asked all of these, here and now.
fn takes_all(recipient: &Recipient, questions: &[Question]) -> bool {
    questions.iter().all(|question| recipient.takes_questions.contains(&question.kind))
}

/// This tool has no output schema, so an error may be structured whichever tool it is of.
fn structured(reply: Reply) -> Reply {
    let answer = match reply.answer {
        Answer::Error { envelope, .. } => Answer::Error { envelope, structured: true },
        answer => answer,
    };
    Reply { answer, ..reply }
}

fn read(arguments: &Map<String, Value>) -> Result<CallId, String> {
    if let Some(unknown) = arguments.keys().find(|name| *name != "call_id") {
        let unknown: String = unknown.chars().take(64).collect();
        return Err(format!("there is no argument `{unknown}`, only `call_id`"));
    }
    match arguments.get("call_id") {
        Some(Value::String(text)) => text
            .parse()
            .map_err(|_| "`call_id` is none; it is `call_` and 32 hex digits, as the pending answer had it".to_owned()),
        Some(_) => Err("`call_id` must be a string".to_owned()),
        None => Err("`call_id` is missing; it stands in the pending answer".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(arguments: Value) -> String {
        read(arguments.as_object().expect("an object")).expect_err("not one call id")
    }

    #[test]
    fn a_call_id_is_read_and_nothing_else() {
        let call = CallId::random();
        let arguments = json!({ "call_id": call });
        assert_eq!(read(arguments.as_object().expect("an object")), Ok(call));
        assert!(problem(json!({})).contains("missing"));
        assert!(problem(json!({ "call_id": 7 })).contains("a string"));
        assert!(problem(json!({ "call_id": "call_7" })).contains("32 hex digits"));
        assert!(problem(json!({ "call_id": call, "wait": 5 })).contains("no argument `wait`"));
    }

    #[test]
    fn the_tool_is_listed_as_one_that_only_reads() {
        let listed = serde_json::to_value(listed()).expect("JSON");
        assert_eq!((&listed["name"], &listed["annotations"]["readOnlyHint"]), (&json!(POLL_TOOL), &json!(true)));
    }
}
