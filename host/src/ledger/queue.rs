//! Calls that wait for their turn, durably: whoever was told that a call waits can ask for it from then on, after a restart too.
//!
//! A waiting call is one row, written in one batch with its claim. It goes in the batch that writes the call's intent
//! ([`Ledger::record_intent`]), or in that which writes how it ended without having run ([`Ledger::dequeue`]). So at any moment,
//! also after a crash, a call that was accepted either waits, or runs, or has ended.

mod asking;
mod ending;
mod epochs;
mod requeue;
mod row;
mod waiting;

use std::sync::Arc;

use super::calls::Kept;
use super::facts::StoredResponse;
use super::idempotency::Lease;
use super::reask::{Again, Reasking};
use super::{Inner, Ledger, LedgerError, keys};
use crate::model::{
    Arguments, CallId, Dialogue, Digest, Effect, IdempotencyKey, Principal, Question, Timestamp, ToolName, TraceContext,
};
use crate::store::{Tx, Urgency};
use ending::{Ending, Fate};
use waiting::Stage as Place;

pub(super) use asking::Draft;
pub(super) use epochs::{Epochs, FOLDER as EPOCHS_FOLDER};
pub use requeue::Requeued;
pub(super) use requeue::{load, mend};
pub(super) use row::QueuedRow;
pub(super) use waiting::{Waiting, WaitingCall};

/// What is needed to run a call later, maybe after a restart.
#[derive(Clone, Copy, Debug)]
pub struct QueuedFacts<'a> {
    /// The call.
    pub call: CallId,
    /// The trace it belongs to.
    pub trace: &'a TraceContext,
    /// Who calls.
    pub principal: &'a Principal,
    /// What is called.
    pub tool: &'a ToolName,
    /// The plugin the tool belongs to.
    pub plugin: &'a str,
    /// The digest of what the caller could go by: only what has the same may run the call.
    pub face: Digest,
    /// Read or write.
    pub effect: Effect,
    /// With which arguments: validated.
    pub arguments: &'a Arguments,
    /// The idempotency key it came with.
    pub key: Option<&'a IdempotencyKey>,
    /// It must not start later than this; if it asks, not be answered later.
    pub until: Timestamp,
    /// What its caller can be asked, and has answered so far.
    pub dialogue: &'a Dialogue,
    /// What its caller has to be asked before it can run.
    pub asks: &'a [Question],
}

/// Proof that a call waits for its turn, durably, and the right to be the one that runs or ends it.
///
/// Dropped without either, it leaves the call waiting and its idempotency key taken: [`Ledger::queued_calls`] gives it out again.
#[must_use = "a call that waits and that nobody holds is not run"]
pub struct QueuedCall {
    ledger: Arc<Inner>,
    call: CallId,
    queued_at: Timestamp,
    lease: Option<Lease>,
    stage: Stage,
    /// Its row as the intent found it, until that is durable.
    taken: Option<QueuedRow>,
}

/// How far a call has come, which decides what it means that nobody holds it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Not written.
    Draft,
    /// On its way back to where it waits, because it ran and asked its caller something. Somebody has its handle.
    Returned,
    /// Written, but never handed to the caller, who had stopped waiting.
    Written,
    /// On its way out again, because it was never handed to the caller.
    Withdrawing,
    /// It waits.
    Waiting,
    /// Its row was taken away, in a group that may not be durable yet.
    Gone,
    /// It runs.
    Started,
}

/// Where a call comes from that is about to run.
#[derive(Debug)]
pub enum Origin {
    /// It was not written down before; with its lease, if it comes with an idempotency key.
    New(Option<Lease>),
    /// It has waited.
    Queued(QueuedCall),
}

impl From<Option<Lease>> for Origin {
    fn from(lease: Option<Lease>) -> Self {
        Self::New(lease)
    }
}

impl From<QueuedCall> for Origin {
    fn from(queued: QueuedCall) -> Self {
        Self::Queued(queued)
    }
}

impl Ledger {
    /// Makes a waiting call durable, and with it claims its idempotency key. From its return on the call can be asked for, after a
    /// restart too.
    ///
    /// Dropped before it answers, or failing with a timeout, it takes back whatever has been written.
    ///
    /// # Errors
    /// If the store, or the folder of keys, fails or refuses, another call claimed the key, or the caller is erased at this moment.
    /// The call does not wait then, and its key is given back.
    pub async fn enqueue(&self, facts: &QueuedFacts<'_>, lease: Option<Lease>) -> Result<QueuedCall, LedgerError> {
        debug_assert!(lease.as_ref().is_none_or(|lease| lease.call == facts.call), "a lease is for one call");
        let inner = &self.inner;
        let slot = inner.store.reserve().await?;
        let subject = inner.subject_key(facts.principal).await?;
        let epoch = inner.epochs.current().await?;
        let draft = Draft::of(inner, facts, &subject, epoch, lease.as_ref().map(Lease::claim)).await?;
        let (ledger, call) = (Arc::clone(inner), facts.call);
        let mut queued = QueuedCall { ledger, call, queued_at: Timestamp(0), lease, stage: Stage::Draft, taken: None };
        let write = move |tx: &mut Tx<'_>| {
            queued.write(tx, draft)?;
            // From here on a drop matters: the answer below may find nobody waiting.
            Ok::<_, LedgerError>(queued)
        };
        let mut queued = inner.store.commit_in(slot, write).await?;
        queued.stage = Stage::Waiting;
        inner.waiting.accept(&call);
        Ok(queued)
    }

    /// Ends a call that waits and has changed nothing: cancelled, too late, turned away after all. Takes its row away, gives its key back,
    /// and keeps the answer for whoever asks for the call. Durable on return.
    ///
    /// # Errors
    /// If the caller's key or the answer could not be written, in which case the call waits on and [`Ledger::queued_calls`] gives
    /// it out again. If the store failed, or not in time: then the end is decided, and is made up for as soon as the store takes
    /// writes again; only if the host stops before that does the call still wait at the next start.
    pub async fn dequeue(
        &self,
        mut queued: QueuedCall,
        principal: &Principal,
        answer: &StoredResponse,
        was_cancelled: bool,
    ) -> Result<(), LedgerError> {
        let inner = &self.inner;
        let key = inner.subject_key(principal).await?;
        let json = serde_json::to_vec(&answer.value).expect("JSON values serialize");
        let response = Kept::keep(&inner.store, Kept::sealed(&key, &queued.call, &json)).await?;
        let ending = Ending { fate: Fate::NotRun, is_error: answer.is_error, response, cancelled: was_cancelled };
        // Under load it waits for its turn like all others; while the store is shut, it is handed in all the same.
        let slot = inner.store.reserve().await.ok();
        let ending = Arc::new(ending);
        // INVARIANT: no await between the decision and handing in the commit that writes it.
        inner.waiting.end(&queued.call, &ending);
        let settle = move |tx: &mut Tx<'_>| {
            ending.write(tx, &queued.ledger, &queued.call)?;
            queued.stage = Stage::Gone;
            // What it holds, above all the claim's reservation, is given up when this answer is dropped: once it is durable.
            Ok::<_, LedgerError>(queued)
        };
        inner.store.submit(slot, Urgency::Now, settle).durable().await.map(drop)
    }
}

impl QueuedCall {
    /// The call.
    pub fn call(&self) -> CallId {
        self.call
    }

    /// Since when it waits.
    pub fn queued_at(&self) -> Timestamp {
        self.queued_at
    }

    /// Its hold on an idempotency key.
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// [`Lease::run_by`], if it has one.
    pub fn run_by(&mut self, reasking: Option<&Reasking>) -> bool {
        self.lease.as_mut().is_none_or(|lease| lease.run_by(reasking))
    }

    /// Writes the row and the claim, all in one batch.
    fn write(&mut self, tx: &mut Tx<'_>, draft: Draft) -> Result<(), LedgerError> {
        let now = self.ledger.clock.now();
        draft.check(&self.ledger, &self.call)?;
        if let Some(lease) = &self.lease {
            lease.take(tx, now)?;
        }
        self.stage = Stage::Written;
        self.put(tx, draft, now)
    }

    /// Writes the row, of a call that waits since `queued_at`.
    fn put(&mut self, tx: &mut Tx<'_>, draft: Draft, queued_at: Timestamp) -> Result<(), LedgerError> {
        let Draft { mut row, epoch, file, .. } = draft;
        let waiting = &self.ledger.waiting;
        (row.sequence, row.queued_at, self.queued_at) = (waiting.next_sequence(), queued_at, queued_at);
        row.put(tx, &self.call)?;
        file.named();
        // INVARIANT: on the writer thread, together with the row: whoever looks through the rows knows whose they are.
        waiting.insert(self.call, row.in_memory(Some(epoch), Place::Written));
        Ok(())
    }

    /// Takes the row away because the call starts. In the batch that writes its intent.
    pub(super) fn start(&mut self, tx: &mut Tx<'_>) -> Result<(), LedgerError> {
        let row = QueuedRow::get(tx, &self.call)?.ok_or(LedgerError::NotQueued { call: self.call })?;
        // INVARIANT: before the row goes, so that what the call is asked to do is there as long as the call may have to wait on.
        row.request.file().into_iter().for_each(|name| self.ledger.waiting.keep_file(name));
        row.remove(tx, &self.call)?;
        self.taken = Some(row);
        self.lease.as_ref().map_or(Ok(()), |lease| lease.keep(tx))
    }

    /// The intent of the call is durable.
    pub(super) fn started(&mut self) {
        self.stage = Stage::Started;
        self.give_up_file();
        self.ledger.waiting.remove(&self.call);
    }

    /// Puts the row back because the call did not start after all. Answers whether it waits on: not if nobody can tell any more
    /// what it is asked to do.
    pub(super) fn put_back(&self, tx: &mut Tx<'_>) -> Result<bool, LedgerError> {
        let Some(row) = &self.taken else { return Ok(false) };
        if let Some(name) = row.request.file() {
            match self.ledger.store.read_body(&name) {
                Ok(Some(_)) => tx.delete(keys::doomed_file(&name)),
                Ok(None) => return Ok(false),
                Err(error) => {
                    tracing::error!(call = %self.call, %error, "what a waiting call is asked to do can't be read; it is ended");
                    return Ok(false);
                }
            }
        }
        row.put(tx, &self.call)?;
        Ok(true)
    }

    fn give_up_file(&mut self) {
        let file = self.taken.take().and_then(|row| row.request.file());
        file.into_iter().for_each(|name| self.ledger.waiting.give_up_file(&name));
    }

    /// The row of the call was taken away in this group for good, although the call did not start.
    pub(super) fn gone(&mut self) {
        if self.stage == Stage::Waiting {
            self.stage = Stage::Gone;
        }
    }

    /// Has the row removed that nobody was told of, and gives the key back then.
    fn withdraw(&mut self) {
        let (ledger, call) = (Arc::clone(&self.ledger), self.call);
        ledger.waiting.withdraw(&call);
        let store = ledger.store.clone();
        let lease = self.lease.take();
        let mut withdrawn = Self { ledger, call, queued_at: self.queued_at, lease, stage: Stage::Withdrawing, taken: None };
        self.stage = Stage::Started;
        let remove = move |tx: &mut Tx<'_>| {
            ending::withdraw(tx, &call)?;
            withdrawn.stage = Stage::Gone;
            Ok::<_, LedgerError>(withdrawn)
        };
        // Logged by the store if it fails; whoever looks through the rows next removes this one.
        drop(store.submit(None, Urgency::Now, remove));
    }

    /// Leaves the call waiting, and its key taken.
    fn park(&mut self) {
        if self.ledger.waiting.park(&self.call)
            && let Some(lease) = self.lease.take()
        {
            lease.leave();
        }
    }
}

impl Drop for QueuedCall {
    fn drop(&mut self) {
        self.give_up_file();
        match self.stage {
            Stage::Draft | Stage::Started => {}
            Stage::Written => self.withdraw(),
            Stage::Returned => {
                self.ledger.waiting.accept(&self.call);
                self.park();
            }
            // A store that is shut may have lost the group. Whoever looks it through before it opens again knows.
            Stage::Gone if self.ledger.store.is_open() => self.ledger.waiting.remove(&self.call),
            Stage::Withdrawing | Stage::Waiting | Stage::Gone => self.park(),
        }
    }
}

impl std::fmt::Debug for QueuedCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueuedCall").field("call", &self.call).field("stage", &self.stage).finish_non_exhaustive()
    }
}

impl Origin {
    /// The call it is for, as far as it says.
    pub(super) fn call(&self) -> Option<CallId> {
        match self {
            Self::New(lease) => lease.as_ref().map(|lease| lease.call),
            Self::Queued(queued) => Some(queued.call),
        }
    }

    /// The hold on its idempotency key, for whoever goes on with it.
    pub(super) fn take_lease(&mut self) -> Option<Lease> {
        match self {
            Self::New(lease) => lease.take(),
            Self::Queued(queued) => queued.lease.take(),
        }
    }

    pub(super) fn lease(&self) -> Option<&Lease> {
        match self {
            Self::New(lease) => lease.as_ref(),
            Self::Queued(queued) => queued.lease(),
        }
    }

    /// Since when it waited, if it was written down before.
    pub(super) fn queued_at(&self) -> Option<Timestamp> {
        match self {
            Self::New(_) => None,
            Self::Queued(queued) => Some(queued.queued_at()),
        }
    }

    /// The call for whose outcome it asks again.
    pub(super) fn again(&self) -> Option<Again> {
        self.lease().and_then(Lease::again)
    }
}
