//! How often each principal may call, whatever its calls cost: looked at first, before anything about a call is decided or stored.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::config::{AdmissionConfig, BudgetConfig, said_of};
use crate::model::Principal;

/// After so many calls those principals are forgotten that have saved up all they may: they count as new.
const FORGET_AFTER: u32 = 1 << 16;

/// The limits on calls per second, and how far each principal has used its own up. One generic cell rate (GCRA) for each.
#[derive(Debug)]
pub(super) struct Throttle {
    /// For all who are not among the others.
    all: Option<Limit>,
    /// For some, by how the config names them.
    some: BTreeMap<String, Option<Limit>>,
    clock: DefaultClock,
    checks: AtomicU32,
}

/// Many principals with the same limit. At most [`FORGET_AFTER`] more than call at the moment.
type Limit = DefaultKeyedRateLimiter<(String, String)>;

impl Throttle {
    pub fn new(config: &AdmissionConfig) -> Self {
        let limit = |budget: &BudgetConfig| {
            let (calls, burst) = budget.calls(&config.principal)?;
            Some(RateLimiter::keyed(Quota::per_second(calls).allow_burst(burst)))
        };
        let special = config.principals.iter();
        let special = special.filter(|(_, budget)| budget.calls.is_some() || budget.calls_burst.is_some());
        let some = special.map(|(name, budget)| (name.clone(), limit(budget))).collect();
        Self { all: limit(&config.principal), some, clock: DefaultClock::default(), checks: AtomicU32::new(0) }
    }

    /// Counts one more call of `principal`.
    ///
    /// # Errors
    /// It called too often: when it may call again.
    pub fn check(&self, principal: &Principal) -> Result<(), Duration> {
        let Some(limit) = self.limit_of(principal) else { return Ok(()) };
        if self.checks.fetch_add(1, Ordering::Relaxed) % FORGET_AFTER == FORGET_AFTER - 1 {
            limit.retain_recent();
            limit.shrink_to_fit();
        }
        let key = (principal.issuer.clone(), principal.subject.clone());
        limit.check_key(&key).map_err(|early| early.wait_time_from(self.clock.now()))
    }

    fn limit_of(&self, principal: &Principal) -> Option<&Limit> {
        said_of(&self.some, principal).map_or(self.all.as_ref(), Option::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle(config: &str) -> Throttle {
        Throttle::new(&toml::from_str(config).expect("well formed"))
    }

    /// How many of a hundred calls made at once are let through.
    fn let_through(throttle: &Throttle, subject: &str) -> usize {
        (0..100).filter(|_| throttle.check(&Principal::named("corp", subject)).is_ok()).count()
    }

    #[test]
    fn without_a_limit_everybody_calls_as_often_as_they_like() {
        assert_eq!(let_through(&throttle(""), "u1"), 100);
    }

    #[test]
    fn each_principal_has_its_own_and_is_told_when_to_come_back() {
        // Slow enough that none is earned while this runs.
        let throttle = throttle("principal = { calls = 1, calls_burst = 7 }");
        assert_eq!((let_through(&throttle, "u1"), let_through(&throttle, "u2")), (7, 7));
        let wait = throttle.check(&Principal::named("corp", "u1")).expect_err("it has used up what it had");
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
    }

    #[test]
    fn what_is_said_of_one_principal_goes_before_what_is_said_of_all() {
        let throttle = throttle(
            "principal = { calls = 1, calls_burst = 5 }\nprincipals.u1 = { calls = 2 }\nprincipals.\"corp|u2\" = { calls_burst = 9 }\nprincipals.u3 = { weight = 2 }\n",
        );
        let through = ["u1", "u2", "u3", "u4"].map(|subject| let_through(&throttle, subject));
        assert_eq!(through, [5, 9, 5, 5]);
    }

    #[test]
    fn who_has_not_called_for_long_is_forgotten() {
        let throttle = throttle("principal = { calls = 1000000 }");
        for n in 0..FORGET_AFTER {
            throttle.check(&Principal::named("corp", &n.to_string())).expect("its first call");
        }
        let known = throttle.all.as_ref().map_or(0, RateLimiter::len);
        assert!(known < FORGET_AFTER as usize / 2, "{known}");
    }
}
