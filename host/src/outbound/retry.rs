//! Trying a request again: how often, after how long, and how much of it a backend has to bear.

use std::sync::Mutex;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use serde::Deserialize;
use tokio::time::Instant;

use crate::model::Span;

/// The most attempts at one request that can be configured: each is kept until the call has ended.
const MAX_ATTEMPTS: u32 = 10;
/// No call lasts as long.
const A_DAY: Span = Span::seconds(24 * 60 * 60);
/// How fast the reserve comes back when nothing is sent: one retry in so long.
const TRICKLE: Duration = Duration::from_secs(1);

/// `[backends.<name>.retry]` in `tidegate.toml`: when the host tries a request again by itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryConfig {
    /// Attempts at one request, the first one included; 1 for no retries.
    pub attempts: u32,
    /// How long the first retry waits. Doubled with every further one, and by chance up to as much again.
    pub delay: Span,
    /// The longest a retry waits, before chance.
    pub max_delay: Span,
    /// Retries per request, over all requests: 0.1 is one retry for ten requests.
    pub budget: f64,
    /// Retries beyond that which may be made at once; one comes back every second. 0 leaves those of `budget`, one at a time.
    pub reserve: u32,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self { attempts: 3, delay: Span::millis(50), max_delay: Span::seconds(1), budget: 0.1, reserve: 10 }
    }
}

impl RetryConfig {
    /// What is wrong with it.
    pub(super) fn problem(&self) -> Option<&'static str> {
        if !(1..=MAX_ATTEMPTS).contains(&self.attempts) {
            return Some("`attempts` is from 1, which is no retry, to 10");
        }
        if self.delay.max(self.max_delay) > A_DAY {
            return Some("`delay` and `max_delay` are at most a day");
        }
        (!(0.0..=1.0).contains(&self.budget)).then_some("`budget` is a share from 0 to 1")
    }

    /// How long to wait before each retry of one request.
    pub(super) fn delays(&self) -> impl Iterator<Item = Duration> + Send + use<> {
        let (first, longest) = (self.delay.duration(), self.max_delay.duration());
        let delays = ExponentialBuilder::new().with_min_delay(first.min(longest)).with_max_delay(longest).with_jitter();
        delays.with_max_times(self.attempts.saturating_sub(1) as usize).build()
    }
}

/// What may still be retried at one backend. A backend in trouble must not get a multiple of its load on top.
pub(super) struct Budget {
    share: f64,
    reserve: f64,
    purse: Mutex<Purse>,
}

struct Purse {
    /// Retries, in whole and in parts.
    tokens: f64,
    as_of: Instant,
}

impl Budget {
    /// A full one.
    pub fn new(config: &RetryConfig) -> Self {
        let reserve = f64::from(config.reserve);
        Self { share: config.budget, reserve, purse: Mutex::new(Purse { tokens: reserve, as_of: Instant::now() }) }
    }

    /// A request is sent for the first time, which buys a part of a retry.
    pub fn earn(&self) {
        self.settle(self.share, 0.0);
    }

    /// Whether one retry may be made now; if so, it is paid.
    pub fn spend(&self) -> bool {
        self.settle(0.0, 1.0)
    }

    fn settle(&self, earned: f64, cost: f64) -> bool {
        let mut purse = self.purse.lock().expect("no code panics while it holds a budget");
        let now = Instant::now();
        let passed = now.saturating_duration_since(purse.as_of);
        purse.as_of = now;
        if purse.tokens < self.reserve {
            purse.tokens = (purse.tokens + passed.div_duration_f64(TRICKLE)).min(self.reserve);
        }
        // At least one, or what is earned would never be enough to be spent.
        purse.tokens = (purse.tokens + earned).min(self.reserve.max(1.0));
        let is_enough = purse.tokens >= cost;
        if is_enough {
            purse.tokens -= cost;
        }
        is_enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_differ_and_end() {
        let config = RetryConfig { attempts: 5, ..RetryConfig::default() };
        let delays: Vec<_> = config.delays().collect();
        assert_eq!(delays.len(), 4);
        for (n, delay) in delays.iter().enumerate() {
            let least = Duration::from_millis(50 << n);
            assert!((least..=2 * least).contains(delay), "{delays:?}");
        }
        assert_eq!(RetryConfig { attempts: 1, ..config }.delays().count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn retries_are_a_share_of_requests_and_a_small_reserve() {
        let budget = Budget::new(&RetryConfig { reserve: 2, ..RetryConfig::default() });
        assert_eq!([(); 3].map(|()| budget.spend()), [true, true, false]);
        (0..9).for_each(|_| budget.earn());
        assert!(!budget.spend());
        (0..2).for_each(|_| budget.earn());
        assert_eq!([(); 2].map(|()| budget.spend()), [true, false]);
        tokio::time::advance(TRICKLE).await;
        assert_eq!([(); 2].map(|()| budget.spend()), [true, false]);
        tokio::time::advance(100 * TRICKLE).await;
        assert_eq!([(); 3].map(|()| budget.spend()), [true, true, false], "what is not used is not kept for ever");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_reserve_requests_still_earn_retries_and_time_does_not() {
        let budget = Budget::new(&RetryConfig { reserve: 0, budget: 0.25, ..RetryConfig::default() });
        tokio::time::advance(100 * TRICKLE).await;
        assert!(!budget.spend());
        (0..3).for_each(|_| budget.earn());
        assert!(!budget.spend());
        (0..9).for_each(|_| budget.earn());
        assert_eq!([(); 2].map(|()| budget.spend()), [true, false]);
        let none = Budget::new(&RetryConfig { reserve: 0, budget: 0.0, ..RetryConfig::default() });
        (0..100).for_each(|_| none.earn());
        assert!(!none.spend());
    }

    #[test]
    fn a_share_beyond_everything_is_refused() {
        assert!(RetryConfig::default().problem().is_none());
        assert!(RetryConfig { budget: 1.5, ..RetryConfig::default() }.problem().is_some());
        assert!(RetryConfig { attempts: 0, ..RetryConfig::default() }.problem().is_some());
        assert!(RetryConfig { max_delay: Span(Duration::MAX), ..RetryConfig::default() }.problem().is_some());
        assert!(RetryConfig { attempts: 11, ..RetryConfig::default() }.problem().is_some());
    }
}
