//! The states of a breaker and the ways between them; time is handed in.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::time::Instant;

use super::window::Window;
use super::{BreakerConfig, BreakerState};

type Backoff = <ExponentialBuilder as BackoffBuilder>::Backoff;

/// How a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Success,
    Failure,
    /// It was given up before anybody could tell.
    Nothing,
}

/// A breaker without a lock and a clock.
pub(super) struct Machine {
    config: BreakerConfig,
    state: State,
    /// Counts the moves between states: what was sent in another one decides nothing in this one.
    epoch: u64,
    /// How long it stays open the next times it has to, until it closes.
    backoff: Backoff,
}

enum State {
    Closed { in_a_row: u32, window: Window },
    Open { until: Instant },
    HalfOpen { out: u32, succeeded: u32 },
}

impl Machine {
    /// A closed one.
    pub fn new(config: &BreakerConfig, now: Instant) -> Self {
        let state = State::Closed { in_a_row: 0, window: Window::new(config.window.duration(), now) };
        Self { config: config.clone(), state, epoch: 0, backoff: backoff(config) }
    }

    pub fn state(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The epoch in which a request may be sent, or how long until one may.
    pub fn ask(&mut self, now: Instant) -> Result<u64, Duration> {
        if let Some(wait) = self.wait(now) {
            return Err(wait);
        }
        match &mut self.state {
            State::Closed { .. } => {}
            State::Open { .. } => self.enter(State::HalfOpen { out: 1, succeeded: 0 }),
            State::HalfOpen { out, .. } => *out += 1,
        }
        Ok(self.epoch)
    }

    /// How long until a request may be sent; `None` if one may.
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        match &self.state {
            State::Closed { .. } => None,
            State::Open { until } => Some(until.saturating_duration_since(now)).filter(|wait| !wait.is_zero()),
            State::HalfOpen { out, succeeded } if out + succeeded < self.config.probes => None,
            // The probes are on their way. If they fail, it is at least this long.
            State::HalfOpen { .. } => Some(self.config.open.duration()),
        }
    }

    /// Takes down how a request went that was let through in `epoch`.
    pub fn settle(&mut self, epoch: u64, verdict: Verdict, now: Instant) {
        if epoch != self.epoch {
            return;
        }
        match &mut self.state {
            State::Closed { in_a_row, window } => {
                let failed = match verdict {
                    Verdict::Success => false,
                    Verdict::Failure => true,
                    Verdict::Nothing => return,
                };
                *in_a_row = if failed { in_a_row.saturating_add(1) } else { 0 };
                window.note(failed, now);
                let (requests, failures) = window.totals();
                let is_bad = failures as f64 >= requests as f64 * self.config.failure_rate;
                let is_many = requests >= u64::from(self.config.min_requests);
                if failed && (*in_a_row >= self.config.failures || (is_bad && is_many)) {
                    self.open(now);
                }
            }
            // Nothing is sent in this state, so there is nothing to be told.
            State::Open { .. } => {}
            State::HalfOpen { out, succeeded } => {
                *out = out.saturating_sub(1);
                match verdict {
                    Verdict::Success => {
                        *succeeded += 1;
                        if *succeeded >= self.config.probes {
                            self.backoff = backoff(&self.config);
                            let window = Window::new(self.config.window.duration(), now);
                            self.enter(State::Closed { in_a_row: 0, window });
                        }
                    }
                    Verdict::Failure => self.open(now),
                    Verdict::Nothing => {}
                }
            }
        }
    }

    fn open(&mut self, now: Instant) {
        let longest = self.config.max_open.duration();
        let open = self.backoff.next().unwrap_or(longest).min(longest);
        self.enter(State::Open { until: now + open });
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.epoch += 1;
    }
}

/// Half of what is configured and by chance up to as much again, doubled each time.
fn backoff(config: &BreakerConfig) -> Backoff {
    let (first, longest) = (config.open.duration() / 2, config.max_open.duration() / 2);
    ExponentialBuilder::new().with_min_delay(first).with_max_delay(longest).with_jitter().without_max_times().build()
}
