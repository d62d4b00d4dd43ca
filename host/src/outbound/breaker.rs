//! The circuit breaker of one backend: after enough failures nothing is sent for a while, then a few probes decide.
//!
//! Written here because no crate fits: `failsafe` and `recloser` let any number of requests through while half-open and keep state
//! and time to themselves; `tower-resilience-circuitbreaker` limits probes, but only as a service around a whole call, and ours ends
//! when a guest has read the last byte of a response.

mod machine;
#[cfg(test)]
mod tests;
mod window;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use metrics::Gauge;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use self::machine::{Machine, Verdict};
use crate::model::Span;

/// A backend that is left alone for longer is better taken out of the config.
const A_DAY: Span = Span::seconds(24 * 60 * 60);

/// `[backends.<name>.breaker]` in `tidegate.toml`: when a backend is left alone, and for how long.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerConfig {
    /// So many failures in a row open it.
    pub failures: u32,
    /// So large a share of failures within `window` opens it as well, from 0 to 1.
    pub failure_rate: f64,
    /// Over how long the share is taken.
    pub window: Span,
    /// Requests within `window` from which on the share counts.
    pub min_requests: u32,
    /// How long it stays open at first. Doubled each time the probes fail; by chance up to half of it less, so that hosts do not
    /// probe in step.
    pub open: Span,
    /// The longest it stays open.
    pub max_open: Span,
    /// Requests let through to find out whether the backend is back. All of them have to go well.
    pub probes: u32,
    /// The longest that a backend's own `Retry-After` is heeded. With 503 it is asked once every `max_open` all the same.
    pub max_retry_after: Span,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failures: 5,
            failure_rate: 0.5,
            window: Span::seconds(10),
            min_requests: 20,
            open: Span::millis(500),
            max_open: Span::millis(1500),
            probes: 2,
            max_retry_after: Span::seconds(300),
        }
    }
}

impl BreakerConfig {
    /// What is wrong with it.
    pub(super) fn problem(&self) -> Option<&'static str> {
        if self.failures == 0 || self.probes == 0 {
            return Some("`failures` and `probes` are at least 1");
        }
        if !(self.failure_rate > 0.0 && self.failure_rate <= 1.0) {
            return Some("`failure_rate` is a share above 0 and up to 1");
        }
        if self.window.duration().is_zero() || self.open.duration().is_zero() || self.open > self.max_open {
            return Some("`window` and `open` are longer than nothing, and `open` is not longer than `max_open`");
        }
        if self.max_open.max(self.max_retry_after) > A_DAY {
            return Some("`max_open` and `max_retry_after` are at most a day");
        }
        None
    }
}

/// How a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Everything is sent.
    Closed,
    /// A few probes are sent.
    HalfOpen,
    /// Nothing is sent.
    Open,
}

/// A breaker, shared by all requests to its backend.
pub(super) struct Breaker {
    machine: Mutex<Machine>,
    backend: String,
    /// 0 closed, 1 half-open, 2 open.
    gauge: Gauge,
}

/// The right to send one request, and the duty to say how it went. Dropped, it says nothing: a probe's place is free again.
pub(super) struct Pass {
    breaker: Arc<Breaker>,
    epoch: u64,
    settled: bool,
}

impl Breaker {
    /// A closed one for `backend`.
    pub fn new(backend: &str, config: &BreakerConfig) -> Arc<Self> {
        let gauge = metrics::gauge!("tidegate_breaker_state", "backend" => backend.to_owned());
        gauge.set(0.0);
        Arc::new(Self { machine: Mutex::new(Machine::new(config, Instant::now())), backend: backend.to_owned(), gauge })
    }

    /// Whether a request may be sent.
    ///
    /// # Errors
    /// It may not; how long until one may.
    pub fn ask(self: &Arc<Self>) -> Result<Pass, Duration> {
        let epoch = self.change(|machine, now| machine.ask(now))?;
        Ok(Pass { breaker: Arc::clone(self), epoch, settled: false })
    }

    /// How it stands.
    pub fn state(&self) -> BreakerState {
        self.machine().state()
    }

    /// How long until a request may be sent; `None` if nothing keeps one.
    pub fn wait(&self) -> Option<Duration> {
        self.machine().wait(Instant::now())
    }

    fn settle(&self, epoch: u64, verdict: Verdict) {
        self.change(|machine, now| machine.settle(epoch, verdict, now));
    }

    /// Does something to the machine, and tells operators if that moved it.
    fn change<T>(&self, act: impl FnOnce(&mut Machine, Instant) -> T) -> T {
        let mut machine = self.machine();
        let before = machine.state();
        let done = act(&mut machine, Instant::now());
        let after = machine.state();
        if before != after {
            // Under the lock, so that the last word of the gauge is the last state.
            self.gauge.set(match after {
                BreakerState::Closed => 0.0,
                BreakerState::HalfOpen => 1.0,
                BreakerState::Open => 2.0,
            });
            let wait = machine.wait(Instant::now());
            drop(machine);
            match after {
                BreakerState::Open => tracing::warn!(backend = self.backend, ?wait, "a backend is left alone: it keeps failing"),
                BreakerState::HalfOpen => tracing::info!(backend = self.backend, "a backend is probed"),
                BreakerState::Closed => tracing::info!(backend = self.backend, "a backend is back"),
            }
        }
        done
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().expect("no code panics while it holds a breaker")
    }
}

impl Pass {
    /// Whether the breaker still stands as when the pass was given.
    pub fn is_current(&self) -> bool {
        self.breaker.machine().epoch() == self.epoch
    }

    /// The backend answered as one that lives.
    pub fn succeeded(mut self) {
        self.settle(Verdict::Success);
    }

    /// It did not.
    pub fn failed(mut self) {
        self.settle(Verdict::Failure);
    }

    fn settle(&mut self, verdict: Verdict) {
        if !std::mem::replace(&mut self.settled, true) {
            self.breaker.settle(self.epoch, verdict);
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.settle(Verdict::Nothing);
    }
}
