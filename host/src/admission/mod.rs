//! Who runs now, who waits, and who is told to come back later: bounded slots, a bounded queue, a cap on fuel.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::model::Span;

/// `[admission]`: how many calls run and wait.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdmissionConfig {
    /// Calls that run at the same time, those waiting for a backend included.
    pub slots: usize,
    /// Calls that wait for a slot; one more is refused with `overloaded`.
    pub queue: usize,
    /// The longest a call waits for a slot before it is refused with `overloaded`.
    pub max_wait: Span,
    /// The most fuel any call may burn, whatever its manifest says.
    pub max_fuel: u64,
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self { slots: 64, queue: 1024, max_wait: Span::seconds(5), max_fuel: 10_000_000_000 }
    }
}

/// Hands out permits to run.
pub struct Admission {
    slots: Arc<Semaphore>,
    config: AdmissionConfig,
    waiting: AtomicUsize,
    /// Moving average of how long a permit is held, in microseconds.
    held_us: Arc<AtomicU64>,
}

/// The right to run one call with so much fuel. Dropping it frees the slot.
pub struct Permit {
    fuel: u64,
    queued: Duration,
    since: Instant,
    held_us: Arc<AtomicU64>,
    _slot: OwnedSemaphorePermit,
}

/// All slots and the whole queue are taken, or the wait was too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overloaded {
    /// When trying again makes sense: the backlog divided by the drain rate.
    pub retry_after: Duration,
}

impl Admission {
    /// An admission with all slots free.
    pub fn new(mut config: AdmissionConfig) -> Self {
        // None would refuse every call, and more than the semaphore counts would end the host.
        config.slots = config.slots.clamp(1, Semaphore::MAX_PERMITS);
        // A second is what a call may plausibly take before any has been seen.
        let held_us = Arc::new(AtomicU64::new(1_000_000));
        Self { slots: Arc::new(Semaphore::new(config.slots)), config, waiting: AtomicUsize::new(0), held_us }
    }

    /// Waits, first come first served, until a call that may burn `fuel` may run. Dropping the future leaves the queue.
    ///
    /// # Errors
    /// The queue is full, or the wait exceeds `max_wait`.
    pub async fn admit(&self, fuel: u64) -> Result<Permit, Overloaded> {
        let arrived = Instant::now();
        let slot = match self.slots.clone().try_acquire_owned() {
            Ok(slot) => slot,
            Err(_) => {
                let _place = self.take_place()?;
                let wait = tokio::time::timeout(self.config.max_wait.duration(), self.slots.clone().acquire_owned());
                wait.await.map_err(|_| self.overloaded())?.expect("the semaphore is never closed")
            }
        };
        Ok(Permit {
            fuel: fuel.min(self.config.max_fuel),
            queued: arrived.elapsed(),
            since: Instant::now(),
            held_us: self.held_us.clone(),
            _slot: slot,
        })
    }

    /// Calls that hold a slot.
    pub fn running(&self) -> usize {
        self.config.slots - self.slots.available_permits()
    }

    /// Calls that wait for a slot.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn take_place(&self) -> Result<Place<'_>, Overloaded> {
        let taken = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < self.config.queue).then_some(n + 1));
        taken.map(|_| Place(&self.waiting)).map_err(|_| self.overloaded())
    }

    fn overloaded(&self) -> Overloaded {
        let backlog = self.waiting() as u64 + 1;
        let drain_us = self.held_us.load(Ordering::Relaxed) / self.config.slots as u64;
        let wait = Duration::from_micros(backlog.saturating_mul(drain_us));
        Overloaded { retry_after: wait.clamp(Duration::from_secs(1), Duration::from_secs(300)) }
    }
}

/// A place in the queue, given back on drop: also when the waiting future is dropped.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Permit {
    /// The most fuel the call may burn.
    pub fn fuel(&self) -> u64 {
        self.fuel
    }

    /// How long the call waited for its slot.
    pub fn queued(&self) -> Duration {
        self.queued
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let held = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        // An estimate only: a lost race between two drops costs one sample.
        let average = self.held_us.load(Ordering::Relaxed);
        self.held_us.store(average - average / 16 + held / 16, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(slots: usize, queue: usize, max_wait: Span) -> Admission {
        Admission::new(AdmissionConfig { slots, queue, max_wait, max_fuel: 100 })
    }

    #[tokio::test]
    async fn one_call_more_than_slots_and_queue_is_told_when_to_come_back() {
        let admission = admission(1, 1, Span::seconds(60));
        let running = admission.admit(10).await.expect("a free slot");
        let waiting = admission.admit(10);
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        let refused = admission.admit(10).await.err().expect("no place left");
        assert!(refused.retry_after >= Duration::from_secs(1));
        drop(running);
        assert!(waiting.await.is_ok(), "the waiting call runs once the slot is free");
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_gives_its_place_back() {
        let admission = admission(1, 1, Span::seconds(60));
        let _running = admission.admit(10).await.expect("a free slot");
        {
            let waiting = admission.admit(10);
            tokio::pin!(waiting);
            assert!(futures::poll!(&mut waiting).is_pending());
            assert_eq!(admission.waiting(), 1);
        }
        assert_eq!(admission.waiting(), 0);
    }

    #[tokio::test]
    async fn no_call_gets_more_fuel_than_the_host_allows() {
        let permit = admission(1, 1, Span::seconds(1)).admit(u64::MAX).await.expect("a free slot");
        assert_eq!(permit.fuel(), 100);
    }
}
