//! How fast the queue drains.

/// How quickly the past is forgotten, in seconds.
const MEMORY: f64 = 5.0;
/// The weight of what calls took before the queue was measured, in seconds of measuring.
const PRIOR: f64 = 0.5;
/// One call in so many counts for a moving average.
const SMOOTHING: f64 = 16.0;
/// What a call is taken to last before any has ended, in seconds.
const FIRST_GUESS: f64 = 0.05;

/// An amount per second that forgets the past.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    per_second: f64,
    at: u64,
}

/// The speed of the queue, in estimated fuel a second, measured while somebody waits and guessed from how long calls last before.
/// An estimate, not books: it may round.
#[derive(Debug)]
pub(super) struct Drain {
    slots: f64,
    /// Fuel that started while somebody waited, and the seconds it took; both fade.
    started: f64,
    busy: f64,
    /// Since when somebody has been waiting without a break that was counted, in nanoseconds.
    since: Option<u64>,
    held: f64,
    estimate: f64,
}

impl Rate {
    /// Counts `amount`, which may be negative when too much was counted before.
    pub fn add(&mut self, amount: f64, now: u64) {
        self.per_second = self.now(now) + amount / MEMORY;
        self.at = now;
    }

    fn now(self, now: u64) -> f64 {
        self.per_second * (-seconds(now.saturating_sub(self.at)) / MEMORY).exp()
    }

    /// The rate, in whole units.
    pub fn get(self, now: u64) -> u64 {
        self.now(now).max(0.0) as u64
    }
}

impl Drain {
    /// Of a queue for `slots` slots that has not drained yet.
    pub fn new(slots: usize) -> Self {
        Self { slots: slots as f64, started: 0.0, busy: 0.0, since: None, held: FIRST_GUESS, estimate: 0.0 }
    }

    /// The queue is empty, or not, from `now` on.
    pub fn backlog(&mut self, is_waiting: bool, now: u64) {
        self.pass(now);
        self.since = is_waiting.then_some(now);
    }

    /// A call that was expected to burn `fuel` started.
    pub fn started(&mut self, fuel: u64, now: u64) {
        let fuel = fuel as f64;
        self.estimate = if self.estimate == 0.0 { fuel } else { self.estimate + (fuel - self.estimate) / SMOOTHING };
        if self.since.is_some() {
            self.pass(now);
            self.started += fuel;
        }
    }

    /// A call ended that had its slot for `held` nanoseconds.
    pub fn ended(&mut self, held: u64) {
        self.held += (seconds(held) - self.held) / SMOOTHING;
    }

    /// Estimated fuel that leaves the queue in a second while `principals` have calls in it.
    pub fn rate(&self, principals: usize, now: u64) -> f64 {
        // Of the slots, each of n principals takes as many as it leaves free.
        let principals = principals.max(1) as f64;
        let slots = (self.slots * principals / (principals + 1.0)).max(1.0);
        let guessed = slots * self.estimate.max(1.0) / self.held.max(1e-6);
        let passed = self.since.map_or(0.0, |since| seconds(now.saturating_sub(since)));
        let fade = (-passed / MEMORY).exp();
        let (started, busy) = (self.started * fade, self.busy * fade + passed);
        ((started + guessed * PRIOR) / (busy + PRIOR)).max(1.0)
    }

    /// Calls that leave the queue in a second.
    pub fn calls(&self, principals: usize, now: u64) -> f64 {
        self.rate(principals, now) / self.estimate.max(1.0)
    }

    fn pass(&mut self, now: u64) {
        if let Some(since) = &mut self.since {
            let passed = seconds(now.saturating_sub(*since));
            let fade = (-passed / MEMORY).exp();
            self.started *= fade;
            self.busy = self.busy * fade + passed;
            *since = now;
        }
    }
}

/// Nanoseconds as seconds.
pub(super) fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn the_rate_of_a_queue_is_what_left_it_while_somebody_waited() {
        let mut drain = Drain::new(10);
        drain.backlog(true, 0);
        // A hundred calls of 1,000 fuel a second, whatever was guessed before.
        for call in 1..2_000 {
            drain.started(1_000, call * SECOND / 100);
        }
        let rate = drain.rate(100, 20 * SECOND);
        assert!((90_000.0..110_000.0).contains(&rate), "{rate}");
        drain.backlog(false, 20 * SECOND);
        assert_eq!(
            drain.rate(100, 20 * SECOND) as u64,
            drain.rate(100, 90 * SECOND) as u64,
            "idle time says nothing about speed"
        );
    }

    #[test]
    fn a_rate_fades() {
        let mut rate = Rate::default();
        rate.add(1_000.0, 0);
        assert_eq!((rate.get(0), rate.get(5 * SECOND), rate.get(100 * SECOND)), (200, 73, 0));
    }
}
