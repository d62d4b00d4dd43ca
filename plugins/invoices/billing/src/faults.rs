//! Slowness and failure on purpose.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How slow and how broken the invoice routes are.
#[derive(Debug, Default)]
pub struct Faults {
    latency: Duration,
    /// Failures per million requests.
    failures_per_million: u64,
    ignores_filters: bool,
    requests: AtomicU64,
    /// How many more answers are lost.
    lost_answers: AtomicU64,
}

const MILLION: u64 = 1_000_000;

impl Faults {
    /// Delays every request by `latency`, and fails the given share of them (0 to 1) before they do anything.
    ///
    /// The failing ones are evenly spread, not drawn: with 0.25 it is every fourth request.
    pub fn new(latency: Duration, failure_rate: f64) -> Faults {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0 to 1 first")]
        let failures_per_million = (failure_rate.clamp(0.0, 1.0) * MILLION as f64).round() as u64;
        Faults { latency, failures_per_million, ..Faults::default() }
    }

    /// Lists everybody's invoices whatever was asked for, as a backend with a broken query does.
    #[must_use]
    pub fn ignoring_filters(self, ignores_filters: bool) -> Faults {
        Faults { ignores_filters, ..self }
    }

    /// Never answers the first `count` requests that change something, though they do what was asked for.
    #[must_use]
    pub fn losing_answers(self, count: u64) -> Faults {
        Faults { lost_answers: AtomicU64::new(count), ..self }
    }

    /// Whether the answer to this request, which has changed something, is lost. Every question is another request.
    pub fn loses_answer(&self) -> bool {
        self.lost_answers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// Whether listings are not filtered.
    pub fn ignores_filters(&self) -> bool {
        self.ignores_filters
    }

    /// How long to wait before this request is served.
    pub fn latency(&self) -> Duration {
        self.latency
    }

    /// Whether this request is to fail. Every question is another request.
    pub fn strikes(&self) -> bool {
        let before = self.requests.fetch_add(1, Ordering::Relaxed).wrapping_mul(self.failures_per_million) % MILLION;
        before + self.failures_per_million >= MILLION
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_answers_are_lost_as_asked_for() {
        let faults = Faults::new(Duration::ZERO, 0.0).losing_answers(2);
        assert_eq!([(); 4].map(|()| faults.loses_answer()), [true, true, false, false]);
    }

    #[test]
    fn failures_are_as_many_as_asked_for_and_evenly_spread() {
        let strikes = |rate| {
            let faults = Faults::new(Duration::ZERO, rate);
            (0..8).map(|_| u8::from(faults.strikes())).collect::<Vec<_>>()
        };
        assert_eq!(strikes(0.0), [0; 8]);
        assert_eq!(strikes(0.25), [0, 0, 0, 1, 0, 0, 0, 1]);
        assert_eq!(strikes(0.5), [0, 1, 0, 1, 0, 1, 0, 1]);
        assert_eq!(strikes(1.0), [1; 8]);
    }
}
