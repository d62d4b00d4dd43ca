//! Whoever reads all of the log, and whatever drops something from it: never both at a time.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::LedgerError;

/// Whether something may go from the log at this moment.
#[derive(Default)]
pub(super) struct Stillness {
    state: Mutex<State>,
    gone: Condvar,
}

#[derive(Default)]
struct State {
    /// Until when nothing goes, because somebody reads.
    until: Option<Instant>,
    /// How many commits are under way that drop something.
    going: usize,
}

impl Stillness {
    /// Lets nothing go for so long. Waits until what is going at this moment is gone, which is the end of one group of commits, and
    /// `patience` at most.
    ///
    /// # Errors
    /// Something is still going then: a disk that hangs must not keep all who read waiting. Nothing more goes all the same.
    pub fn keep(&self, time: Duration, patience: Duration) -> Result<(), LedgerError> {
        let mut state = self.lock();
        // In this order: nothing more sets out while this waits.
        state.until = Some(Instant::now() + time);
        let waited = self.gone.wait_timeout_while(state, patience, |state| state.going > 0);
        let (mut state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            let problem = "something is going from it at this moment; try again".to_owned();
            return Err(LedgerError::Refused { what: "reading the whole log".into(), problem });
        }
        state.until = Some(Instant::now() + time);
        Ok(())
    }

    /// Whether somebody reads.
    pub fn is_kept(&self) -> bool {
        self.lock().until.is_some_and(|until| Instant::now() < until)
    }

    /// The right to drop something from the log, for a commit that is having its turn.
    ///
    /// INVARIANT: asked for in the commit itself and part of its answer, which lives until what it did is durable. So whoever
    /// begins to read sees the log as it was before, or as it is behind it, also if nobody waits for the commit any more.
    ///
    /// # Errors
    /// Somebody reads.
    pub fn let_go(self: &Arc<Self>) -> Result<Going, LedgerError> {
        let mut state = self.lock();
        if state.until.is_some_and(|until| Instant::now() < until) {
            let problem = "somebody reads the whole log at this moment; try again in half a minute".to_owned();
            return Err(LedgerError::Refused { what: "the pruning".into(), problem });
        }
        state.going += 1;
        Ok(Going(Arc::clone(self)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is one step: a panic elsewhere cannot leave it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something goes from the log, as long as this lives.
pub(super) struct Going(Arc<Stillness>);

impl Drop for Going {
    fn drop(&mut self) {
        self.0.lock().going -= 1;
        self.0.gone.notify_all();
    }
}
