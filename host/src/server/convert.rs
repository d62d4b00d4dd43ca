//! The one mapping from a call's reply to the wire: tool result, JSON-RPC error or HTTP challenge.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::challenge::Challenge;
use super::era::Era;
use super::input::InputRequired;
use super::pending::{self, iso_8601};
use super::rpc::RpcError;
use super::task::TaskResult;
use crate::model::{CallId, Envelope, Output, QuestionKind, Rejection, TraceContext};
use crate::pipeline::{Answer, Pending, Replayed, Reply};

/// How this server introduces itself.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ServerInfo {
    /// The name.
    pub name: &'static str,
    /// The name for people.
    pub title: &'static str,
    /// The version.
    pub version: &'static str,
}

/// This server.
pub const SERVER: ServerInfo = ServerInfo { name: "tidegate", title: "Tidegate", version: env!("CARGO_PKG_VERSION") };

/// Whom an answer is for, as far as its shape depends on that.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// The protocol it speaks.
    pub era: Era,
    /// Whether it came with a bearer token.
    pub had_token: bool,
    /// Whether it can be told a task: it speaks the modern protocol, and declared the extension with this very request.
    pub takes_tasks: bool,
    /// The questions that it takes, declared with this very request.
    pub takes_questions: BTreeSet<QuestionKind>,
    /// Where programs ask for the answers of calls, up to the call's id: a URL, or its path.
    pub calls_at: Arc<str>,
}

/// What a `tools/call` answers with.
#[derive(Debug)]
pub enum Wire {
    /// A result, which may be a tool error, or that of a call which goes on without its caller.
    Result(CallResult),
    /// A protocol error.
    Error(RpcError),
    /// The caller needs other credentials. HTTP answers with the challenge; elsewhere there is no such thing.
    Challenge {
        /// The challenge.
        challenge: Challenge,
        /// The same, for transports without challenges.
        otherwise: Box<Wire>,
    },
}

/// What a `tools/call` may result in.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum CallResult {
    /// What the tool said, an error, or *pending*.
    Tool(Box<ToolResult>),
    /// A task, for those who can be told one.
    Task(Box<TaskResult>),
    /// Questions that come first.
    Asked(Box<InputRequired>),
}

impl CallResult {
    /// Whether it tells of an error.
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Tool(result) if result.is_error)
    }
}

/// The result of a `tools/call` (MCP 2026-07-28, CallToolResult).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolResult {
    #[serde(skip_serializing_if = "Option::is_none")]
    result_type: Option<&'static str>,
    content: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    structured_content: Option<Value>,
    is_error: bool,
    #[serde(rename = "_meta")]
    meta: ResultMeta,
}

/// The `_meta` of a result.
#[derive(Debug, Serialize)]
pub struct ResultMeta {
    #[serde(rename = "dev.tidegate/call-id")]
    call_id: CallId,
    #[serde(rename = "dev.tidegate/pending", skip_serializing_if = "Option::is_none")]
    is_pending: Option<bool>,
    #[serde(rename = "dev.tidegate/polled", skip_serializing_if = "Option::is_none")]
    is_polled: Option<bool>,
    #[serde(flatten)]
    replayed: Option<ReplayMeta>,
    traceparent: String,
    #[serde(rename = "io.modelcontextprotocol/serverInfo", skip_serializing_if = "Option::is_none")]
    server: Option<ServerInfo>,
}

/// What tells an answer that is given again from one that is given for the first time.
#[derive(Debug, Serialize)]
struct ReplayMeta {
    #[serde(rename = "dev.tidegate/replayed")]
    is_replayed: bool,
    #[serde(rename = "dev.tidegate/replay-of")]
    of: CallId,
    #[serde(rename = "dev.tidegate/completed-at")]
    completed_at: String,
}

impl ReplayMeta {
    fn of(replayed: Replayed) -> Self {
        Self { is_replayed: true, of: replayed.first, completed_at: iso_8601(replayed.completed_at) }
    }
}

impl ResultMeta {
    /// The `_meta` of whatever answers the call, or the question about the call, `call_id`.
    pub fn new(call_id: CallId, trace: &TraceContext, era: Era) -> Self {
        let server = (era == Era::Modern).then_some(SERVER);
        Self { call_id, is_pending: None, is_polled: None, replayed: None, traceparent: trace.to_string(), server }
    }

    /// The same of a call that goes on without its caller: perhaps one with the same idempotency key, that came first.
    #[must_use]
    pub fn pending(self, pending: &Pending) -> Self {
        Self { call_id: pending.call, is_pending: Some(true), ..self }
    }

    /// The same of an answer that was asked for later.
    #[must_use]
    pub fn polled(self) -> Self {
        Self { is_polled: Some(true), ..self }
    }
}

impl Wire {
    /// The wire form of `reply` for its caller.
    pub fn of(reply: Reply, recipient: &Recipient) -> Self {
        let meta = ResultMeta::new(reply.call_id, &reply.trace, recipient.era);
        let meta = ResultMeta { replayed: reply.replayed.map(ReplayMeta::of), ..meta };
        Self::of_answer(reply, recipient, meta)
    }

    /// The wire form of `reply` for whoever asks for it later.
    pub fn of_polled(reply: Reply, recipient: &Recipient) -> Self {
        let meta = ResultMeta::new(reply.call_id, &reply.trace, recipient.era).polled();
        Self::of_answer(reply, recipient, meta)
    }

    fn of_answer(reply: Reply, recipient: &Recipient, meta: ResultMeta) -> Self {
        let era = recipient.era;
        match reply.answer {
            Answer::Output(output) => Self::tool(ToolResult::of_output(output, era, meta)),
            Answer::Error { envelope, structured } => Self::tool(ToolResult::of_error(&envelope, structured, era, meta)),
            Answer::Asked { questions, state } => {
                Self::Result(CallResult::Asked(Box::new(InputRequired::new(&questions, Some(state), meta))))
            }
            Answer::Pending(pending) if recipient.takes_tasks => {
                Self::Result(CallResult::Task(Box::new(TaskResult::created(&pending, meta.pending(&pending)))))
            }
            Answer::Pending(pending) => Self::tool(ToolResult::of_pending(&pending, recipient, meta.pending(&pending))),
            Answer::Refused(rejection) => {
                let trace_id = reply.trace.trace_id();
                let envelope = Envelope::of_rejection(&rejection, reply.call_id, trace_id);
                Self::of_rejection(&rejection, envelope, era, meta, recipient.had_token)
            }
        }
    }

    fn tool(result: ToolResult) -> Self {
        Self::Result(CallResult::Tool(Box::new(result)))
    }

    fn of_rejection(rejection: &Rejection, envelope: Option<Envelope>, era: Era, meta: ResultMeta, had_token: bool) -> Self {
        let otherwise = match (rejection, &envelope) {
            (_, Some(envelope)) => Self::tool(ToolResult::of_error(envelope, false, era, meta)),
            (Rejection::UnknownTool(name), None) => {
                let name: String = name.chars().take(64).collect();
                Self::Error(RpcError::invalid_params(format!("unknown tool `{name}`; `tools/list` names the tools there are")))
            }
            (Rejection::StateInvalid, None) => Self::Error(RpcError::invalid_params(
                "`params.requestState` is none of this call: it was changed, is too old, or was made for another caller, tool, key or other arguments; call again without it to be asked anew",
            )),
            (Rejection::AnswersTooLarge, None) => Self::Error(RpcError::invalid_params(
                "`params.inputResponses`: the answers of one call may take up 64 KiB in all",
            )),
            (Rejection::ClientLacks(capabilities), None) => Self::Error(RpcError::missing_capabilities(capabilities)),
            (_, None) => Self::Error(RpcError::internal("the call was refused")),
        };
        match Challenge::of(rejection, had_token) {
            Some(challenge) => Self::Challenge { challenge, otherwise: Box::new(otherwise) },
            None => otherwise,
        }
    }

    /// The same for transports that know no challenges.
    ///
    /// # Errors
    /// The answer is a JSON-RPC error.
    pub fn without_challenge(self) -> Result<CallResult, RpcError> {
        match self {
            Self::Result(result) => Ok(result),
            Self::Error(error) => Err(error),
            Self::Challenge { otherwise, .. } => otherwise.without_challenge(),
        }
    }
}

impl ToolResult {
    fn of_output(output: Output, era: Era, meta: ResultMeta) -> Self {
        let Output { structured, mut content } = output;
        // Clients that know no structured output read the text (MCP 2026-07-28, tools, "Structured Content").
        if let (Some(structured), true) = (&structured, content.is_empty()) {
            content.push(text_block(structured.to_string()));
        }
        Self { result_type: result_type(era), content, structured_content: structured, is_error: false, meta }
    }

    /// What a client gets that takes no tasks: not an error, and all it takes to ask again. Every output schema allows for it.
    pub fn of_pending(pending: &Pending, recipient: &Recipient, meta: ResultMeta) -> Self {
        let told = pending::told(pending, &recipient.calls_at);
        let (content, era) = (vec![text_block(told.to_string())], recipient.era);
        Self { result_type: result_type(era), content, structured_content: Some(told), is_error: false, meta }
    }

    /// An error, with the envelope in `structuredContent` too where that is `structured`.
    pub fn of_error(envelope: &Envelope, structured: bool, era: Era, meta: ResultMeta) -> Self {
        let envelope = envelope.to_json();
        let content = vec![text_block(envelope.to_string())];
        Self { result_type: result_type(era), content, structured_content: structured.then_some(envelope), is_error: true, meta }
    }
}

fn text_block(text: String) -> Value {
    json!({ "type": "text", "text": text })
}

fn result_type(era: Era) -> Option<&'static str> {
    (era == Era::Modern).then_some("complete")
}

#[cfg(test)]
mod tests;
