//! What a backend says about when to come back: `Retry-After` (RFC 9110 §10.2.3), and leaving it alone for so long.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use crate::model::ErrorCode;

/// Whether a backend has asked to be left alone, and for how long.
pub(super) struct Patience {
    /// It is not left alone for longer, whatever it says.
    longest: Duration,
    /// How often one that said it is unavailable is sent a request all the same.
    probe_every: Duration,
    wait: Mutex<Option<Wait>>,
}

/// A backend wants to be left alone.
#[derive(Clone, Copy)]
struct Wait {
    /// When it said so last.
    told: Instant,
    until: Instant,
    code: ErrorCode,
    /// From when on one request is let through to see whether it is back.
    probe: Instant,
}

impl Wait {
    /// From when on something may be sent.
    fn sends_from(&self) -> Instant {
        match self.code {
            ErrorCode::BackendUnavailable => self.probe.min(self.until),
            _ => self.until,
        }
    }
}

impl Patience {
    /// Of a backend that has said nothing; never for more than `longest`, and without a probe for no more than `probe_every` if it
    /// says that it is unavailable.
    pub fn new(longest: Duration, probe_every: Duration) -> Self {
        Self { longest, probe_every, wait: Mutex::new(None) }
    }

    /// Heeds a response, to a request that left at `begun`, that may say when to come back. Answers whether it does.
    pub fn heed(&self, status: StatusCode, headers: &HeaderMap, begun: Instant) -> bool {
        let code = match status {
            StatusCode::TOO_MANY_REQUESTS => ErrorCode::RateLimited,
            StatusCode::SERVICE_UNAVAILABLE => ErrorCode::BackendUnavailable,
            status if status.is_server_error() => return false,
            _ => {
                // It takes requests again. One that left before it said when to come back may have been taken before, too.
                self.told().take_if(|wait| wait.told < begun);
                return false;
            }
        };
        let Some(after) = retry_after(headers, SystemTime::now()).filter(|after| !after.is_zero()) else { return false };
        let told = Instant::now();
        let (until, probe) = (told + after.min(self.longest), told + self.probe_every);
        let mut wait = self.told();
        // Responses overtake each other; the longest wait is the safe one.
        *wait = Some(match *wait {
            Some(longer) if longer.until >= until => Wait { told, probe, ..longer },
            _ => Wait { told, until, code, probe },
        });
        true
    }

    /// [`Patience::left`] for a request that is about to be sent. Whether a backend is back nobody knows but from asking it, so of one
    /// that said it is unavailable every now and then a request learns that nothing is left. One that wants fewer requests gets none.
    pub fn ask(&self) -> Option<(Duration, ErrorCode)> {
        let now = Instant::now();
        let mut wait = self.told();
        let wait = wait.as_mut().filter(|wait| wait.until > now)?;
        if wait.sends_from() <= now {
            wait.probe = now + self.probe_every;
            return None;
        }
        Some((wait.until - now, wait.code))
    }

    /// How long until [`Patience::ask`] lets something through; `None` if that is now.
    pub fn wait(&self) -> Option<Duration> {
        let from = (*self.told())?.sends_from();
        Some(from.saturating_duration_since(Instant::now())).filter(|wait| !wait.is_zero())
    }

    /// How long it is still to be left alone, and what callers are told until then.
    pub fn left(&self) -> Option<(Duration, ErrorCode)> {
        let wait = (*self.told())?;
        let left = wait.until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some((left, wait.code))
    }

    fn told(&self) -> MutexGuard<'_, Option<Wait>> {
        self.wait.lock().expect("no code panics while it holds a wait")
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
        let patience = Patience::new(Duration::from_secs(60), Duration::from_secs(2));
        let heed = |status: StatusCode, headers: &HeaderMap| patience.heed(status, headers, Instant::now());
        assert!(!heed(StatusCode::OK, &headers("5")) && !heed(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new()));
        assert_eq!(patience.left(), None);
        assert!(heed(StatusCode::TOO_MANY_REQUESTS, &headers("5")));
        assert!(heed(StatusCode::SERVICE_UNAVAILABLE, &headers("1")), "it is heeded, though the other one is longer");
        assert_eq!(patience.left(), Some((Duration::from_secs(5), ErrorCode::RateLimited)));
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(patience.left(), Some((Duration::from_secs(1), ErrorCode::RateLimited)));
        assert!(heed(StatusCode::SERVICE_UNAVAILABLE, &headers("86400")));
        assert_eq!(patience.left(), Some((Duration::from_secs(60), ErrorCode::BackendUnavailable)));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(patience.left(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unavailable_backend_is_probed_now_and_then_and_one_that_wants_fewer_requests_is_not() {
        let unavailable = Some(ErrorCode::BackendUnavailable);
        for (status, probed) in
            [(StatusCode::SERVICE_UNAVAILABLE, None), (StatusCode::TOO_MANY_REQUESTS, Some(ErrorCode::RateLimited))]
        {
            let patience = Patience::new(Duration::from_secs(60), Duration::from_secs(2));
            let asked = || patience.ask().map(|(_, code)| code);
            assert!(patience.heed(status, &headers("50"), Instant::now()));
            let refused = probed.or(unavailable);
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(asked(), refused, "{status}");
            for _ in 0..2 {
                tokio::time::advance(Duration::from_secs(2)).await;
                let waits = patience.left();
                assert_eq!(patience.wait().is_none(), probed.is_none(), "{status}");
                assert_eq!((asked(), asked()), (probed, refused), "{status}: one request, and no second one");
                assert_eq!(patience.left(), waits, "{status}: callers are told the same as before");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_good_answer_ends_the_wait_unless_its_request_left_before_the_wait_began() {
        for status in [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS] {
            let patience = Patience::new(Duration::from_secs(60), Duration::from_secs(2));
            let before = Instant::now();
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(patience.heed(status, &headers("50"), before));
            patience.heed(StatusCode::OK, &HeaderMap::new(), before);
            assert!(patience.left().is_some(), "{status}");
            tokio::time::advance(Duration::from_millis(1)).await;
            let after = Instant::now();
            patience.heed(StatusCode::BAD_GATEWAY, &HeaderMap::new(), after);
            assert!(patience.left().is_some(), "{status}: that is no good answer");
            patience.heed(StatusCode::NOT_FOUND, &HeaderMap::new(), after);
            assert_eq!(patience.left(), None, "{status}");
        }
    }
}
