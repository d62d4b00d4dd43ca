//! What one call of a tool will probably take: a high percentile of what the last ones took, and never more than it may.

/// The calls that are remembered.
const KEPT: usize = 32;
/// The rank of the estimate among them, from the smallest: the 95th percentile.
const RANK: usize = KEPT * 95 / 100;
/// Until so many have been seen, the estimate is not below the first guess.
const ENOUGH: usize = 8;

/// What the last calls of a tool took of one thing, and what the next one will probably take of it.
#[derive(Debug)]
pub(super) struct Estimate {
    seen: [u64; KEPT],
    count: usize,
    next: usize,
    percentile: u64,
    /// The first guess is this part of the cap.
    fraction: u64,
}

impl Estimate {
    /// Nothing seen yet; the first guess is the cap divided by `fraction`.
    pub fn starting_at(fraction: u64) -> Self {
        Self { seen: [0; KEPT], count: 0, next: 0, percentile: 0, fraction }
    }

    /// Remembers what a call took.
    pub fn note(&mut self, taken: u64) {
        self.seen[self.next] = taken;
        self.next = (self.next + 1) % KEPT;
        self.count = (self.count + 1).min(KEPT);
        let mut seen = self.seen;
        let seen = &mut seen[..self.count];
        let rank = RANK.min(self.count - 1);
        self.percentile = *seen.select_nth_unstable(rank).1;
    }

    /// What the next call will probably take, if it may take `cap`; at least 1.
    pub fn of(&self, cap: u64) -> u64 {
        let guess = if self.count < ENOUGH { cap / self.fraction } else { 0 };
        self.percentile.max(guess).min(cap).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_starts_modestly_and_follows_the_dear_calls_but_not_the_dearest() {
        let mut estimate = Estimate::starting_at(16);
        assert_eq!(estimate.of(1_600), 100);
        for _ in 0..KEPT {
            estimate.note(10);
        }
        assert_eq!(estimate.of(1_600), 10);
        estimate.note(1_000);
        assert_eq!(estimate.of(1_600), 10, "one outlier in thirty-two");
        estimate.note(900);
        assert_eq!(estimate.of(1_600), 900, "two are no outliers");
        assert_eq!(estimate.of(500), 500, "never above the cap");
        assert_eq!(estimate.of(0), 1);
    }
}
