//! JSON-RPC errors and the HTTP status each travels with (MCP 2026-07-28, transports, "Errors").

use std::fmt;

use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

/// A request's id: a string or an integer, never null (MCP 2026-07-28, basic, "Requests").
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum Id {
    /// An integer.
    Number(i64),
    /// A string.
    Text(String),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            // A name that a client chose freely; nobody needs more of it.
            Self::Text(text) => f.write_str(&text[..text.floor_char_boundary(64)]),
        }
    }
}

impl Id {
    /// The id that `value` is, if it is one.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => number.as_i64().map(Self::Number),
            Value::String(text) => Some(Self::Text(text.clone())),
            _ => None,
        }
    }
}

/// A JSON-RPC error response.
#[derive(Clone, Debug, PartialEq)]
pub struct RpcError {
    /// The request it answers. MCP leaves the member out, rather than null, where the id could not be read.
    pub id: Option<Id>,
    /// The JSON-RPC error code.
    pub code: i32,
    /// What is wrong and what to do.
    pub message: String,
    /// More, for programs.
    pub data: Option<Box<Value>>,
    /// The HTTP status it travels with.
    pub status: StatusCode,
}

impl RpcError {
    /// The bytes are not JSON.
    pub fn parse_error(message: impl Into<String>) -> Self {
        Self::new(-32700, StatusCode::BAD_REQUEST, message)
    }

    /// The message is not a JSON-RPC message that this server takes.
    pub fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(-32600, StatusCode::BAD_REQUEST, message)
    }

    /// The parameters of a known method are wrong.
    pub fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(-32602, StatusCode::OK, message)
    }

    /// `_meta` lacks what every request must carry; the one kind of invalid parameters with a status of its own.
    pub fn missing_meta(message: impl Into<String>) -> Self {
        Self::new(-32602, StatusCode::BAD_REQUEST, message)
    }

    /// The server failed.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(-32603, StatusCode::OK, message)
    }

    /// An `Mcp-…` header contradicts the body or is missing.
    pub fn header_mismatch(message: impl Into<String>) -> Self {
        Self::new(-32020, StatusCode::BAD_REQUEST, message)
    }

    /// The client did not declare capabilities that the request needs, or extensions, which have a `/` in their names.
    pub fn missing_capabilities(names: &[String]) -> Self {
        let named = |name: &String| (name.clone(), json!({}));
        let (extensions, capabilities): (Vec<_>, Vec<_>) = names.iter().partition(|name| name.contains('/'));
        let mut required: serde_json::Map<_, _> = capabilities.into_iter().map(named).collect();
        if !extensions.is_empty() {
            required.insert("extensions".to_owned(), extensions.into_iter().map(named).collect());
        }
        let message = format!("this needs a client that declares {}", names.join(", "));
        Self::new(-32021, StatusCode::BAD_REQUEST, message).with_data(json!({ "requiredCapabilities": required }))
    }

    /// The protocol version asked for is not supported.
    pub fn unsupported_version(requested: &str, supported: &[&str]) -> Self {
        let message = format!("protocol version `{}` is not supported", requested.chars().take(64).collect::<String>());
        let data = json!({ "supported": supported, "requested": requested });
        Self::new(-32022, StatusCode::BAD_REQUEST, message).with_data(data)
    }

    /// Refused by HTTP means, before or beside JSON-RPC. The code repeats the status: MCP reserves the negative ones, and a
    /// body that is no JSON-RPC error at all makes dual-era clients take this for a legacy server.
    pub fn http(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(i32::from(status.as_u16()), status, message)
    }

    /// The same error in answer to a request.
    #[must_use]
    pub fn answering(self, id: Id) -> Self {
        Self { id: Some(id), ..self }
    }

    /// The same error with more for programs.
    #[must_use]
    pub fn with_data(self, data: Value) -> Self {
        Self { data: Some(Box::new(data)), ..self }
    }

    /// The response as it goes over the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let error = ErrorMember { code: self.code, message: &self.message, data: self.data.as_deref() };
        let response = ErrorResponse { jsonrpc: "2.0", id: self.id.as_ref(), error };
        serde_json::to_vec(&response).expect("an error response holds only strings, numbers and JSON")
    }

    fn new(code: i32, status: StatusCode, message: impl Into<String>) -> Self {
        Self { id: None, code, message: message.into(), data: None, status }
    }
}

/// A JSON-RPC result response around any result.
#[derive(Serialize)]
pub struct ResultResponse<'a, R> {
    jsonrpc: &'static str,
    id: &'a Id,
    result: R,
}

impl<'a, R: Serialize> ResultResponse<'a, R> {
    /// The result of the request `id`.
    pub fn new(id: &'a Id, result: R) -> Self {
        Self { jsonrpc: "2.0", id, result }
    }

    /// The response as it goes over the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("results hold only strings, numbers and JSON")
    }
}

#[derive(Serialize)]
struct ErrorResponse<'a> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a Id>,
    error: ErrorMember<'a>,
}

#[derive(Serialize)]
struct ErrorMember<'a> {
    code: i32,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Value>,
}
