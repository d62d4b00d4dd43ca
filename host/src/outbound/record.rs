//! The outbound ledger of one call as it is written: attempts in their order, and the backend that has failed it.

use std::sync::Arc;
use std::time::Duration;

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
    /// Attempts in the order in which they were made.
    sent: Vec<Sent>,
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

    /// Takes down an attempt; answers its place.
    pub fn add(&mut self, sent: Sent) -> usize {
        self.sent.push(sent);
        self.sent.len() - 1
    }

    /// The attempt at a place that [`Record::add`] answered.
    pub fn at(&mut self, place: usize) -> &mut Sent {
        &mut self.sent[place]
    }

    /// All attempts. One that nobody has settled counts as given up.
    pub fn sent(&self) -> Vec<Sent> {
        let given_up = |sent: &Sent| match (sent.status, sent.error) {
            (None, None) => Sent { error: Some(SentError::Abandoned), ..sent.clone() },
            _ => sent.clone(),
        };
        self.sent.iter().map(given_up).collect()
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
            let known = backend.wait();
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
