//! How many requests of the last seconds failed: counts in slices of time, so that memory does not grow with the load.

use std::time::Duration;

use tokio::time::Instant;

/// Slices of a window. The oldest one falls away as a whole, so a window is exact to a tenth.
const SLICES: usize = 10;

/// The counts of one window.
pub(super) struct Window {
    begun: Instant,
    slice: Duration,
    /// The number of the newest slice since `begun`.
    newest: u128,
    counts: [Count; SLICES],
}

#[derive(Clone, Copy, Default)]
struct Count {
    requests: u32,
    failures: u32,
}

impl Window {
    /// An empty one over so long.
    pub fn new(length: Duration, now: Instant) -> Self {
        let slice = (length / SLICES as u32).max(Duration::from_nanos(1));
        Self { begun: now, slice, newest: 0, counts: [Count::default(); SLICES] }
    }

    /// Counts a request that ended now.
    pub fn note(&mut self, failed: bool, now: Instant) {
        let slice = (now.saturating_duration_since(self.begun).as_nanos() / self.slice.as_nanos()).max(self.newest);
        let passed = (slice - self.newest).min(SLICES as u128);
        for skipped in 1..=passed {
            self.counts[Self::place(self.newest + skipped)] = Count::default();
        }
        if passed == SLICES as u128 {
            self.counts = [Count::default(); SLICES];
        }
        self.newest = slice;
        let count = &mut self.counts[Self::place(slice)];
        count.requests = count.requests.saturating_add(1);
        count.failures = count.failures.saturating_add(failed.into());
    }

    /// Requests, and how many of them failed, up to the last one counted.
    pub fn totals(&self) -> (u64, u64) {
        let sum = |of: fn(&Count) -> u32| self.counts.iter().map(|count| u64::from(of(count))).sum();
        (sum(|count| count.requests), sum(|count| count.failures))
    }

    fn place(slice: u128) -> usize {
        (slice % SLICES as u128) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_window_no_longer_counts() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut window = Window::new(Duration::from_secs(10), start);
        window.note(true, at(0));
        window.note(false, at(5));
        assert_eq!(window.totals(), (2, 1));
        window.note(false, at(10));
        assert_eq!(window.totals(), (2, 0), "the first one fell away");
        window.note(true, at(1000));
        assert_eq!(window.totals(), (1, 1));
    }
}
