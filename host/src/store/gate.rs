//! Whether the store takes writes, and if not, why.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::StoreError;

/// Open as long as what is written is known to be durable.
///
/// INVARIANT: once shut it opens only over an engine that was opened anew. After a failed sync the kernel may have dropped what
/// it could not write, so a later sync that succeeds proves nothing about what came before it.
#[derive(Debug, Default)]
pub(super) struct Gate {
    shut: AtomicBool,
    /// Why, as told last.
    why: Mutex<Option<Arc<str>>>,
}

impl Gate {
    pub fn is_open(&self) -> bool {
        !self.shut.load(Ordering::Acquire)
    }

    /// The failure that keeps it shut.
    pub fn failure(&self) -> Option<Arc<str>> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The refusal to answer with, if it is shut.
    pub fn check(&self) -> Result<(), StoreError> {
        if self.is_open() { Ok(()) } else { Err(self.refusal()) }
    }

    /// The refusal to answer with.
    pub fn refusal(&self) -> StoreError {
        StoreError::closed(self.failure().unwrap_or_else(|| "it was shut down".into()))
    }

    /// Shuts it after a failure, or tells anew why it is shut.
    pub fn shut(&self, why: &str) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.into());
        self.shut.store(true, Ordering::Release);
    }

    /// Shuts it because the store is closed, which is no failure.
    pub fn close(&self) {
        self.shut.store(true, Ordering::Release);
    }

    /// Opens it over an engine that was opened anew.
    pub fn open(&self) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.shut.store(false, Ordering::Release);
    }
}
