//! Accounts in fuel: what was earned, what is spent, what is promised, and the floor below which none of them goes.

/// Nanoseconds in a second.
const SECOND: u128 = 1_000_000_000;
/// A debt that nobody reaches: accounts that may owe whatever others already paid.
const BOTTOMLESS: u64 = 1 << 62;

/// A token bucket in fuel. Refilled by the time that passed, in whole units, the rest carried on: nothing drifts.
///
/// Fuel is *drawn* ahead of being burned and what was not burned comes back; fuel is *promised* to calls that may burn it on credit.
///
/// INVARIANT: `level - promised >= -debt`, always: whatever the calls that were promised fuel still burn, the account does not fall
/// below its floor.
#[derive(Debug)]
pub(super) struct Account {
    rate: u64,
    burst: i64,
    debt: i64,
    level: i64,
    promised: i64,
    /// Earned, in fuel times nanoseconds, and not yet a whole unit.
    carry: u64,
    /// When it was refilled last, in nanoseconds.
    at: u64,
    /// All that was charged, for good or ahead.
    charged: u128,
}

impl Account {
    /// A full account that earns `rate` a second, saves up `burst`, and may owe `debt`.
    pub fn new(rate: u64, burst: u64, debt: u64, now: u64) -> Self {
        let burst = signed(burst);
        Self { rate, burst, debt: signed(debt), level: burst, promised: 0, carry: 0, at: now, charged: 0 }
    }

    /// A full account without a floor: it holds calls back while it is empty, and takes the truth afterwards whatever it is.
    pub fn bottomless(rate: u64, burst: u64, now: u64) -> Self {
        Self::new(rate, burst, BOTTOMLESS, now)
    }

    /// Earns what is due. Time that went backwards earns nothing.
    pub fn refill(&mut self, now: u64) {
        let passed = u128::from(now.saturating_sub(self.at));
        self.at = self.at.max(now);
        let earned = passed * u128::from(self.rate) + u128::from(self.carry);
        self.carry = (earned % SECOND) as u64;
        let earned = i64::try_from(earned / SECOND).unwrap_or(i64::MAX);
        self.level = self.level.saturating_add(earned);
        if self.level >= self.burst {
            (self.level, self.carry) = (self.burst, 0);
        }
    }

    /// What can be drawn now.
    pub fn available(&self) -> u64 {
        self.level.min(self.headroom()).max(0) as u64
    }

    /// Draws fuel that is available.
    pub fn draw(&mut self, fuel: u64) {
        debug_assert!(fuel <= self.available(), "only what is available is drawn");
        self.level -= signed(fuel);
        self.charged += u128::from(fuel);
    }

    /// Promises `fuel` on credit, if the floor allows it.
    pub fn promise(&mut self, fuel: u64) -> bool {
        let fits = signed(fuel) <= self.headroom();
        if fits {
            self.promised += signed(fuel);
        }
        fits
    }

    /// Takes a promise back.
    pub fn release(&mut self, fuel: u64) {
        self.promised -= signed(fuel);
    }

    /// The end of a call that drew `drawn`, was promised `promised`, and burned `burned`. Answers what it was charged: what it burned,
    /// unless that would have gone below the floor.
    pub fn settle(&mut self, drawn: u64, promised: u64, burned: u64) -> u64 {
        self.release(promised);
        if burned <= drawn {
            self.level = self.level.saturating_add(signed(drawn - burned)).min(self.burst);
            self.charged -= u128::from(drawn - burned);
            return burned;
        }
        let owed = (burned - drawn).min(self.headroom().max(0) as u64);
        self.level -= signed(owed);
        self.charged += u128::from(owed);
        drawn + owed
    }

    /// Nanoseconds until `fuel` can be drawn, with `kept` still promised besides. `None`: not before others give back.
    pub fn until(&self, fuel: u64, kept: u64) -> Option<u64> {
        let (fuel, kept) = (signed(fuel), signed(kept));
        self.until_level(fuel.max(fuel.saturating_add(kept).saturating_add(self.promised).saturating_sub(self.debt)))
    }

    /// Nanoseconds until `fuel` can be promised. `None`: not before others give back.
    pub fn until_promise(&self, fuel: u64) -> Option<u64> {
        self.until_level(signed(fuel).saturating_add(self.promised).saturating_sub(self.debt))
    }

    /// Nanoseconds until it is full.
    pub fn until_full(&self) -> u64 {
        self.until_level(self.burst).unwrap_or(u64::MAX)
    }

    /// Seconds until it has earned `fuel`, more than it ever holds included: somebody else may burn it in between.
    pub fn seconds_until(&self, fuel: u64, now: u64) -> f64 {
        let earned = now.saturating_sub(self.at) as f64 / 1e9;
        (signed(fuel).saturating_sub(self.level) as f64 / self.rate as f64 - earned).max(0.0)
    }

    /// What it will hold at `now`, if nothing is drawn until then.
    pub fn level_at(&self, now: u64) -> i64 {
        let earned = u128::from(now.saturating_sub(self.at)) * u128::from(self.rate) / SECOND;
        self.level.saturating_add(i64::try_from(earned).unwrap_or(i64::MAX)).min(self.burst)
    }

    /// The most it holds.
    pub fn burst(&self) -> u64 {
        self.burst as u64
    }

    /// The most it may owe.
    pub fn debt(&self) -> u64 {
        self.debt as u64
    }

    /// How far it may still fall.
    fn headroom(&self) -> i64 {
        self.level - self.promised + self.debt
    }

    fn until_level(&self, level: i64) -> Option<u64> {
        let missing = level.saturating_sub(self.level);
        if missing <= 0 {
            return Some(0);
        }
        if level > self.burst {
            return None;
        }
        let wanted = (missing as u128 * SECOND).saturating_sub(u128::from(self.carry));
        Some(u64::try_from(wanted.div_ceil(u128::from(self.rate))).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
impl Account {
    /// What it holds; negative while something is owed.
    pub fn level(&self) -> i64 {
        self.level
    }

    /// All that was charged, for good or ahead.
    pub fn charged(&self) -> u128 {
        self.charged
    }

    /// What is promised to calls that have not ended.
    pub fn promised(&self) -> u64 {
        self.promised as u64
    }
}

fn signed(fuel: u64) -> i64 {
    i64::try_from(fuel).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Pass(u64),
        Start { draw: u64, promise: u64 },
        Draw { call: usize, fuel: u64 },
        End { call: usize, burned: u64 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0_u64..3_000_000_000).prop_map(Step::Pass),
            (0_u64..2_000, 0_u64..2_000).prop_map(|(draw, promise)| Step::Start { draw, promise }),
            (any::<usize>(), 0_u64..2_000).prop_map(|(call, fuel)| Step::Draw { call, fuel }),
            (any::<usize>(), 0_u64..6_000).prop_map(|(call, burned)| Step::End { call, burned }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_charged_is_what_was_burned_and_no_account_falls_below_its_floor(
            rate in 1_u64..1_000, burst in 1_u64..5_000, debt in 0_u64..5_000, steps in prop::collection::vec(step(), 1..200),
        ) {
            let (mut now, mut account, mut calls, mut burned_all) = (0, Account::new(rate, burst, debt, 0), Vec::new(), 0_u128);
            for step in steps {
                match step {
                    Step::Pass(time) => { now += time; account.refill(now); }
                    Step::Start { draw, promise } => {
                        let draw = draw.min(account.available());
                        account.draw(draw);
                        let promise = if account.promise(promise) { promise } else { 0 };
                        calls.push((draw, promise));
                    }
                    Step::Draw { call, fuel } if !calls.is_empty() => {
                        let fuel = fuel.min(account.available());
                        account.draw(fuel);
                        let call = call % calls.len();
                        calls[call].0 += fuel;
                    }
                    Step::End { call, burned } if !calls.is_empty() => {
                        let (drawn, promised) = calls.swap_remove(call % calls.len());
                        let charged = account.settle(drawn, promised, burned);
                        // What was drawn and promised is always paid in full.
                        prop_assert!(charged == burned || charged >= drawn + promised);
                        burned_all += u128::from(charged);
                    }
                    Step::Draw { .. } | Step::End { .. } => {}
                }
                prop_assert!(account.level() - account.promised() as i64 >= -(debt as i64));
                prop_assert!(account.level() <= burst as i64);
            }
            for (drawn, promised) in calls {
                burned_all += u128::from(account.settle(drawn, promised, drawn / 2));
            }
            prop_assert_eq!(account.charged(), burned_all);
            prop_assert_eq!(account.promised(), 0);
        }

        #[test]
        fn however_time_is_cut_the_same_is_earned(rate in 1_u64..5_000_000_000, cuts in prop::collection::vec(1_u64..1_000_000, 1..100)) {
            let (mut often, mut once) = (Account::new(rate, 1 << 50, 0, 0), Account::new(rate, 1 << 50, 0, 0));
            often.draw(1 << 50);
            once.draw(1 << 50);
            let mut now = 0;
            for cut in cuts {
                now += cut;
                often.refill(now);
            }
            once.refill(now);
            prop_assert_eq!(often.level(), once.level());
            prop_assert_eq!(once.level(), (u128::from(now) * u128::from(rate) / SECOND) as i64);
        }

        #[test]
        fn what_is_said_to_be_available_then_is_available_then_and_not_before(
            rate in 1_u64..1_000_000, drawn in 0_u64..1_000_000, wanted in 1_u64..1_000_000,
        ) {
            let mut account = Account::new(rate, 1_000_000, 0, 0);
            account.draw(drawn);
            let wait = account.until(wanted, 0).expect("it holds that much when full");
            if wait > 0 {
                account.refill(wait - 1);
                prop_assert!(account.available() < wanted);
            }
            account.refill(wait);
            prop_assert!(account.available() >= wanted);
        }
    }
}
