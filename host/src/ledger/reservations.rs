//! The idempotency keys that calls of this process hold, in memory.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::{CallId, Digest, Timestamp};

/// The claims that calls of this process hold, from before their intent until their outcome is durable, and those of the calls
/// that wait. As many as there are such calls.
#[derive(Default)]
pub(super) struct Reservations(Mutex<HashMap<Digest, Reservation>>);

/// One of them.
pub(super) struct Reservation {
    pub call: CallId,
    pub print: Digest,
    pub since: Timestamp,
    /// Somebody else was told that the call can be asked for.
    pub told: bool,
    /// The call has ended, and is not going to be remembered.
    pub forgotten: bool,
}

impl Reservation {
    pub fn new(call: CallId, print: Digest, since: Timestamp) -> Self {
        Self { call, print, since, told: false, forgotten: false }
    }
}

impl Reservations {
    /// Reserves the claim of a call that waited when the host stopped.
    pub fn restore(&self, claim: Digest, call: CallId, print: Digest, since: Timestamp) {
        self.lock().insert(claim, Reservation::new(call, print, since));
    }

    /// Gives a claim back that nobody holds, if it is `call`'s.
    pub fn release(&self, claim: &Digest, call: &CallId) {
        let mut reservations = self.lock();
        if reservations.get(claim).is_some_and(|reserved| reserved.call == *call) {
            reservations.remove(claim);
        }
    }

    /// All of them, for as long as the answer lives.
    pub fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Reservation>> {
        // Each change is one insert or one remove: a panic elsewhere cannot leave it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
