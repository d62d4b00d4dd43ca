//! What came of the calls of one tool.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::life::{End, Life};

/// What came of calls.
///
/// INVARIANT: every call that began ends in exactly one way, so `ended` = ok + refused + all errors + all lost.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Calls that ended, in whatever way.
    pub ended: u64,
    /// Calls that succeeded.
    pub ok: u64,
    /// Those of them that did so before the last call began.
    pub ok_in_time: u64,
    /// Calls that were pending for a time.
    pub pending: u64,
    /// Calls that were told to come again later, at least once.
    pub overloaded: u64,
    /// Those of them that succeeded in the end.
    pub retried_ok: u64,
    /// Those of them that did so at the first retry.
    pub retried_ok_at_once: u64,
    /// Those of them that had no time left for another retry.
    pub refused: u64,
    /// Calls that failed, by code.
    pub errors: BTreeMap<String, u64>,
    /// Calls that were never answered, or never ended, by reason.
    pub lost: BTreeMap<&'static str, u64>,
    /// Keys with two effects.
    pub doubled: u64,
    /// Calls that ended with the answer of an earlier attempt.
    pub replayed: u64,
    /// Keyed calls that succeeded.
    pub keyed_ok: u64,
    /// Keyed calls that did not, and may have changed something all the same.
    pub keyed_maybe: u64,
    /// How long first answers took, in microseconds.
    pub first: Histogram<u64>,
    /// How long successful calls took, in microseconds.
    pub resolved: Histogram<u64>,
}

impl Tally {
    /// A tally of nothing.
    pub fn new() -> Self {
        let histogram = || Histogram::new(3).expect("three digits are a precision");
        Self {
            ended: 0,
            ok: 0,
            ok_in_time: 0,
            pending: 0,
            overloaded: 0,
            retried_ok: 0,
            retried_ok_at_once: 0,
            refused: 0,
            errors: BTreeMap::new(),
            lost: BTreeMap::new(),
            doubled: 0,
            replayed: 0,
            keyed_ok: 0,
            keyed_maybe: 0,
            first: histogram(),
            resolved: histogram(),
        }
    }

    /// Counts a call that ended; in time, if calls still began then.
    pub fn count(&mut self, life: &Life, is_in_time: bool) {
        let Some((end, took)) = &life.end else { return };
        self.ended += 1;
        self.pending += u64::from(life.was_pending);
        self.overloaded += u64::from(life.waits > 0);
        self.doubled += u64::from(life.is_doubled);
        if let Some(first) = life.first {
            record(&mut self.first, first);
        }
        let may_have_changed = match end {
            End::Done => {
                self.ok += 1;
                self.ok_in_time += u64::from(is_in_time);
                self.replayed += u64::from(life.is_replayed);
                self.retried_ok += u64::from(life.waits > 0);
                self.retried_ok_at_once += u64::from(life.waits == 1);
                self.keyed_ok += u64::from(life.is_keyed);
                record(&mut self.resolved, *took);
                false
            }
            End::Failed { code, may_have_changed } => {
                *self.errors.entry(code.clone()).or_default() += 1;
                *may_have_changed
            }
            End::Refused => {
                self.refused += 1;
                false
            }
            End::Lost(why) => {
                *self.lost.entry(why).or_default() += 1;
                true
            }
        };
        self.keyed_maybe += u64::from(life.is_keyed && may_have_changed);
    }

    /// Adds another tally to this one.
    pub fn add(&mut self, other: &Self) {
        self.ended += other.ended;
        self.ok += other.ok;
        self.ok_in_time += other.ok_in_time;
        self.pending += other.pending;
        self.overloaded += other.overloaded;
        self.retried_ok += other.retried_ok;
        self.retried_ok_at_once += other.retried_ok_at_once;
        self.refused += other.refused;
        for (code, count) in &other.errors {
            *self.errors.entry(code.clone()).or_default() += count;
        }
        for (why, count) in &other.lost {
            *self.lost.entry(why).or_default() += count;
        }
        self.doubled += other.doubled;
        self.replayed += other.replayed;
        self.keyed_ok += other.keyed_ok;
        self.keyed_maybe += other.keyed_maybe;
        self.first.add(&other.first).expect("histograms grow");
        self.resolved.add(&other.resolved).expect("histograms grow");
    }
}

fn record(histogram: &mut Histogram<u64>, took: Duration) {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    histogram.record(micros).expect("histograms grow");
}
