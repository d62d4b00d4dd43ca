//! The one mapping from a call's reply to the wire: tool result, JSON-RPC error or HTTP challenge.

use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;
use serde_json::{Value, json};

use super::challenge::Challenge;
use super::era::Era;
use super::rpc::RpcError;
use crate::model::{CallId, Envelope, Output, Rejection};
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

/// The built-in tool that asks for the answer of a call: agents can call tools, not URLs.
pub const POLL_TOOL: &str = "get_call_result";

/// What a `tools/call` answers with.
#[derive(Debug)]
pub enum Wire {
    /// A result, which may be a tool error.
    Result(ToolResult),
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

#[derive(Debug, Serialize)]
struct ResultMeta {
    #[serde(rename = "dev.tidegate/call-id")]
    call_id: CallId,
    #[serde(rename = "dev.tidegate/pending", skip_serializing_if = "Option::is_none")]
    is_pending: Option<bool>,
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
        let completed_at = UNIX_EPOCH + Duration::from_millis(replayed.completed_at.as_millis());
        let completed_at = humantime::format_rfc3339_millis(completed_at).to_string();
        Self { is_replayed: true, of: replayed.first, completed_at }
    }
}

impl Wire {
    /// The wire form of `reply` in `era`; `had_token` tells whether the caller came with a bearer token.
    pub fn of(reply: Reply, era: Era, had_token: bool) -> Self {
        let meta = ResultMeta {
            call_id: reply.call_id,
            is_pending: None,
            replayed: reply.replayed.map(ReplayMeta::of),
            traceparent: reply.trace.to_string(),
            server: (era == Era::Modern).then_some(SERVER),
        };
        match reply.answer {
            Answer::Output(output) => Self::Result(ToolResult::of_output(output, era, meta)),
            Answer::Error { envelope, structured } => Self::Result(ToolResult::of_error(&envelope, structured, era, meta)),
            Answer::Pending { pending, structured } => Self::Result(ToolResult::of_pending(&pending, structured, era, meta)),
            Answer::Refused(rejection) => {
                let trace_id = reply.trace.trace_id();
                Self::of_rejection(&rejection, Envelope::of_rejection(&rejection, reply.call_id, trace_id), era, meta, had_token)
            }
        }
    }

    fn of_rejection(rejection: &Rejection, envelope: Option<Envelope>, era: Era, meta: ResultMeta, had_token: bool) -> Self {
        let otherwise = match (rejection, &envelope) {
            (_, Some(envelope)) => Self::Result(ToolResult::of_error(envelope, false, era, meta)),
            (Rejection::UnknownTool(name), None) => {
                let name: String = name.chars().take(64).collect();
                Self::Error(RpcError::invalid_params(format!("unknown tool `{name}`; `tools/list` names the tools there are")))
            }
            (Rejection::ClientLacks(capabilities), None) => Self::Error(RpcError::missing_capabilities(capabilities)),
            (_, None) => Self::Error(RpcError::internal("the call was refused")),
        };
        match Challenge::of(rejection, had_token) {
            Some(challenge) => Self::Challenge { challenge, otherwise: Box::new(otherwise) },
            None => otherwise,
        }
    }

    /// The same for transports that know no challenges.
    pub fn without_challenge(self) -> Result<ToolResult, RpcError> {
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

    /// What a client gets that knows no tasks: not an error, and all it takes to ask again.
    fn of_pending(pending: &Pending, structured: bool, era: Era, meta: ResultMeta) -> Self {
        let retry_after = pending.retry_after.as_millis().div_ceil(1000).max(1);
        let told = json!({
            "status": "pending",
            "call_id": pending.call,
            "state": pending.state.as_str(),
            "retry_after_seconds": retry_after,
            "poll_tool": POLL_TOOL,
            "poll_url": format!("/v1/calls/{}", pending.call),
            "message": format!(
                "the call was accepted and is not finished; call the tool `{POLL_TOOL}` with this call_id in {retry_after} s \
                 for its result, and do not repeat the call"
            ),
        });
        let content = vec![text_block(told.to_string())];
        let meta = ResultMeta { is_pending: Some(true), ..meta };
        Self { result_type: result_type(era), content, structured_content: structured.then_some(told), is_error: false, meta }
    }

    fn of_error(envelope: &Envelope, structured: bool, era: Era, meta: ResultMeta) -> Self {
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
