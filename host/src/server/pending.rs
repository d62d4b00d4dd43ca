//! What callers are told of a call that goes on without them, and how its instants and waits stand on the wire.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::model::dialogue::to_requests;
use crate::model::{POLL_TOOL, Timestamp};
use crate::pipeline::Pending;

/// The path under which programs ask for the answers of calls, up to the call's id.
pub const CALLS_PATH: &str = "/v1/calls/";

/// All that it takes to ask for the answer of `pending`; `calls_at` is where programs ask, up to the call's id.
pub fn told(pending: &Pending, calls_at: &str) -> Value {
    let retry_after = whole_seconds(pending.retry_after);
    if let Some(asks) = &pending.asks {
        return json!({
            "status": "pending",
            "call_id": pending.call,
            "state": pending.state.as_str(),
            "input_requests": to_requests(asks),
            "retry_after_seconds": retry_after,
            "poll_tool": POLL_TOOL,
            "poll_url": format!("{calls_at}{}", pending.call),
            "message": format!(
                "the call waits for answers to `input_requests`: call the tool `{POLL_TOOL}` with this call_id, and a client that takes \
                 such questions is asked; or have a program send them with POST to poll_url, as {{\"input_responses\": {{…}}}}"
            ),
        });
    }
    json!({
        "status": "pending",
        "call_id": pending.call,
        "state": pending.state.as_str(),
        "retry_after_seconds": retry_after,
        "poll_tool": POLL_TOOL,
        "poll_url": format!("{calls_at}{}", pending.call),
        "message": format!(
            "the call was accepted and is not finished; call the tool `{POLL_TOOL}` with this call_id in {retry_after} s for its \
             result, and do not repeat the call"
        ),
    })
}

/// A wait in whole seconds, at least one, rounded up: asking too early would be told the same again.
pub fn whole_seconds(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis().div_ceil(1000).max(1)).unwrap_or(u64::MAX)
}

/// A wait in whole milliseconds, at least one.
pub fn whole_millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis().max(1)).unwrap_or(u64::MAX)
}

/// An instant as ISO 8601 has it, in UTC.
pub fn iso_8601(instant: Timestamp) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(instant.as_millis())).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_never_told_shorter_than_it_is_nor_as_none() {
        let seconds = [0, 1, 1000, 1001].map(|millis| whole_seconds(Duration::from_millis(millis)));
        assert_eq!(seconds, [1, 1, 1, 2]);
        assert_eq!(whole_millis(Duration::ZERO), 1);
    }
}
