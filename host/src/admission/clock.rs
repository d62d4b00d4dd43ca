//! The gate with its lock, its clock and its alarm: the one task that wakes when something is due.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::gate::{Gate, Word};
use super::ticket::Permit;

/// The gate as everybody shares it.
///
/// Time is what [`Instant`] says: a wall clock that jumps changes no budget and no wait.
#[derive(Debug)]
pub(super) struct Shared {
    gate: Mutex<Gate>,
    clock: Clock,
    alarm: Arc<Alarm>,
}

/// What the time is, in nanoseconds.
#[derive(Debug)]
pub(super) enum Clock {
    /// Since then.
    Since(Instant),
    /// What a test says.
    #[cfg(test)]
    Told(std::sync::atomic::AtomicU64),
}

/// Wakes the task that looks after what is due.
#[derive(Debug, Default)]
struct Alarm {
    is_running: AtomicBool,
    earlier: Notify,
}

impl Shared {
    /// A gate that nobody has entered.
    pub fn new(gate: Gate, clock: Clock) -> Arc<Self> {
        Arc::new(Self { gate: Mutex::new(gate), clock, alarm: Arc::default() })
    }

    /// Looks at the gate.
    pub fn look<T>(&self, look: impl FnOnce(&Gate, u64) -> T) -> T {
        let gate = self.lock();
        look(&gate, self.now())
    }

    /// Changes something, then tells everybody concerned.
    pub fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut Gate, u64, &mut Vec<Word>) -> T) -> T {
        let mut words = Vec::new();
        let mut gate = self.lock();
        let before = gate.next_time();
        let answer = change(&mut gate, self.now(), &mut words);
        let next = gate.next_time();
        drop(gate);
        self.tell(words);
        if next.is_some_and(|next| before.is_none_or(|before| next < before)) {
            self.wake_earlier();
        }
        answer
    }

    /// Does what is due. Answers how long nothing will be.
    pub fn advance(self: &Arc<Self>) -> Option<Duration> {
        let mut words = Vec::new();
        let mut gate = self.lock();
        gate.advance(self.now(), &mut words);
        let next = gate.next_time().map(|next| Duration::from_nanos(next.saturating_sub(self.now())));
        drop(gate);
        self.tell(words);
        next
    }

    /// The clock, for tests to turn.
    #[cfg(test)]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Outside the lock: a permit that nobody takes any more comes back through it.
    fn tell(self: &Arc<Self>, words: Vec<Word>) {
        for word in words {
            match word {
                Word::Start(sender, start) => drop(sender.send(Ok(Permit::new(self, start)))),
                Word::Expire(sender, expired) => drop(sender.send(Err(expired))),
                // Whoever stopped waiting has what was drawn all the same: its call settles it.
                Word::Feed(sender, drawn) => drop(sender.send(drawn)),
            }
        }
    }

    fn wake_earlier(self: &Arc<Self>) {
        if self.alarm.is_running.load(Ordering::Relaxed) {
            return self.alarm.earlier.notify_one();
        }
        // Without a runtime there is nobody to wake: only tests and benchmarks do that, and they advance by hand.
        if let Ok(runtime) = tokio::runtime::Handle::try_current()
            && !self.alarm.is_running.swap(true, Ordering::Relaxed)
        {
            runtime.spawn(attend(Arc::downgrade(self), Arc::clone(&self.alarm)));
        }
    }

    fn now(&self) -> u64 {
        match &self.clock {
            Clock::Since(start) => u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX),
            #[cfg(test)]
            Clock::Told(now) => now.load(Ordering::Relaxed),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().expect("no code panics while it holds the gate")
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The task looks up, finds nobody, and ends.
        self.alarm.earlier.notify_one();
    }
}

/// Sleeps until something is due, does it, and so on, as long as there is a gate.
async fn attend(shared: Weak<Shared>, alarm: Arc<Alarm>) {
    while let Some(next) = shared.upgrade().map(|shared| shared.advance()) {
        match next {
            Some(wait) => drop(tokio::time::timeout(wait, alarm.earlier.notified()).await),
            None => alarm.earlier.notified().await,
        }
    }
}
