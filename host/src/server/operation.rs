//! One MCP operation as telemetry tells it: a server span and a duration, named by OpenTelemetry's conventions for MCP.

use std::borrow::Cow;
use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Instant;

use http::HeaderMap;
use metrics::{Label, SharedString};
use rmcp::model::ProtocolVersion;

use super::convert::CallResult;
use super::era::VERSION_HEADER;
use super::meta::Meta;
use super::rpc::RpcError;
use crate::model::{ErrorCode, OpenSpan, POLL_TOOL, Rejection, Spans};
use crate::pipeline::{Answer, Pipeline, Reply};

/// How long operations take, by method, tool and outcome.
const DURATION: &str = "mcp.server.operation.duration";

/// What stands for every name that only the client knows: names from outside must not become labels.
const OTHER: &str = "_OTHER";

/// The methods that have names of their own in telemetry.
const METHODS: [&str; 19] = [
    "completion/complete",
    "initialize",
    "logging/setLevel",
    "ping",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "server/discover",
    "subscriptions/listen",
    "tasks/cancel",
    "tasks/get",
    "tasks/result",
    "tasks/update",
    "tools/call",
    "tools/list",
];

/// The JSON-RPC codes that tell of a client's mistake, not of a failed server.
const MISTAKES: [i32; 9] = [-32700, -32600, -32601, -32602, -32002, -32020, -32021, -32022, 429];

/// What a request came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// HTTP over TCP.
    Http,
    /// Standard input and output, or a local socket.
    Pipe,
}

/// How an operation ended.
enum End {
    Well,
    /// As a tool error, with this code.
    Tool(ErrorCode),
    /// As a tool error of the host's own tool.
    OwnTool,
    /// As a JSON-RPC error.
    Rpc(i32),
    /// In another way, for this reason, which may be the caller's own doing.
    Otherwise(&'static str, bool),
}

/// An operation under way. Dropped before it ended, it was given up.
pub struct Operation {
    method: &'static str,
    tool: Option<SharedString>,
    version: Option<&'static str>,
    carrier: Carrier,
    started: Instant,
    /// None once it has ended.
    span: Option<OpenSpan>,
    spans: Spans,
}

impl Operation {
    /// The operation that a request asks for. `http` are the headers of the HTTP request, if there was one, and who sent it.
    pub fn begin(
        pipeline: &Pipeline,
        method: &str,
        id: &dyn Display,
        meta: Meta<'_>,
        http: Option<(&HeaderMap, SocketAddr)>,
        handshake: Option<&str>,
    ) -> Self {
        let method = METHODS.into_iter().find(|known| *known == method).unwrap_or(OTHER);
        let (headers, peer) = http.unzip();
        let origin = meta.origin(headers);
        let in_header = || headers?.get(VERSION_HEADER)?.to_str().ok();
        let version = meta.protocol_version().or_else(in_header).or(handshake).and_then(known_version);
        let carrier = if headers.is_some() { Carrier::Http } else { Carrier::Pipe };
        let mut span = pipeline.begin(origin.parent.as_ref(), origin.link);
        if span.is_noted() {
            span.rename(|| Cow::Borrowed(method));
            span.set("mcp.method.name", method);
            span.set("jsonrpc.request.id", id.to_string());
            if let Some(version) = version {
                span.set("mcp.protocol.version", version);
            }
            span.set("network.transport", carrier.as_str());
            if carrier == Carrier::Http {
                span.set("network.protocol.name", "http");
            }
            if let Some(peer) = peer {
                // Whom a proxy speaks for is hearsay.
                let (address, port) = (peer.ip().to_canonical().to_string(), u64::from(peer.port()));
                span.set("client.address", address.clone());
                span.set("client.port", port);
                span.set("network.peer.address", address);
                span.set("network.peer.port", port);
            }
        }
        let spans = span.spans();
        Self { method, tool: None, version, carrier, started: Instant::now(), span: Some(span), spans }
    }

    /// An operation that nobody watches.
    #[cfg(test)]
    pub fn unwatched(method: &'static str) -> Self {
        let span = OpenSpan::unwatched(None);
        let (carrier, spans) = (Carrier::Pipe, span.spans());
        Self { method, tool: None, version: None, carrier, started: Instant::now(), span: Some(span), spans }
    }

    /// It is a call of this tool.
    pub fn calls(&mut self, pipeline: &Pipeline, tool: &str) {
        let known = (tool == POLL_TOOL || pipeline.tool(tool).is_some()).then(|| tool.to_owned());
        let (method, span) = (self.method, self.span.as_mut());
        if let Some(span) = span.filter(|span| span.is_noted()) {
            span.set("gen_ai.operation.name", "execute_tool");
            match &known {
                Some(known) => {
                    span.rename(|| format!("{method} {known}").into());
                    span.set("gen_ai.tool.name", known.clone());
                }
                None => span.set("gen_ai.tool.name", tool[..tool.floor_char_boundary(64)].to_owned()),
            }
        }
        self.tool = Some(known.map_or(OTHER.into(), Into::into));
    }

    /// Its position in the trace, and where its parts are noted.
    pub fn spans(&self) -> &Spans {
        &self.spans
    }

    /// It ended with this reply of the pipeline.
    pub fn replied(&mut self, reply: &Reply) {
        if let Some(span) = &mut self.span
            && span.is_noted()
        {
            span.set("tidegate.call.id", reply.call_id.to_string());
            if let Some(replayed) = reply.replayed {
                span.set("tidegate.call.replay_of", replayed.first.to_string());
            }
            if let Answer::Pending(pending) = &reply.answer {
                span.set("tidegate.call.pending", pending.state.as_str());
            }
        }
        self.end(match &reply.answer {
            Answer::Output(_) | Answer::Asked { .. } | Answer::Pending(_) => End::Well,
            Answer::Error { envelope, .. } => End::Tool(envelope.error),
            Answer::Refused(Rejection::UnknownTool(_) | Rejection::StateInvalid | Rejection::AnswersTooLarge) => End::Rpc(-32602),
            Answer::Refused(Rejection::ClientLacks(_)) => End::Rpc(-32021),
            Answer::Refused(rejection) => End::Otherwise(rejection.as_str(), rejection.is_callers_doing()),
        });
    }

    /// It ended with this result of the host's own tool.
    pub fn told(&mut self, result: &Result<CallResult, RpcError>) {
        self.end(match result {
            Ok(result) if result.is_error() => End::OwnTool,
            Ok(_) => End::Well,
            Err(error) => End::Rpc(error.code),
        });
    }

    /// It ended well, or with this JSON-RPC error.
    pub fn answered(&mut self, error: Option<i32>) {
        self.end(error.map_or(End::Well, End::Rpc));
    }

    fn end(&mut self, end: End) {
        let Some(mut span) = self.span.take() else { return };
        let mut labels = Vec::with_capacity(8);
        let mut label = |name: &'static str, value: SharedString| labels.push(Label::new(name, value));
        label("mcp.method.name", self.method.into());
        if let Some(tool) = self.tool.take() {
            label("gen_ai.tool.name", tool);
            label("gen_ai.operation.name", "execute_tool".into());
        }
        if let Some(version) = self.version {
            label("mcp.protocol.version", version.into());
        }
        label("network.transport", self.carrier.as_str().into());
        // Whoever fails on purpose does not undo the sampling.
        let is_callers_doing = match end {
            End::Well | End::OwnTool => true,
            End::Tool(code) => code.is_callers_doing(),
            End::Rpc(code) => MISTAKES.contains(&code),
            End::Otherwise(_, is_callers_doing) => is_callers_doing,
        };
        match end {
            End::Well => {}
            End::Tool(_) | End::OwnTool => {
                label("error.type", "tool_error".into());
                span.set("error.type", "tool_error");
            }
            End::Rpc(code) => {
                label("error.type", code.to_string().into());
                label("rpc.response.status_code", code.to_string().into());
                span.set("error.type", code.to_string());
                span.set("rpc.response.status_code", code.to_string());
            }
            End::Otherwise(reason, _) => {
                label("error.type", reason.into());
                span.set("error.type", reason);
            }
        }
        if let End::Tool(code) = end {
            label("tidegate.error.code", code.as_str().into());
            span.set("tidegate.error.code", code.as_str());
        }
        match (is_callers_doing, &end) {
            (false, _) => span.fail(),
            (true, End::Tool(_) | End::OwnTool | End::Otherwise(..)) => span.fail_quietly(),
            // The conventions count a client's mistake as no failure of the server.
            (true, End::Well | End::Rpc(_)) => {}
        }
        metrics::histogram!(DURATION, labels).record(self.started.elapsed());
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        self.end(End::Otherwise("cancelled", true));
    }
}

impl Carrier {
    /// As `network.transport` has it.
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "tcp",
            Self::Pipe => "pipe",
        }
    }
}

fn known_version(version: &str) -> Option<&'static str> {
    ProtocolVersion::KNOWN_VERSIONS.iter().map(ProtocolVersion::as_str).find(|known| *known == version)
}
