//! How requests are written: in the protocol of 2026-07-28, or in an older one that begins with a handshake.

use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::answer::Poll;
use super::template::{Filling, Place, Template};

/// The newest protocol spoken.
pub const MODERN: &str = "2026-07-28";
/// The newest protocol with a handshake.
pub const LEGACY: &str = "2025-11-25";

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// The protocol that the server speaks.
#[derive(Clone, Debug)]
pub enum Dialect {
    /// Every request stands alone.
    Modern {
        /// Whether tasks are declared.
        tasks: bool,
    },
    /// After a handshake that settled on a version.
    Legacy {
        /// The version.
        version: HeaderValue,
    },
}

/// A request to be sent.
#[derive(Debug)]
pub struct Request {
    /// Its headers but for who sends it.
    pub headers: HeaderMap,
    /// Its body.
    pub body: String,
}

/// A call of one tool, to be filled in.
#[derive(Clone, Debug)]
pub struct CallForm {
    headers: HeaderMap,
    body: Template,
}

impl CallForm {
    /// The request for one call.
    pub fn fill(&self, filling: Filling<'_>) -> Request {
        Request { headers: self.headers.clone(), body: self.body.fill(filling) }
    }
}

impl Dialect {
    /// The request `method` with these parameters.
    pub fn request(&self, method: &str, mut params: Value, id: u64) -> Request {
        let name = params.get("name").or(params.get("taskId")).and_then(Value::as_str).unwrap_or_default().to_owned();
        if let (Some(meta), Some(params)) = (self.meta(), params.as_object_mut()) {
            params.insert("_meta".into(), meta);
        }
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string();
        Request { headers: self.headers(method, &name), body }
    }

    /// The question what became of a call.
    pub fn poll(&self, poll: &Poll, id: u64) -> Request {
        match poll {
            Poll::Task(task) => self.request("tasks/get", json!({ "taskId": task }), id),
            Poll::Tool { tool, call } => {
                self.request("tools/call", json!({ "name": tool, "arguments": { "call_id": call } }), id)
            }
        }
    }

    /// Calls of `tool` with these arguments; each with its key, if `is_keyed`.
    pub fn call_form(&self, tool: &str, arguments: Template, is_keyed: bool) -> CallForm {
        let text = |value: &Value| value.to_string();
        let mut body = Template::default().text(r#"{"jsonrpc":"2.0","id":"#).place(Place::Request);
        body = body.text(r#","method":"tools/call","params":{"name":"#).text(&text(&json!(tool)));
        body = body.text(r#","arguments":"#).then(arguments);
        body = body.text(r#","_meta":"#);
        let meta = self.meta().unwrap_or_else(|| json!({}));
        let meta = text(&meta);
        body = match is_keyed {
            false => body.text(&meta),
            true => {
                let comma = if meta == "{}" { "" } else { "," };
                let open = meta.strip_suffix('}').expect("it is an object");
                body.text(open).text(comma).text(r#""dev.tidegate/idempotency-key":""#).place(Place::Key).text("\"}")
            }
        };
        CallForm { headers: self.headers("tools/call", tool), body: body.text("}}") }
    }

    /// What every request says of itself.
    fn meta(&self) -> Option<Value> {
        let Self::Modern { tasks } = self else { return None };
        let capabilities = match tasks {
            true => json!({ "extensions": { "io.modelcontextprotocol/tasks": {} } }),
            false => json!({}),
        };
        Some(json!({
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": capabilities,
            "io.modelcontextprotocol/clientInfo": client_info(),
        }))
    }

    fn headers(&self, method: &str, name: &str) -> HeaderMap {
        let mut headers = plain_headers();
        let value = |text: &str| HeaderValue::from_str(text).ok();
        match self {
            Self::Modern { .. } => {
                headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(MODERN));
                headers.extend(value(method).map(|method| (METHOD, method)));
                headers.extend(value(name).filter(|name| !name.is_empty()).map(|name| (NAME, name)));
            }
            Self::Legacy { version } => {
                headers.insert(PROTOCOL_VERSION, version.clone());
            }
        }
        headers
    }
}

/// The first message of the handshake.
pub fn initialize(id: u64) -> Request {
    let params = json!({ "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": client_info() });
    let body = json!({ "jsonrpc": "2.0", "id": id, "method": "initialize", "params": params }).to_string();
    Request { headers: plain_headers(), body }
}

/// The last message of the handshake, in the version it settled on.
pub fn initialized(version: &HeaderValue) -> Request {
    let mut headers = plain_headers();
    headers.insert(PROTOCOL_VERSION, version.clone());
    Request { headers, body: json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }).to_string() }
}

/// What every request has.
pub fn plain_headers() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(12);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("tidegate-bench/", env!("CARGO_PKG_VERSION"))));
    headers
}

fn client_info() -> Value {
    json!({ "name": "tidegate-bench", "version": env!("CARGO_PKG_VERSION") })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILLING: Filling<'_> = Filling { number: 5, principal: "bench-1", request: 9, key: "key-5" };

    fn written(dialect: &Dialect, is_keyed: bool) -> (HeaderMap, Value) {
        let form = dialect.call_form("pay", Template::parse(r#"{"id": "inv_{n}", "of": "{principal}"}"#), is_keyed);
        let Request { headers, body } = form.fill(FILLING);
        (headers, serde_json::from_str(&body).expect("JSON"))
    }

    #[test]
    fn calls_are_written_as_either_protocol_wants_them() {
        let (headers, body) = written(&Dialect::Modern { tasks: true }, true);
        assert_eq!((&headers["mcp-method"], &headers["mcp-name"]), (&"tools/call".parse().unwrap(), &"pay".parse().unwrap()));
        assert_eq!((&headers["mcp-protocol-version"], &body["id"]), (&MODERN.parse().unwrap(), &json!(9)));
        assert_eq!(body["params"]["arguments"], json!({"id": "inv_5", "of": "bench-1"}));
        let meta = &body["params"]["_meta"];
        assert_eq!(meta["dev.tidegate/idempotency-key"], "key-5");
        assert_eq!(
            meta["io.modelcontextprotocol/clientCapabilities"]["extensions"],
            json!({"io.modelcontextprotocol/tasks": {}})
        );
        let legacy = Dialect::Legacy { version: HeaderValue::from_static(LEGACY) };
        let (headers, body) = written(&legacy, true);
        assert_eq!(body["params"]["_meta"], json!({"dev.tidegate/idempotency-key": "key-5"}));
        assert!(headers.get("mcp-method").is_none() && headers["mcp-protocol-version"] == LEGACY);
        assert_eq!(written(&legacy, false).1["params"]["_meta"], json!({}));
        assert!(written(&Dialect::Modern { tasks: false }, false).1["params"]["_meta"]["dev.tidegate/idempotency-key"].is_null());
    }

    #[test]
    fn polls_name_what_they_ask_for() {
        let modern = Dialect::Modern { tasks: true };
        let task = modern.poll(&Poll::Task("t1".into()), 2);
        assert_eq!(
            (&task.headers["mcp-method"], &task.headers["mcp-name"]),
            (&"tasks/get".parse().unwrap(), &"t1".parse().unwrap())
        );
        let tool = modern.poll(&Poll::Tool { tool: "get_call_result".into(), call: "call_1".into() }, 3);
        let body: Value = serde_json::from_str(&tool.body).expect("JSON");
        assert_eq!(tool.headers["mcp-name"], "get_call_result");
        assert_eq!(body["params"]["arguments"], json!({"call_id": "call_1"}));
    }
}
