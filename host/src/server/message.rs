//! One JSON-RPC message, checked before anything acts on it: the same on every transport.

use serde_json::{Map, Value};

use super::json::{self, JsonLimits};
use super::rpc::{Id, RpcError};

/// The largest message, in bytes, but for tool calls: nothing else needs more, and rmcp tries each of its message types in turn.
pub const MAX_SMALL_MESSAGE: usize = 64 << 10;

/// What a client sent.
#[derive(Debug, PartialEq)]
pub enum Message {
    /// A request, which gets exactly one response.
    Request {
        /// Its id.
        id: Id,
        /// Its method.
        method: String,
        /// Its parameters; empty if there were none.
        params: Map<String, Value>,
    },
    /// A notification, which gets none.
    Notification {
        /// Its method.
        method: String,
        /// Its parameters; empty if there were none.
        params: Map<String, Value>,
    },
    /// A response to a request of ours.
    Response,
}

/// Reads one message (JSON-RPC 2.0, MCP 2026-07-28 "Messages").
///
/// # Errors
/// The bytes are not JSON (-32700), a batch, or no message this server takes (-32600), with the request's id if it has one;
/// or the parameters are not an object (-32602).
pub fn read(bytes: &[u8], limits: JsonLimits) -> Result<Message, RpcError> {
    let document =
        json::read(bytes, limits).map_err(|error| RpcError::parse_error(format!("the message is not JSON: {error}")))?;
    let mut object = match document.value {
        Value::Object(object) => object,
        Value::Array(_) => return Err(RpcError::invalid_request("batches are not supported; send one message at a time")),
        _ => return Err(RpcError::invalid_request("a message is a JSON object")),
    };
    let id = object.get("id").map(Id::of);
    let refused = |error: RpcError| match id.clone().flatten() {
        Some(id) => error.answering(id),
        None => error,
    };
    if let Some(flaw) = document.flaw {
        return Err(refused(RpcError::invalid_request(flaw.to_string())));
    }
    if object.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(refused(RpcError::invalid_request("the member `jsonrpc` must be \"2.0\"")));
    }
    let method = match object.remove("method") {
        Some(Value::String(method)) => method,
        Some(_) => return Err(refused(RpcError::invalid_request("the member `method` must be a string"))),
        None if object.contains_key("result") || object.contains_key("error") => return Ok(Message::Response),
        None => return Err(refused(RpcError::invalid_request("the member `method` is missing"))),
    };
    let params = match object.remove("params") {
        None => Map::new(),
        Some(Value::Object(params)) => params,
        Some(_) => return Err(refused(RpcError::invalid_params("the member `params` must be an object"))),
    };
    if method.ends_with("/list") && params.get("cursor").is_some_and(|cursor| !cursor.is_string()) {
        // rmcp would read it as no cursor at all.
        return Err(refused(RpcError::invalid_params("`params.cursor` must be a string")));
    }
    match id {
        None => Ok(Message::Notification { method, params }),
        Some(Some(id)) => Ok(Message::Request { id, method, params }),
        Some(None) => Err(RpcError::invalid_request("the member `id` must be a string or an integer")),
    }
}

#[cfg(test)]
mod tests;
