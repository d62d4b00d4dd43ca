//! What operators can count of one backend. Labels are the operator's own names and a fixed set of words.

use std::time::Duration;

use metrics::{Counter, Histogram};

use crate::model::{Sent, SentError};

/// How an attempt can go, as the label `outcome` spells it.
const OUTCOMES: [&str; 15] = [
    "ok",
    "client_error",
    "rate_limited",
    "server_error",
    "breaker_open",
    "told_to_wait",
    "no_turn",
    "request_too_large",
    "forbidden",
    "unreachable",
    "timed_out",
    "broken_off",
    "not_http",
    "too_large",
    "abandoned",
];

/// The metrics of one backend.
pub(super) struct Figures {
    requests: [Counter; OUTCOMES.len()],
    seconds: Histogram,
    retries: Counter,
}

impl Figures {
    /// Of the backend `name`.
    pub fn new(name: &str) -> Self {
        let backend = || name.to_owned();
        Self {
            requests: OUTCOMES.map(
                |outcome| metrics::counter!("tidegate_backend_requests_total", "backend" => backend(), "outcome" => outcome),
            ),
            seconds: metrics::histogram!("tidegate_backend_request_seconds", "backend" => backend()),
            retries: metrics::counter!("tidegate_backend_retries_total", "backend" => backend()),
        }
    }

    /// A request is tried again.
    pub fn retried(&self) {
        self.retries.increment(1);
    }

    /// An attempt ended.
    pub fn ended(&self, sent: &Sent) {
        let outcome = match (sent.error, sent.status) {
            (Some(error), _) => error.as_str(),
            (None, Some(429)) => "rate_limited",
            (None, Some(500..)) => "server_error",
            (None, Some(400..500)) => "client_error",
            (None, Some(_)) => "ok",
            (None, None) => SentError::Abandoned.as_str(),
        };
        if let Some(place) = OUTCOMES.iter().position(|known| *known == outcome) {
            self.requests[place].increment(1);
        }
        if sent.left {
            self.seconds.record(sent.latency.max(Duration::from_nanos(1)));
        }
    }
}
