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
}

const MILLION: u64 = 1_000_000;

impl Faults {
    /// Delays every request by `latency`, and fails the given share of them (0 to 1) before they do anything.
    ///
    /// The failing ones are evenly spread, not drawn: with 0.25 it is every fourth request.
    pub fn new(latency: Duration, failure_rate: f64) -> Faults {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0 to 1 first")]
        let failures_per_million = (failure_rate.clamp(0.0, 1.0) * MILLION as f64).round() as u64;
        Faults { latency, failures_per_million, ignores_filters: false, requests: AtomicU64::new(0) }
    }

    /// Lists everybody's invoices whatever was asked for, as a backend with a broken query does.
    #[must_use]
    pub fn ignoring_filters(self, ignores_filters: bool) -> Faults {
        Faults { ignores_filters, ..self }
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
