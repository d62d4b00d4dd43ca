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
    /// Lets nothing go for so long. Waits until what is going at this moment is gone, which is the end of one group of commits.
    pub fn keep(&self, time: Duration) {
        let mut state = self.lock();
        // In this order: nothing more sets out while this waits.
        state.until = Some(Instant::now() + time);
        while state.going > 0 {
            state = self.gone.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.until = Some(Instant::now() + time);
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
