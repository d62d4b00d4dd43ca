//! The media types that clients send, and those they must take.

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::RpcError;

/// Clients send JSON, and must take both a JSON answer and a stream of events (MCP 2026-07-28, transports).
///
/// # Errors
/// The body is something else (415), or the client takes only one of the two (406).
pub fn check(headers: &HeaderMap) -> Result<(), RpcError> {
    check_json(headers)?;
    let accepts = |kind: &str| {
        headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|range| {
            let range_kind = essence(range);
            (range_kind == "*/*" || range_kind.eq_ignore_ascii_case(kind)) && !is_refused(range)
        })
    };
    if accepts("application/json") && accepts("text/event-stream") {
        return Ok(());
    }
    let problem = "the header `Accept` must list both `application/json` and `text/event-stream`";
    Err(RpcError::http(StatusCode::NOT_ACCEPTABLE, problem))
}

/// Whether the body is JSON.
///
/// # Errors
/// It is something else (415).
pub fn check_json(headers: &HeaderMap) -> Result<(), RpcError> {
    let is_json = |value: &HeaderValue| essence(value.to_str().unwrap_or_default()).eq_ignore_ascii_case("application/json");
    if headers.get(CONTENT_TYPE).is_some_and(is_json) {
        return Ok(());
    }
    Err(RpcError::http(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the header `Content-Type` must be `application/json`"))
}

/// A media type or range without its parameters.
fn essence(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim()
}

/// Whether a media range is listed only to refuse it: `;q=0` (RFC 9110 §12.4.2).
fn is_refused(range: &str) -> bool {
    let quality = range.split(';').skip(1).filter_map(|parameter| parameter.trim().strip_prefix("q=")).next();
    quality.is_some_and(|quality| quality.parse::<f32>() == Ok(0.0))
}
