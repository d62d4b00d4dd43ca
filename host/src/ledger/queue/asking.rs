//! The rows of waiting calls on their way to the disk; above all of those whose callers have to be asked something first: what a run
//! asked is written with its outcome, what was answered as it comes.

use std::sync::Arc;

use super::epochs::Epoch;
use super::row::{self, QueuedRow, Request, Unnamed};
use super::{QueuedCall, QueuedFacts, Stage};
use crate::ledger::idempotency::Lease;
use crate::ledger::subjects::{KeyId, SubjectKey};
use crate::ledger::{Inner, Ledger, LedgerError, calls};
use crate::model::{CallId, Digest, Timestamp};
use crate::store::Tx;

/// The row of a waiting call, ready to be written.
pub(in crate::ledger) struct Draft {
    pub(super) row: QueuedRow,
    pub(super) epoch: Arc<Epoch>,
    pub(super) file: Unnamed,
    subject: KeyId,
}

impl Draft {
    /// The row of a call that is sealed with the keys of its caller and of `epoch`. Its request is durable on return.
    pub async fn of(
        inner: &Inner,
        facts: &QueuedFacts<'_>,
        subject: &SubjectKey,
        epoch: Arc<Epoch>,
        claim: Option<Digest>,
    ) -> Result<Self, LedgerError> {
        let sealed = Request::of(facts).sealed(subject, &epoch, &facts.call);
        let (request, file) = row::keep(&inner.store, sealed).await?;
        let row = QueuedRow {
            sequence: 0,
            effect: facts.effect,
            claim,
            owner: calls::owner(facts.principal),
            queued_at: Timestamp(0),
            until: facts.until,
            asking: !facts.asks.is_empty(),
            epoch: epoch.id,
            request,
        };
        Ok(Self { row, epoch, file, subject: subject.id })
    }

    /// Refuses what could not be read any more once this process is gone. On the writer thread: a call that is accepted behind an
    /// erasure can be read as long as it waits.
    pub fn check(&self, inner: &Inner, call: &CallId) -> Result<(), LedgerError> {
        if inner.subjects.is_retired(&self.subject) {
            let problem = "its caller was erased at this moment; try again".to_owned();
            return Err(LedgerError::Refused { what: format!("the queueing of {call}"), problem });
        }
        Ok(())
    }
}

impl Ledger {
    /// Writes down what the caller of a waiting call answered, and what it still has to be asked. Durable on return.
    ///
    /// # Errors
    /// If the store, or the folder of keys, fails or refuses, or the caller is erased at this moment: the answers may be lost then,
    /// and the call waits on.
    pub async fn record_answers(&self, queued: &QueuedCall, facts: &QueuedFacts<'_>) -> Result<(), LedgerError> {
        let inner = &self.inner;
        let call = queued.call;
        let slot = inner.store.reserve().await?;
        let subject = inner.subject_key(facts.principal).await?;
        // The epoch it has: its key is there for as long as the call waits, however this ends.
        let epoch = inner.waiting.get(&call).and_then(|waiting| waiting.epoch).ok_or(LedgerError::NotQueued { call })?;
        let draft = Draft::of(inner, facts, &subject, epoch, queued.lease().map(Lease::claim)).await?;
        let (asking, until, ledger) = (draft.row.asking, facts.until, Arc::clone(inner));
        let write = move |tx: &mut Tx<'_>| {
            draft.check(&ledger, &call)?;
            let Draft { row, file, .. } = draft;
            let old = QueuedRow::get(tx, &call)?.ok_or(LedgerError::NotQueued { call })?;
            old.remove(tx, &call)?;
            QueuedRow { sequence: old.sequence, queued_at: old.queued_at, ..row }.put(tx, &call)?;
            file.named();
            Ok::<_, LedgerError>(())
        };
        inner.store.commit_in(slot, write).await?;
        inner.waiting.waits_for(&call, asking, until);
        Ok(())
    }
}

impl QueuedCall {
    /// A call that ran and asked: it waits again, since it first waited or, if it never did, since it started.
    ///
    /// In the batch that writes the outcome of its run. Dropped before [`QueuedCall::is_back`], it waits for somebody to take it up.
    pub(in crate::ledger) fn back(
        ledger: &Arc<Inner>,
        call: CallId,
        lease: Option<Lease>,
        tx: &mut Tx<'_>,
        draft: Draft,
        since: Timestamp,
    ) -> Result<Self, LedgerError> {
        // If its caller is erased at this moment it goes on all the same: only a host that starts anew could not read it any more.
        let ledger = Arc::clone(ledger);
        let mut queued = Self { ledger, call, queued_at: since, lease, stage: Stage::Returned, taken: None };
        queued.put(tx, draft, since)?;
        Ok(queued)
    }

    /// The row is durable: others may know that it waits.
    pub(in crate::ledger) fn is_back(&mut self) {
        self.stage = Stage::Waiting;
        self.ledger.waiting.accept(&self.call);
    }
}
