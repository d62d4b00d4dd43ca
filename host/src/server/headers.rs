//! The HTTP headers that mirror or accompany a request: `Mcp-Method`, `Mcp-Name`, `Mcp-Param-…`, `Idempotency-Key`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use serde_json::{Map, Value};

use super::rpc::RpcError;
use crate::model::{KeySource, OfferedKey};

/// The one value of a header that may stand once.
///
/// # Errors
/// It stands more than once, or is not visible ASCII (-32020): readers would differ on what it says.
pub fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, RpcError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(RpcError::header_mismatch(format!("the header `{name}` stands more than once")));
    }
    let text = value.to_str().map_err(|_| RpcError::header_mismatch(format!("the header `{name}` is not ASCII text")))?;
    Ok(Some(text.trim_matches([' ', '\t'])))
}

/// Holds `Mcp-Method` and `Mcp-Name` to the body of a request of `method`, whose member `member` says `name` (MCP 2026-07-28,
/// transports, "Standard Headers"; for tasks, ext-tasks "Routing Headers").
///
/// # Errors
/// One is missing, malformed, or says something else than the body (-32020).
pub fn check(headers: &HeaderMap, method: &str, member: &str, name: &str) -> Result<(), RpcError> {
    match single(headers, "mcp-method")? {
        Some(header) if header == method => {}
        Some(_) => {
            return Err(RpcError::header_mismatch(format!("the header `Mcp-Method` differs from the body's method `{method}`")));
        }
        None => return Err(RpcError::header_mismatch(format!("the header `Mcp-Method` is missing; it must be `{method}`"))),
    }
    match single(headers, "mcp-name")?.map(decoded) {
        Some(Some(header)) if header == name => Ok(()),
        Some(Some(_)) => Err(RpcError::header_mismatch(format!("the header `Mcp-Name` differs from the body's `{member}`"))),
        Some(None) => Err(RpcError::header_mismatch("the header `Mcp-Name` is not valid Base64 of UTF-8 text")),
        None => Err(RpcError::header_mismatch(format!("the header `Mcp-Name` is missing; it repeats `{member}`"))),
    }
}

/// Holds the `Mcp-Param-…` headers to the arguments they mirror, as the tool's input schema asks for (MCP 2026-07-28,
/// transports, "Custom Headers"; SEP-2243).
///
/// # Errors
/// One is missing, superfluous, malformed, or says something else than its argument (-32020).
pub fn check_params(headers: &HeaderMap, schema: &Map<String, Value>, arguments: &Map<String, Value>) -> Result<(), RpcError> {
    let Some(Value::Object(properties)) = schema.get("properties") else { return Ok(()) };
    let nothing = Map::new();
    for (name, property) in properties {
        let Value::Object(property) = property else { continue };
        let argument = arguments.get(name).filter(|argument| !argument.is_null());
        if let Some(Value::String(mirror)) = property.get("x-mcp-header") {
            check_param(headers, mirror, argument)?;
        }
        // Mirrors sit on `properties` chains only. Below an absent argument, their headers must be absent too.
        check_params(headers, property, argument.and_then(Value::as_object).unwrap_or(&nothing))?;
    }
    Ok(())
}

fn check_param(headers: &HeaderMap, mirror: &str, argument: Option<&Value>) -> Result<(), RpcError> {
    let header = format!("mcp-param-{}", mirror.to_ascii_lowercase());
    let refused = |problem: &str| Err(RpcError::header_mismatch(format!("the header `Mcp-Param-{mirror}` {problem}")));
    match (single(headers, &header)?, argument) {
        (None, None) => Ok(()),
        (None, Some(Value::Object(_) | Value::Array(_))) => Ok(()),
        (None, Some(_)) => refused("is missing; it repeats an argument"),
        (Some(_), None) => refused("repeats an argument that is absent"),
        (Some(text), Some(argument)) => match decoded(text) {
            None => refused("is not valid Base64 of UTF-8 text"),
            Some(text) if mirrors(&text, argument) => Ok(()),
            Some(_) => refused("differs from the argument it repeats"),
        },
    }
}

/// Whether a header says what the argument says. Numbers compare by value: `42.0` is `42`.
fn mirrors(text: &str, argument: &Value) -> bool {
    match argument {
        Value::String(argument) => text == argument,
        Value::Bool(argument) => text == if *argument { "true" } else { "false" },
        Value::Number(argument) => match (text.parse::<i64>(), argument.as_i64()) {
            (Ok(text), Some(argument)) => text == argument,
            _ => text.parse::<f64>().is_ok_and(|text| Some(text) == argument.as_f64()),
        },
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// A header value without its `=?base64?…?=` wrapping, if it has one; `None` if the wrapping holds no text.
fn decoded(value: &str) -> Option<String> {
    match value.strip_prefix("=?base64?").and_then(|inner| inner.strip_suffix("?=")) {
        Some(inner) => String::from_utf8(STANDARD.decode(inner).ok()?).ok(),
        None => Some(value.to_owned()),
    }
}

/// The idempotency key offered as a header: an RFC 8941 string, quotes and all (draft-ietf-httpapi-idempotency-key-header-07),
/// or, as many clients send it, the bare key.
///
/// # Errors
/// There is more than one, or it is neither (-32602).
pub fn offered_key(headers: &HeaderMap) -> Result<Option<OfferedKey>, RpcError> {
    let refused = |problem: &str| RpcError::missing_meta(format!("the header `Idempotency-Key` {problem}"));
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(refused("stands more than once; one call has one key"));
    }
    let value = value.to_str().map_err(|_| refused("is not ASCII text"))?.trim_matches(' ');
    let text = match value.strip_prefix('"') {
        Some(quoted) => unquoted(quoted).ok_or_else(|| refused("is not one quoted string"))?,
        None if value.is_empty() || value.contains([',', ';', '"', ' ']) => {
            return Err(refused("is neither a quoted string nor a bare key"));
        }
        None => value.to_owned(),
    };
    Ok(Some(OfferedKey { source: KeySource::Header, text }))
}

/// The text of an RFC 8941 string, from behind its opening quote; `None` if it ends early or late.
fn unquoted(quoted: &str) -> Option<String> {
    let mut text = String::with_capacity(quoted.len());
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '"' => return characters.next().is_none().then_some(text),
            '\\' => text.push(characters.next().filter(|escaped| matches!(escaped, '"' | '\\'))?),
            character => text.push(character),
        }
    }
}

#[cfg(test)]
mod tests;
