//! A plain MCP client: one POST a message, headers as the specification wants them, answers unvarnished.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The protocol version spoken unless a test says otherwise.
pub const PROTOCOL: &str = "2026-07-28";

/// The host's own tool.
pub const POLL_TOOL: &str = "get_call_result";

/// How long a call that was accepted may take.
const PENDING: Duration = Duration::from_secs(60);

/// A client of one host.
#[derive(Clone)]
pub struct Client {
    url: String,
    token: Option<String>,
    agent: ureq::Agent,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The response's headers.
    pub headers: ureq::http::HeaderMap,
    /// The body, as JSON if it is JSON.
    pub body: Value,
}

impl Client {
    /// A client of the endpoint at `url`.
    pub fn new(url: &str) -> Self {
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(60))).http_status_as_error(false);
        Self { url: url.to_owned(), token: None, agent: config.build().into() }
    }

    /// The same client with a bearer token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The same client, which hangs up when it is not answered in time.
    pub fn with_patience(&self, patience: Duration) -> Self {
        let config = ureq::Agent::config_builder().timeout_global(Some(patience)).http_status_as_error(false);
        Self { agent: config.build().into(), ..self.clone() }
    }

    /// Posts raw bytes with these headers.
    fn post(&self, body: &[u8], headers: &[(&str, &str)]) -> Result<Answer, ureq::Error> {
        let mut request = self.agent.post(&self.url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut response = request.send(body)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.body_mut().with_config().limit(256 << 20).read_to_string()?;
        let last_event = text.lines().filter_map(|line| line.strip_prefix("data:")).next_back();
        let body = serde_json::from_str(last_event.unwrap_or(&text)).unwrap_or(Value::String(text));
        Ok(Answer { status, headers, body })
    }

    /// Sends one request of the modern protocol.
    pub fn request(&self, method: &str, params: Value) -> Answer {
        self.request_with(method, params, &[])
    }

    /// Sends one request of the modern protocol with further headers.
    pub fn request_with(&self, method: &str, params: Value, extra: &[(&str, &str)]) -> Answer {
        self.try_request_with(method, params, extra).expect("the host answers")
    }

    /// Sends one request of the modern protocol with further headers to a host that may die over it.
    ///
    /// # Errors
    /// No whole answer came.
    pub fn try_request_with(&self, method: &str, mut params: Value, extra: &[(&str, &str)]) -> Result<Answer, ureq::Error> {
        let meta = params.as_object_mut().expect("params are an object").entry("_meta").or_insert_with(|| json!({}));
        meta["io.modelcontextprotocol/protocolVersion"] = json!(PROTOCOL);
        if meta.get("io.modelcontextprotocol/clientCapabilities").is_none() {
            meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
        }
        let name = params["name"].as_str().or_else(|| params["taskId"].as_str()).map(str::to_owned);
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let mut headers = vec![
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("mcp-protocol-version", PROTOCOL),
            ("mcp-method", method),
        ];
        if let Some(name) = &name {
            headers.push(("mcp-name", name));
        }
        headers.extend_from_slice(extra);
        self.post(body.as_bytes(), &headers)
    }

    /// Calls a tool on a host that may die over it, and asks for the answer for as long as the call is pending.
    ///
    /// # Errors
    /// No whole answer came.
    pub fn try_call(&self, params: Value) -> Result<Answer, ureq::Error> {
        let begun = Instant::now();
        let mut answer = self.try_request_with("tools/call", params, &[])?;
        while answer.is_pending() {
            assert!(begun.elapsed() < PENDING, "still pending after {PENDING:?}: {answer:?}");
            std::thread::sleep(Duration::from_millis(10));
            let handle = &answer.body["result"]["_meta"]["dev.tidegate/call-id"];
            let poll = json!({"name": "get_call_result", "arguments": {"call_id": handle}});
            answer = self.try_request_with("tools/call", poll, &[])?;
        }
        Ok(answer)
    }

    /// Calls a tool.
    pub fn call(&self, tool: &str, arguments: Value) -> Answer {
        self.request("tools/call", json!({"name": tool, "arguments": arguments}))
    }

    /// Calls a write tool with an idempotency key.
    pub fn call_keyed(&self, tool: &str, arguments: Value, key: &str) -> Answer {
        self.request("tools/call", json!({"name": tool, "arguments": arguments, "_meta": {"dev.tidegate/idempotency-key": key}}))
    }

    /// The names of the plugins' tools, in the order listed. Behind them stands the host's own.
    pub fn tools(&self) -> Vec<String> {
        let answer = self.request("tools/list", json!({}));
        let tools = answer.body["result"]["tools"].as_array().unwrap_or_else(|| panic!("no tools: {answer:?}")).clone();
        let mut names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().expect("a name").to_owned()).collect();
        assert_eq!(names.pop().as_deref(), Some(POLL_TOOL), "{answer:?}");
        names
    }
}

impl Answer {
    /// The structured result of a call that succeeded.
    pub fn structured(&self) -> &Value {
        let result = &self.body["result"];
        assert!(result["isError"] != json!(true) && result["structuredContent"].is_object(), "not a result: {self:?}");
        &result["structuredContent"]
    }

    /// The error envelope of a call that failed or was refused.
    pub fn envelope(&self) -> Value {
        let result = &self.body["result"];
        assert_eq!(result["isError"], json!(true), "not an error: {self:?}");
        let text = result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text: {self:?}"));
        serde_json::from_str(text).unwrap_or_else(|_| panic!("no envelope: {self:?}"))
    }

    /// The error code of a call that failed or was refused.
    pub fn error(&self) -> String {
        self.envelope()["error"].as_str().expect("a code").to_owned()
    }

    /// The `WWW-Authenticate` header.
    pub fn challenge(&self) -> &str {
        self.headers.get("www-authenticate").and_then(|value| value.to_str().ok()).unwrap_or_else(|| panic!("none: {self:?}"))
    }

    /// Whether the answer is that of an earlier call.
    pub fn is_replayed(&self) -> bool {
        self.body["result"]["_meta"]["dev.tidegate/replayed"] == json!(true)
    }

    /// Whether the call goes on, and its answer is to be asked for.
    pub fn is_pending(&self) -> bool {
        self.body["result"]["_meta"]["dev.tidegate/pending"] == json!(true)
    }

    /// Whether it was asked for with a handle.
    pub fn is_polled(&self) -> bool {
        self.body["result"]["_meta"]["dev.tidegate/polled"] == json!(true)
    }
}

/// Calls again and again until the host lets requests through to a backend that has come back, and answers with the first result.
///
/// # Panics
/// If the backend is not back within half a minute, or the call fails over something else.
pub fn until_back(call: impl Fn() -> Answer) -> Answer {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = call();
        if answer.body["result"]["isError"] != json!(true) {
            return answer;
        }
        assert!(["backend_unavailable", "rate_limited"].contains(&answer.error().as_str()), "{answer:?}");
        assert!(Instant::now() < deadline, "the backend is never let back in: {answer:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
