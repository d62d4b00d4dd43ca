//! The outbound ledger of one call as it is written: attempts in their order, and the backend that has failed it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::BackendFailure;
use super::backend::Backend;
use crate::model::{ErrorCode, Sent, SentError};

/// What one call asked of its backends so far.
#[derive(Default)]
pub(super) struct Record {
    /// Requests that were allowed.
    pub requests: u32,
    /// Those of them that ask for a change.
    pub unsafe_requests: u32,
    /// Attempts in the order in which they were made, and since when they are under way, as long as they are.
    sent: Vec<(Sent, Option<Instant>)>,
    failure: Option<Failed>,
    /// Nothing unsafe may be sent yet.
    pub gated: bool,
    /// Something unsafe was to be sent all the same.
    pub gate_met: bool,
}

struct Failed {
    name: String,
    backend: Arc<Backend>,
    code: ErrorCode,
    /// Nothing was sent: the host knew that it would fail.
    unsent: bool,
}

impl Record {
    /// Nothing sent yet.
    pub fn new(gated: bool) -> Self {
        Self { gated, ..Self::default() }
    }

    /// Takes down an attempt that is under way since `begun`, if it is at all; answers its place.
    pub fn add(&mut self, sent: Sent, begun: Option<Instant>) -> usize {
        self.sent.push((sent, begun));
        self.sent.len() - 1
    }

    /// The attempt at a place that [`Record::add`] answered.
    pub fn at(&mut self, place: usize) -> &mut Sent {
        &mut self.sent[place].0
    }

    /// The attempt at that place is over; what is known of it.
    pub fn settle(&mut self, place: usize, error: Option<SentError>) -> &Sent {
        let (sent, begun) = &mut self.sent[place];
        sent.error = error;
        give_up(sent, begun.take());
        sent
    }

    /// All attempts. What is still under way is given up: it outlives its call by a moment at most.
    pub fn sent(&self) -> Vec<Sent> {
        let settled = |(sent, begun): &(Sent, Option<Instant>)| {
            let mut sent = sent.clone();
            give_up(&mut sent, *begun);
            sent
        };
        self.sent.iter().map(settled).collect()
    }

    /// A backend failed the call.
    pub fn failed(&mut self, name: &str, backend: &Arc<Backend>, code: ErrorCode, unsent: bool) {
        self.failure = Some(Failed { name: name.to_owned(), backend: Arc::clone(backend), code, unsent });
    }

    /// A backend answered; what it failed to do before, the guest, or the host, evidently tried again.
    pub fn answered(&mut self, name: &str) {
        self.failure.take_if(|failure| failure.name == name);
    }

    /// The backend that failed the call last, unless it has answered since; when to try again as of now.
    pub fn failure(&self) -> Option<BackendFailure> {
        self.failure.as_ref().map(|Failed { name, backend, code, unsent }| {
            // A backend that is only busy is worth another try as soon as a turn would have come.
            let known = backend.told().or(unsent.then_some(backend.max_wait));
            BackendFailure {
                backend: name.clone(),
                code: *code,
                retry_after: known.map_or(backend.retry_after, |wait| wait.max(Duration::from_millis(1))),
                is_known: known.is_some(),
                unsent: *unsent,
            }
        })
    }
}

/// Ends an attempt that was under way since `begun`, if it was.
fn give_up(sent: &mut Sent, begun: Option<Instant>) {
    if let Some(begun) = begun {
        sent.latency = begun.elapsed();
    }
    if sent.status.is_none() {
        sent.error.get_or_insert(SentError::Abandoned);
    }
}
