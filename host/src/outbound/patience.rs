//! What a backend says about when to come back: `Retry-After` (RFC 9110 §10.2.3), and leaving it alone for so long.

use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use crate::model::ErrorCode;

/// Whether a backend has asked to be left alone, and for how long.
pub(super) struct Patience {
    /// It is not left alone for longer, whatever it says.
    longest: Duration,
    wait: Mutex<Option<Wait>>,
}

/// A backend wants to be left alone.
#[derive(Clone, Copy)]
struct Wait {
    until: Instant,
    code: ErrorCode,
}

impl Patience {
    /// Of a backend that has said nothing; never for more than `longest`.
    pub fn new(longest: Duration) -> Self {
        Self { longest, wait: Mutex::new(None) }
    }

    /// Heeds a response that may say when to come back. Answers whether it does.
    pub fn heed(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        let code = match status {
            StatusCode::TOO_MANY_REQUESTS => ErrorCode::RateLimited,
            StatusCode::SERVICE_UNAVAILABLE => ErrorCode::BackendUnavailable,
            _ => return false,
        };
        let Some(told) = retry_after(headers, SystemTime::now()).filter(|told| !told.is_zero()) else { return false };
        let until = Instant::now() + told.min(self.longest);
        let mut wait = self.wait.lock().expect("no code panics while it holds a wait");
        // Responses overtake each other; the longest wait is the safe one.
        if wait.is_none_or(|wait| wait.until < until) {
            *wait = Some(Wait { until, code });
        }
        true
    }

    /// How long it is still to be left alone, and what callers are told until then.
    pub fn left(&self) -> Option<(Duration, ErrorCode)> {
        let wait = (*self.wait.lock().expect("no code panics while it holds a wait"))?;
        let left = wait.until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some((left, wait.code))
    }
}

/// How long from `now` on, in seconds or until a date. A date that has passed is no time at all; what is neither is ignored.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit()) {
        // More than fits is longer than anything that is heeded.
        return Some(Duration::from_secs(text.parse().unwrap_or(u32::MAX).into()));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(value).expect("a header"))])
    }

    #[test]
    fn seconds_and_dates_are_understood_and_nothing_else() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let after = |value: &str| retry_after(&headers(value), now);
        assert_eq!((after("120"), after(" 0 ")), (Some(Duration::from_secs(120)), Some(Duration::ZERO)));
        assert_eq!(after("99999999999999999999"), Some(Duration::from_secs(u32::MAX.into())));
        let later = httpdate::fmt_http_date(now + Duration::from_secs(90));
        assert_eq!(after(&later), Some(Duration::from_secs(90)));
        assert_eq!(after("Sunday, 09-Sep-01 01:46:50 GMT"), Some(Duration::from_secs(10)), "RFC 850 dates are still dates");
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        for nonsense in ["", "soon", "-1", "1.5", "12 s", "Sun, 99 Nov 2030 08:49:37 GMT"] {
            assert_eq!(after(nonsense), None, "{nonsense}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_backend_is_left_alone_for_as_long_as_it_says_but_not_for_ever() {
        let patience = Patience::new(Duration::from_secs(60));
        assert!(
            !patience.heed(StatusCode::OK, &headers("5")) && !patience.heed(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new())
        );
        assert_eq!(patience.left(), None);
        assert!(patience.heed(StatusCode::TOO_MANY_REQUESTS, &headers("5")));
        assert!(patience.heed(StatusCode::SERVICE_UNAVAILABLE, &headers("1")), "it is heeded, though the other one is longer");
        assert_eq!(patience.left(), Some((Duration::from_secs(5), ErrorCode::RateLimited)));
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(patience.left(), Some((Duration::from_secs(1), ErrorCode::RateLimited)));
        assert!(patience.heed(StatusCode::SERVICE_UNAVAILABLE, &headers("86400")));
        assert_eq!(patience.left(), Some((Duration::from_secs(60), ErrorCode::BackendUnavailable)));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(patience.left(), None);
    }
}
