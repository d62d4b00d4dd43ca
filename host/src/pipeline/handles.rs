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
    /// Queued calls that were called off while nobody held them. As many as there are such calls.
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
    /// Makes a call known until the place is dropped.
    pub fn enter(self: &Arc<Self>, call: CallId, cancelled: &CancellationToken, attachment: Attachment) -> Live {
        let attachment = Arc::new(attachment);
        let handle = Handle { cancelled: cancelled.clone(), attachment: attachment.clone() };
        self.lock().live.insert(call, handle);
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

    /// Remembers that a queued call is to be called off that nobody holds at the moment.
    pub fn call_off(&self, call: CallId) {
        self.lock().called_off.insert(call);
    }

    /// Whether the call was called off while nobody held it.
    pub fn was_called_off(&self, call: &CallId) -> bool {
        self.lock().called_off.remove(call)
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
