//! The outbound ledger of one call as it is written: attempts in their order, and the backend that has failed it.

use std::collections::BTreeMap;
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
    /// Requests of which nothing is taken down yet: they wait for their turn.
    waiting: BTreeMap<u32, Sent>,
    failure: Option<Failed>,
    /// What was asked for last that may not be reached, in words.
    pub refusal: Option<String>,
    /// What it comes to, once nothing may be sent any more.
    closed: Option<(Vec<Sent>, Option<BackendFailure>)>,
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

    /// A request was allowed; this is its first attempt, if none is ever made.
    pub fn waits(&mut self, sent: Sent) {
        self.waiting.insert(sent.request, sent);
    }

    /// Whether nothing is taken down yet of that request.
    pub fn is_waiting(&self, request: u32) -> bool {
        self.waiting.contains_key(&request)
    }

    /// From here on nothing leaves, and what happens changes nothing in what is told.
    pub fn close(&mut self) {
        self.closed = Some((self.sent(), self.failure()));
    }

    /// Whether the call is over.
    pub fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// Takes down an attempt that is under way since `begun`, if it is at all; answers its place.
    pub fn add(&mut self, sent: Sent, begun: Option<Instant>) -> usize {
        self.waiting.remove(&sent.request);
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

    /// All attempts. What is still under way is given up: it outlives its call by a moment at most. So is what still waits.
    pub fn sent(&self) -> Vec<Sent> {
        if let Some((sent, _)) = &self.closed {
            return sent.clone();
        }
        let settled = |(sent, begun): &(Sent, Option<Instant>)| {
            let mut sent = sent.clone();
            give_up(&mut sent, *begun);
            sent
        };
        let waiting = self.waiting.values().map(|sent| Sent { error: Some(SentError::Abandoned), ..sent.clone() });
        self.sent.iter().map(settled).chain(waiting).collect()
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
        if let Some((_, failure)) = &self.closed {
            return failure.clone();
        }
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
