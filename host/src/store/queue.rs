//! The way into the writer thread: a first-in, first-out queue that forms groups.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;

use super::{StoreError, Tx};

/// The most commits in one group: bounds how long one batch blocks the engine's readers.
const GROUP_MAX: usize = 1024;

/// One commit on its way. Called exactly once, on the writer thread.
pub(super) type Job = Box<dyn FnOnce(Turn<'_, '_>) -> Option<Completion> + Send>;

/// What a job is told when its turn comes.
pub(super) enum Turn<'t, 'a> {
    /// Decide and write.
    Run(&'t mut Tx<'a>),
    /// Nothing can be written; tell the caller why.
    Refused(StoreError),
}

/// Tells a job's caller how the whole group ended. Absent if the job wrote nothing and has nothing to tell.
pub(super) type Completion = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Room for one commit in the store, held from before the commit is handed in until it is through.
#[derive(Debug)]
pub struct Slot {
    /// Held for its drop.
    _permit: OwnedSemaphorePermit,
}

impl Slot {
    pub(super) fn new(permit: OwnedSemaphorePermit) -> Self {
        Self { _permit: permit }
    }
}

/// How soon a commit has to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Somebody waits for it.
    Now,
    /// It rides with the next group, at the latest after [`StoreConfig::linger`](super::StoreConfig::linger).
    Soon,
}

/// A job and what the queue has to know about it.
pub(super) struct Queued {
    pub job: Job,
    pub urgency: Urgency,
    /// Finishes something already begun: accepted while the disk is low, while the engine is out of order, and while the store
    /// shuts down.
    pub essential: bool,
    /// Given back when the job is through.
    pub slot: Option<Slot>,
}

/// The queue between callers and the writer thread.
///
/// Its length is bounded by the store's slots, plus the few commits that threads of the host make one at a time.
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    linger: Duration,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Queued>,
    /// How many of them are `Now`.
    urgent: usize,
    /// When the oldest `Soon` job came, if there is any.
    soon_since: Option<Instant>,
    /// How the writer sleeps, so that nobody wakes it for nothing: a wake-up is a system call.
    sleeping: Sleep,
    phase: Phase,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Sleep {
    #[default]
    Awake,
    /// Until a `Soon` job is due; only urgent work wakes it earlier.
    UntilDue,
    /// Until anything comes.
    UntilWork,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// The engine is out of order: only essential commits are taken, and wait.
    Held,
    /// Only essential commits are taken; the rest of the queue is being written.
    Draining,
    /// Nothing is taken: the engine stays out of order.
    Barred,
    /// The writer has left.
    Closed,
}

impl Queue {
    pub fn new(linger: Duration) -> Self {
        Self { state: Mutex::default(), wake: Condvar::new(), linger }
    }

    /// Hands a job in, or back if the store is shut.
    pub fn push(&self, queued: Queued) -> Result<(), Queued> {
        let mut state = self.lock();
        let taken = match state.phase {
            Phase::Open => true,
            Phase::Held | Phase::Draining => queued.essential,
            Phase::Barred | Phase::Closed => false,
        };
        if !taken {
            return Err(queued);
        }
        let urgent = queued.urgency == Urgency::Now;
        state.urgent += usize::from(urgent);
        if !urgent && state.soon_since.is_none() {
            state.soon_since = Some(Instant::now());
        }
        state.jobs.push_back(queued);
        if state.phase == Phase::Held {
            return Ok(());
        }
        let wake = match state.sleeping {
            Sleep::Awake => false,
            Sleep::UntilWork => true,
            Sleep::UntilDue => urgent || state.jobs.len() >= GROUP_MAX,
        };
        if wake {
            state.sleeping = Sleep::Awake;
            drop(state);
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Waits for work and takes the next group; `None` once the queue is shut and empty.
    ///
    /// There is no artificial delay: whatever came while the last group was being synced is the next group.
    pub fn next_group(&self) -> Option<Vec<Queued>> {
        let mut state = self.lock();
        loop {
            let due = state.soon_since.map(|since| since + self.linger);
            let is_due = due.is_some_and(|due| due <= Instant::now());
            if state.urgent > 0
                || is_due
                || state.jobs.len() >= GROUP_MAX
                || (state.phase == Phase::Draining && !state.jobs.is_empty())
            {
                return Some(state.take_group());
            }
            if state.phase == Phase::Draining {
                // INVARIANT: decided under the lock that `push` takes, so no job is accepted and then left behind.
                state.phase = Phase::Closed;
                return None;
            }
            state = match due {
                Some(due) => {
                    state.sleeping = Sleep::UntilDue;
                    let wait = due.saturating_duration_since(Instant::now());
                    self.wake.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    state.sleeping = Sleep::UntilWork;
                    self.wake.wait(state).unwrap_or_else(PoisonError::into_inner)
                }
            };
            state.sleeping = Sleep::Awake;
        }
    }

    /// Takes no more new work, and lets the writer leave once everything accepted is written.
    pub fn drain(&self) {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Open | Phase::Held | Phase::Barred) {
            state.phase = Phase::Draining;
        }
        state.sleeping = Sleep::Awake;
        drop(state);
        self.wake.notify_one();
    }

    /// Takes only essential commits from now on, and keeps them. `unwritten` comes back to the front, in its order. Answers
    /// with what must be refused.
    pub fn hold(&self, unwritten: Vec<Queued>) -> Vec<Queued> {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Held;
        }
        let waiting = unwritten.into_iter().chain(state.jobs.drain(..)).collect::<Vec<_>>();
        let (kept, refused) = waiting.into_iter().partition(|queued| queued.essential);
        state.put(kept);
        refused
    }

    /// Lets the writer take groups again, what was kept first.
    pub fn resume(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Held {
            state.phase = Phase::Open;
        }
    }

    /// Takes nothing any more, until it is drained. Answers with what must be refused.
    pub fn bar(&self) -> Vec<Queued> {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Open | Phase::Held) {
            state.phase = Phase::Barred;
        }
        state.take_all()
    }

    /// Waits until the store is to be closed, at most this long; answers whether it is.
    pub fn wait_for_close(&self, at_most: Option<Duration>) -> bool {
        let until = at_most.map(|wait| Instant::now() + wait);
        let mut state = self.lock();
        loop {
            if state.phase == Phase::Draining {
                return true;
            }
            state = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return false,
                Some(left) => self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Closes without writing what is left, and answers with it.
    pub fn close(&self) -> Vec<Queued> {
        let mut state = self.lock();
        state.phase = Phase::Closed;
        state.take_all()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of others runs under this lock, and each change keeps the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Puts jobs into the empty queue.
    fn put(&mut self, jobs: Vec<Queued>) {
        self.urgent = jobs.iter().filter(|queued| queued.urgency == Urgency::Now).count();
        self.soon_since = (jobs.len() > self.urgent).then(Instant::now);
        self.jobs = jobs.into();
    }

    fn take_all(&mut self) -> Vec<Queued> {
        (self.urgent, self.soon_since) = (0, None);
        self.jobs.drain(..).collect()
    }

    fn take_group(&mut self) -> Vec<Queued> {
        let size = self.jobs.len().min(GROUP_MAX);
        let group: Vec<_> = self.jobs.drain(..size).collect();
        self.urgent -= group.iter().filter(|queued| queued.urgency == Urgency::Now).count();
        // What is left behind by a full group is due at the next turn.
        self.soon_since = (self.jobs.len() > self.urgent).then(|| self.soon_since.unwrap_or_else(Instant::now));
        group
    }
}
