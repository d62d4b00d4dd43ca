//! Slowness and failure on purpose.

use std::str::FromStr;
use std::sync::Mutex;
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
    fault: Mutex<Option<Fault>>,
}

/// A way to fail that lasts until another one is set. Written as its kind, such as `hang`, or `hang changes` if only requests that
/// change something are to meet it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What happens.
    pub kind: FaultKind,
    /// Only to requests that change something.
    pub changes_only: bool,
}

/// What can happen to a request. The first three happen before anything is done, the others after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// `hang`: it is never answered.
    Hang,
    /// `busy`: 429, to be tried again after a second.
    Busy,
    /// `unavailable`: 503.
    Unavailable,
    /// `gateway`: 502, as a proxy in front gives it that lost the answer.
    Gateway,
    /// `garbage`: the answer is not what it should be.
    Garbage,
    /// `truncated`: the connection ends in the middle of the answer.
    Truncated,
    /// `headers`: the answer begins with more headers than anybody reads.
    Headers,
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Fault, String> {
        let (kind, changes_only) = match text.trim().split_once(' ') {
            Some((kind, "changes")) => (kind, true),
            Some((_, what)) => return Err(format!("`{what}` is not `changes`")),
            None => (text.trim(), false),
        };
        let kind = match kind {
            "hang" => FaultKind::Hang,
            "busy" => FaultKind::Busy,
            "unavailable" => FaultKind::Unavailable,
            "gateway" => FaultKind::Gateway,
            "garbage" => FaultKind::Garbage,
            "truncated" => FaultKind::Truncated,
            "headers" => FaultKind::Headers,
            _ => return Err(format!("there is no fault `{kind}`")),
        };
        Ok(Fault { kind, changes_only })
    }
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

    /// Fails in this way from now on; `None` for no more.
    pub fn set(&self, fault: Option<Fault>) {
        *self.fault.lock().expect("nobody panics while it is held") = fault;
    }

    /// What happens to a request now; `changes` says that it changes something.
    pub fn meets(&self, changes: bool) -> Option<FaultKind> {
        let fault = (*self.fault.lock().expect("nobody panics while it is held"))?;
        (changes || !fault.changes_only).then_some(fault.kind)
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
    fn a_fault_lasts_until_another_one_is_set_and_may_spare_those_who_only_read() {
        let faults = Faults::default();
        assert_eq!(faults.meets(true), None);
        faults.set(Some("hang changes".parse().expect("a fault")));
        assert_eq!((faults.meets(true), faults.meets(false)), (Some(FaultKind::Hang), None));
        faults.set(Some("busy".parse().expect("a fault")));
        assert_eq!(faults.meets(false), Some(FaultKind::Busy));
        faults.set(None);
        assert_eq!(faults.meets(true), None);
        assert!("bored".parse::<Fault>().is_err() && "hang now".parse::<Fault>().is_err());
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
