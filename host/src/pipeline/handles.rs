//! The calls of this process that wait or run, so that they can be called off.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::PendingState;
use super::attachment::Attachment;
use crate::model::CallId;

/// The live calls by id: as many as there are calls that wait or run.
#[derive(Default)]
pub struct Handles(Mutex<State>);

#[derive(Default)]
struct State {
    live: HashMap<CallId, Handle>,
    /// Queued calls that were called off and whose end is not written down yet: whoever holds such a call may lose it to the next.
    called_off: HashSet<CallId>,
}

struct Handle {
    cancelled: CancellationToken,
    attachment: Arc<Attachment>,
}

/// A place among the live calls, given up on drop.
pub struct Live {
    handles: Arc<Handles>,
    call: CallId,
    /// The tie between the call and whoever wants its answer.
    pub attachment: Arc<Attachment>,
}

impl Handles {
    /// Makes a call known until the place is dropped; tells it to stop at once if it was called off before.
    pub fn enter(self: &Arc<Self>, call: CallId, cancelled: &CancellationToken, attachment: Attachment) -> Live {
        let attachment = Arc::new(attachment);
        let handle = Handle { cancelled: cancelled.clone(), attachment: attachment.clone() };
        let mut state = self.lock();
        state.live.insert(call, handle);
        if state.called_off.contains(&call) {
            cancelled.cancel();
        }
        drop(state);
        Live { handles: self.clone(), call, attachment }
    }

    /// What a call does, if it is live.
    pub fn state(&self, call: &CallId) -> Option<PendingState> {
        self.lock().live.get(call)?.attachment.state()
    }

    /// Tells a call to stop; answers whether there is one.
    pub fn cancel(&self, call: &CallId) -> bool {
        let cancelled = self.lock().live.get(call).map(|handle| handle.cancelled.clone());
        cancelled.map(|cancelled| cancelled.cancel()).is_some()
    }

    /// Tells a queued call to stop, and whoever may hold it next; answers whether anybody holds it now.
    ///
    /// INVARIANT: told and remembered under the lock under which a call is entered: between two that hold it nobody is missed.
    pub fn call_off(&self, call: CallId) -> bool {
        let mut state = self.lock();
        state.called_off.insert(call);
        let cancelled = state.live.get(&call).map(|handle| handle.cancelled.clone());
        drop(state);
        cancelled.map(|cancelled| cancelled.cancel()).is_some()
    }

    /// Forgets that a call was called off: it has ended.
    pub fn forget(&self, call: &CallId) {
        self.lock().called_off.remove(call);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is one insert or one remove: a panic elsewhere cannot leave it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let mut state = self.handles.lock();
        // A call that was let go may have been taken up again by then, under the same id.
        if state.live.get(&self.call).is_some_and(|handle| Arc::ptr_eq(&handle.attachment, &self.attachment)) {
            state.live.remove(&self.call);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_was_called_off_is_told_whoever_holds_it_next_until_it_has_ended() {
        let (handles, call) = (Arc::new(Handles::default()), CallId::random());
        let enter = || {
            let cancelled = CancellationToken::new();
            (handles.enter(call, &cancelled, Attachment::of_queued()), cancelled)
        };
        let (first, cancelled) = enter();
        assert!(!cancelled.is_cancelled());
        assert!(handles.call_off(call), "it is held");
        assert!(cancelled.is_cancelled());
        // Let go without an end, as when the ledger takes nothing.
        drop(first);
        let (second, cancelled) = enter();
        assert!(cancelled.is_cancelled(), "told by whoever held it before");
        drop(second);
        assert!(!handles.call_off(call), "nobody holds it");
        let (_third, cancelled) = enter();
        assert!(cancelled.is_cancelled(), "told while nobody held it");
        handles.forget(&call);
        let (_fourth, cancelled) = enter();
        assert!(!cancelled.is_cancelled());
    }
}
