//! When calls begin, and when it is over.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;

/// What a sleep may oversleep on an idle machine: the timer counts whole milliseconds, and rounds up.
const TICK: Duration = Duration::from_millis(2);

/// When calls begin: at once for whoever is free, or at a rate.
pub struct Schedule {
    began: Instant,
    ends: Instant,
    drain: Duration,
    /// Between two calls, in seconds.
    interval: Option<f64>,
    taken: AtomicU64,
    begun: AtomicU64,
    late: AtomicU64,
    stop: CancellationToken,
    stopped: OnceLock<Instant>,
    hurried: OnceLock<Instant>,
}

impl Schedule {
    /// A schedule that begins now, begins calls for `duration`, so many a second if `rate` says so, and lets them end for
    /// `drain`.
    pub fn new(duration: Duration, rate: Option<f64>, drain: Duration) -> Self {
        let began = Instant::now();
        Self {
            began,
            ends: began + duration,
            drain,
            interval: rate.map(f64::recip),
            taken: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            late: AtomicU64::new(0),
            stop: CancellationToken::new(),
            stopped: OnceLock::new(),
            hurried: OnceLock::new(),
        }
    }

    /// Waits for the turn of the caller's next call; answers from when on it is measured, or that no more begin.
    ///
    /// At a rate that is when the call was due, though no caller may have been free then: what a client would have waited
    /// counts. Only the timer's own tick, which is no fault of the server's, is not held against it.
    pub async fn next(&self) -> Option<Instant> {
        let now = Instant::now();
        if self.stop.is_cancelled() || now >= self.ends {
            return None;
        }
        let Some(interval) = self.interval else {
            self.begun.fetch_add(1, Ordering::Relaxed);
            return Some(now);
        };
        let turn = self.taken.fetch_add(1, Ordering::Relaxed);
        let due = self.began + Duration::from_secs_f64(interval * turn as f64);
        if due >= self.ends {
            return None;
        }
        if due > now {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                () = time::sleep_until(due) => {}
            }
        }
        self.begun.fetch_add(1, Ordering::Relaxed);
        let behind = Instant::now().saturating_duration_since(due);
        if behind > TICK && due <= now {
            self.late.fetch_add(1, Ordering::Relaxed);
        }
        Some(if behind <= TICK && due > now { due + behind } else { due })
    }

    /// Thinks for so long, or until no more calls begin.
    pub async fn think(&self, time: Duration) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = time::sleep(time) => {}
        }
    }

    /// Begins no more calls. The first time counts.
    pub fn stop(&self) {
        let _ = self.stopped.set(Instant::now().min(self.ends));
        self.stop.cancel();
    }

    /// Gives up `within` so long from now at the latest. The first time counts.
    pub fn hurry(&self, within: Duration) {
        let _ = self.hurried.set(Instant::now() + within);
    }

    /// When it began.
    pub const fn began(&self) -> Instant {
        self.began
    }

    /// When the last call may begin.
    pub fn ends(&self) -> Instant {
        self.stopped.get().copied().unwrap_or(self.ends)
    }

    /// When no call is waited for any more.
    pub fn gives_up(&self) -> Instant {
        let gives_up = self.ends() + self.drain;
        self.hurried.get().map_or(gives_up, |hurried| gives_up.min(*hurried))
    }

    /// How many calls began late because no caller was free.
    pub fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// How many calls were due and did not begin because no caller was free.
    pub fn not_begun(&self) -> u64 {
        let Some(interval) = self.interval else { return 0 };
        let due = (self.ends().saturating_duration_since(self.began).as_secs_f64() / interval).ceil();
        (due as u64).saturating_sub(self.begun.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Lets `callers` make calls of `length` by the schedule; answers how late each began, by how it is measured.
    async fn drive(schedule: Schedule, callers: usize, length: Duration) -> (Arc<Schedule>, Vec<Duration>) {
        let schedule = Arc::new(schedule);
        let callers = (0..callers).map(|_| {
            let schedule = schedule.clone();
            tokio::spawn(async move {
                let mut took = Vec::new();
                while let Some(from) = schedule.next().await {
                    time::sleep(length).await;
                    took.push(from.elapsed());
                }
                took
            })
        });
        let mut took = Vec::new();
        for caller in callers.collect::<Vec<_>>() {
            took.extend(caller.await.expect("a caller does not panic"));
        }
        schedule.stop();
        (schedule, took)
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_loop_begins_a_call_whenever_a_caller_is_free() {
        let (schedule, took) = drive(Schedule::new(10 * SECOND, None, SECOND), 3, SECOND).await;
        assert_eq!((took.len(), schedule.late(), schedule.not_begun()), (30, 0, 0));
        assert!(took.iter().all(|took| *took == SECOND), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_loop_keeps_its_rate_while_callers_are_free() {
        let (schedule, took) = drive(Schedule::new(10 * SECOND, Some(20.0), SECOND), 30, SECOND).await;
        assert_eq!((took.len(), schedule.late(), schedule.not_begun()), (200, 0, 0));
        assert!(took.iter().all(|took| *took == SECOND), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_caller_was_free_for_is_measured_from_when_it_was_due() {
        // One caller, a call of a second, two calls due each second: each waits half a second longer than the one before.
        let (schedule, took) = drive(Schedule::new(10 * SECOND, Some(2.0), SECOND), 1, SECOND).await;
        assert_eq!((took.len(), schedule.late(), schedule.not_begun()), (10, 9, 10));
        for (index, took) in took.iter().enumerate() {
            assert_eq!(*took, SECOND + index as u32 * SECOND / 2, "call {index}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_begins_after_a_stop_and_the_drain_counts_from_there() {
        let schedule = Arc::new(Schedule::new(100 * SECOND, Some(1.0), 5 * SECOND));
        assert_eq!(schedule.next().await, Some(schedule.began()), "the first is due at once");
        let waits = tokio::spawn({
            let schedule = schedule.clone();
            async move { (schedule.next().await.is_some(), schedule.next().await.is_some(), schedule.next().await) }
        });
        time::sleep(SECOND * 5 / 2).await;
        schedule.stop();
        assert_eq!(waits.await.expect("no panic"), (true, true, None));
        assert_eq!(schedule.gives_up() - schedule.began(), SECOND * 15 / 2);
        assert_eq!((schedule.next().await, schedule.not_begun()), (None, 0));
        schedule.hurry(SECOND);
        assert_eq!(schedule.gives_up() - schedule.began(), SECOND * 7 / 2);
    }
}
