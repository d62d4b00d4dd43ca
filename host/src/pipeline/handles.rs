//! The calls of this process that wait or run, so that they can be called off.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::PendingState;
use super::attachment::Attachment;
use crate::model::CallId;

/// The live calls by id: as many as there are calls that wait or run.
#[derive(Default)]
pub struct Handles(Mutex<HashMap<CallId, Handle>>);

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
        self.lock().insert(call, handle);
        Live { handles: self.clone(), call, attachment }
    }

    /// What a call does, if it is live.
    pub fn state(&self, call: &CallId) -> Option<PendingState> {
        self.lock().get(call)?.attachment.state()
    }

    /// Tells a call to stop; answers whether there is one.
    pub fn cancel(&self, call: &CallId) -> bool {
        let cancelled = self.lock().get(call).map(|handle| handle.cancelled.clone());
        cancelled.map(|cancelled| cancelled.cancel()).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CallId, Handle>> {
        // Each change is one insert or one remove: a panic elsewhere cannot leave it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.handles.lock().remove(&self.call);
    }
}
