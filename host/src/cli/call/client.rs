//! One request of the modern protocol to a host's MCP endpoint, and its answer.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::asked::Answers;
use crate::model::TraceContext;

/// The protocol version spoken.
const PROTOCOL: &str = "2026-07-28";

/// How long to wait for an answer: longer than any deadline a host would allow.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The most of an answer that is read.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// The most pages of a list that are asked for.
const MAX_PAGES: usize = 100;

/// Somebody who asks a host.
pub struct Client<'a> {
    /// The MCP endpoint.
    pub url: &'a str,
    /// The bearer token, if the host wants one.
    pub token: Option<&'a str>,
    /// Whether somebody is there to answer what tools ask.
    pub can_be_asked: bool,
}

/// One call of a tool, which may take more than one request.
#[derive(Clone, Debug)]
pub struct ToolCall {
    /// The tool.
    pub tool: String,
    /// Its arguments.
    pub arguments: Value,
    /// The idempotency key.
    pub key: String,
}

impl Client<'_> {
    /// Calls a tool, perhaps with answers to what it `asked` before.
    ///
    /// # Errors
    /// The host does not answer, or not with a result.
    pub fn call(&self, ToolCall { tool, arguments, key }: &ToolCall, answers: Option<Answers>) -> Result<Value> {
        let mut params = json!({ "name": tool, "arguments": arguments, "_meta": { "dev.tidegate/idempotency-key": key } });
        if let Some(Answers { responses, state }) = answers {
            params["inputResponses"] = responses.into();
            if !state.is_null() {
                params["requestState"] = state;
            }
        }
        self.request("tools/call", Some(tool), params)
    }

    /// The tools that the caller may see, as they are listed.
    ///
    /// # Errors
    /// The host does not answer, or not with a list.
    pub fn tools(&self) -> Result<Vec<Value>> {
        let (mut tools, mut cursor) = (Vec::new(), Value::Null);
        for _ in 0..MAX_PAGES {
            let params = if cursor.is_null() { json!({}) } else { json!({ "cursor": cursor }) };
            let mut page = self.request("tools/list", None, params)?;
            let Some(listed) = page["tools"].as_array_mut() else {
                bail!("the host answered with something that is no list of tools")
            };
            tools.append(listed);
            cursor = page["nextCursor"].take();
            if cursor.is_null() {
                break;
            }
        }
        Ok(tools)
    }

    fn request(&self, method: &str, name: Option<&str>, mut params: Value) -> Result<Value> {
        let takes = if self.can_be_asked { json!({ "elicitation": { "form": {}, "url": {} } }) } else { json!({}) };
        let meta = [
            ("io.modelcontextprotocol/protocolVersion", json!(PROTOCOL)),
            ("io.modelcontextprotocol/clientCapabilities", takes),
            ("io.modelcontextprotocol/clientInfo", json!({ "name": "tidegate-call", "version": env!("CARGO_PKG_VERSION") })),
            ("traceparent", json!(TraceContext::random().to_string())),
        ];
        for (key, value) in meta {
            params["_meta"][key] = value;
        }
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let agent: ureq::Agent =
            ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false).build().into();
        let mut post = agent
            .post(self.url)
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json")
            .header("mcp-protocol-version", PROTOCOL)
            .header("mcp-method", method);
        if let Some(name) = name {
            post = post.header("mcp-name", name);
        }
        if let Some(token) = self.token {
            post = post.header("authorization", format!("Bearer {token}"));
        }
        let mut response =
            post.send(request.to_string()).with_context(|| format!("no answer from `{}`; is the host running?", self.url))?;
        let status = response.status();
        let body = response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_string().context("the answer broke off")?;
        let answer = answer_in(&body).with_context(|| format!("the host answered {status} with something that is not MCP"))?;
        match (&answer["result"], &answer["error"]) {
            (Value::Null, error) => {
                bail!("the host answered {status}: {}", error["message"].as_str().unwrap_or("no reason given"))
            }
            (result, _) => Ok(result.clone()),
        }
    }
}

/// The response message in a JSON body, or in the last event of an event stream.
fn answer_in(body: &str) -> Option<Value> {
    serde_json::from_str(body).ok().or_else(|| {
        let events = body.lines().filter_map(|line| line.strip_prefix("data:"));
        events.filter_map(|data| serde_json::from_str::<Value>(data.trim()).ok()).rfind(|message| message.get("id").is_some())
    })
}
