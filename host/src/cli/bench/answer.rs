//! What an answer says: a result, *pending*, wait, or an error; read in one pass over its bytes.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::Heard;

/// How long to wait where nobody says.
const UNHINTED: Duration = Duration::from_secs(1);

/// What asks for the same call again, later.
const LATER: [&str; 3] = ["overloaded", "rate_limited", "idempotency_in_flight"];

/// What is said about an earlier call with the same key, under the id of the one that asked.
const ABOUT_ANOTHER: [&str; 4] = ["outcome_unknown", "idempotency_in_flight", "idempotency_key_reused", "audit_unavailable"];

/// An answer.
#[derive(Debug, PartialEq)]
pub struct Answer {
    /// What it says.
    pub says: Says,
    /// The call that took effect, or may have, as the server names it.
    pub effect: Option<String>,
    /// Whether it is the answer of an earlier call.
    pub is_replayed: bool,
    /// Whether it is the end of the call that was polled, and not the poll's own.
    pub is_polled: bool,
}

/// What an answer says.
#[derive(Debug, PartialEq)]
pub enum Says {
    /// The call succeeded.
    Done,
    /// The call was accepted, and its end can be asked for.
    Pending {
        /// How to ask.
        poll: Poll,
        /// When to ask; where nobody says, in a second.
        after: Duration,
    },
    /// Nothing came of the call; it may be made again.
    Later {
        /// Why.
        code: String,
        /// When.
        after: Duration,
    },
    /// The call failed.
    Failed {
        /// Why.
        code: String,
        /// Whether it may have changed something all the same.
        may_have_changed: bool,
    },
    /// The token does not count.
    Unauthorized,
    /// The session is over.
    SessionOver,
}

/// How to ask what became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Poll {
    /// By `tasks/get`.
    Task(String),
    /// By a tool.
    Tool {
        /// Its name.
        tool: String,
        /// The call.
        call: String,
    },
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    result: Option<Outcome<'a>>,
    error: Option<RpcError>,
}

#[derive(Deserialize)]
struct RpcError {
    code: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outcome<'a> {
    #[serde(borrow)]
    result_type: Option<Cow<'a, str>>,
    #[serde(default)]
    is_error: bool,
    #[serde(borrow, rename = "_meta")]
    meta: Option<Meta<'a>>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    structured_content: Option<&'a RawValue>,
    #[serde(borrow)]
    task_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    status: Option<Cow<'a, str>>,
    poll_interval_ms: Option<f64>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<RpcError>,
}

#[derive(Default, Deserialize)]
struct Meta<'a> {
    #[serde(borrow, rename = "dev.tidegate/call-id")]
    call_id: Option<Cow<'a, str>>,
    #[serde(default, rename = "dev.tidegate/pending")]
    is_pending: bool,
    #[serde(default, rename = "dev.tidegate/polled")]
    is_polled: bool,
    #[serde(borrow, rename = "dev.tidegate/replay-of")]
    replay_of: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct PendingText {
    call_id: String,
    retry_after_seconds: Option<f64>,
    poll_tool: Option<String>,
}

#[derive(Deserialize)]
struct Envelope {
    error: String,
    effect: Option<String>,
    retry_after_seconds: Option<f64>,
}

impl Answer {
    /// What `heard` says; to a request in a session, if `in_session`.
    pub fn of(heard: &Heard, in_session: bool) -> Self {
        let rest = |says| Self { says, effect: None, is_replayed: false, is_polled: false };
        match heard.status {
            StatusCode::UNAUTHORIZED => return rest(Says::Unauthorized),
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                let (code, after) = (http_code(heard.status), heard.retry_after.unwrap_or(UNHINTED));
                return rest(Says::Later { code, after });
            }
            _ => {}
        }
        let message = match heard.is_stream {
            true => last_message(&heard.body),
            false => Some(Cow::Borrowed(&*heard.body)),
        };
        let message = message.as_deref().and_then(|message| serde_json::from_slice::<Message<'_>>(message).ok());
        match message {
            Some(Message { result: Some(outcome), .. }) => Self::of_outcome(&outcome),
            _ if in_session && heard.status == StatusCode::NOT_FOUND => rest(Says::SessionOver),
            Some(Message { error: Some(error), .. }) => rest(failed(rpc_code(&error), !is_refusal(&error))),
            _ if heard.status.is_success() => rest(failed("not_mcp".to_owned(), true)),
            _ => rest(failed(http_code(heard.status), true)),
        }
    }

    fn of_outcome(outcome: &Outcome<'_>) -> Self {
        let nothing = Meta::default();
        let meta = outcome.meta.as_ref().unwrap_or(&nothing);
        if let Some(task) = &outcome.task_id {
            return Self::of_task(outcome, task);
        }
        let says = match (meta.is_pending, outcome.is_error) {
            (true, _) => pending(outcome).unwrap_or_else(|| failed("pending_without_handle".to_owned(), true)),
            (false, true) => tool_error(outcome),
            (false, false) if outcome.result_type.as_deref() == Some("input_required") => {
                failed("input_required".to_owned(), false)
            }
            (false, false) => Says::Done,
        };
        let tells_of_itself = match &says {
            Says::Done | Says::Pending { .. } => true,
            Says::Failed { code, may_have_changed } => *may_have_changed && !ABOUT_ANOTHER.contains(&code.as_str()),
            _ => false,
        };
        let effect = match (&meta.replay_of, tells_of_itself) {
            (Some(first), _) => Some(first.clone().into_owned()),
            (None, true) => meta.call_id.as_ref().map(|call| call.clone().into_owned()),
            (None, false) => None,
        };
        Self { says, effect, is_replayed: meta.replay_of.is_some(), is_polled: meta.is_polled }
    }

    /// A task, or how it stands.
    fn of_task(outcome: &Outcome<'_>, task: &str) -> Self {
        let says = match (outcome.status.as_deref(), outcome.result, &outcome.error) {
            (Some("completed"), Some(result), _) => {
                // What the task ended with is an answer like any other.
                return match serde_json::from_str::<Outcome<'_>>(result.get()) {
                    Ok(result) if result.task_id.is_none() => Self { is_polled: true, ..Self::of_outcome(&result) },
                    _ => Self { says: failed("not_mcp".to_owned(), true), effect: None, is_replayed: false, is_polled: true },
                };
            }
            (Some("failed"), _, error) => failed(error.as_ref().map_or_else(|| "task_failed".to_owned(), rpc_code), true),
            (Some("cancelled"), ..) => failed("cancelled".to_owned(), false),
            (Some("input_required"), ..) => failed("input_required".to_owned(), false),
            (Some("completed"), None, _) => failed("not_mcp".to_owned(), true),
            _ => {
                let after = outcome.poll_interval_ms.map_or(UNHINTED, |interval| seconds(interval / 1e3));
                Says::Pending { poll: Poll::Task(task.to_owned()), after }
            }
        };
        let call = outcome.meta.as_ref().and_then(|meta| meta.call_id.as_ref()).map(|call| call.clone().into_owned());
        let is_polled = !matches!(says, Says::Pending { .. });
        Self { says, effect: call, is_replayed: false, is_polled }
    }
}

/// The last event of a stream that is a response; notifications come before it.
fn last_message(stream: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut last = None;
    let mut event: Option<Cow<'_, [u8]>> = None;
    for line in stream.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).chain([&b""[..]]) {
        if let Some(data) = line.strip_prefix(b"data:") {
            let data = data.strip_prefix(b" ").unwrap_or(data);
            event = Some(match event {
                None => Cow::Borrowed(data),
                Some(before) => Cow::Owned([&before, &b"\n"[..], data].concat()),
            });
        } else if line.is_empty()
            && let Some(event) = event.take()
        {
            let is_response =
                serde_json::from_slice::<Message<'_>>(&event).is_ok_and(|m| m.result.is_some() || m.error.is_some());
            if is_response {
                last = Some(event);
            }
        }
    }
    last
}

fn pending(outcome: &Outcome<'_>) -> Option<Says> {
    let told: PendingText = told(outcome)?;
    let tool = told.poll_tool.unwrap_or_else(|| "get_call_result".to_owned());
    let after = told.retry_after_seconds.map_or(UNHINTED, seconds);
    Some(Says::Pending { poll: Poll::Tool { tool, call: told.call_id }, after })
}

fn tool_error(outcome: &Outcome<'_>) -> Says {
    match told::<Envelope>(outcome) {
        Some(Envelope { error, retry_after_seconds, .. }) if LATER.contains(&error.as_str()) => {
            Says::Later { code: error, after: retry_after_seconds.map_or(UNHINTED, seconds) }
        }
        Some(Envelope { error, effect, .. }) => failed(error, effect.is_none_or(|effect| effect != "none")),
        None => failed("tool_error".to_owned(), true),
    }
}

/// The object that the first text holds, or else the structured content.
fn told<T: serde::de::DeserializeOwned>(outcome: &Outcome<'_>) -> Option<T> {
    let blocks: Option<Vec<Block<'_>>> = outcome.content.and_then(|content| serde_json::from_str(content.get()).ok());
    let text = blocks.and_then(|blocks| blocks.into_iter().next()?.text).and_then(|text| serde_json::from_str(&text).ok());
    text.or_else(|| serde_json::from_str(outcome.structured_content?.get()).ok())
}

fn failed(code: String, may_have_changed: bool) -> Says {
    Says::Failed { code, may_have_changed }
}

fn rpc_code(error: &RpcError) -> String {
    format!("rpc_{}", error.code)
}

/// Whether the error says that the request was not understood, so that nothing came of it.
fn is_refusal(error: &RpcError) -> bool {
    matches!(error.code, -32700 | -32602..=-32600 | -32022..=-32020)
}

fn http_code(status: StatusCode) -> String {
    format!("http_{}", status.as_u16())
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests;
