//! Waiting calls that nobody holds: found at the start, after a fault, or because whoever held them let go.

use std::collections::HashSet;
use std::sync::Arc;

use super::epochs::Epochs;
use super::row::{Opened, QueuedRow, Unreadable};
use super::waiting::{AfterFault, Stage as Place, WaitingCall};
use super::{Ending, Fate, QueuedCall, Stage, ending};
use crate::ledger::calls::{self, EndedRow, Kept};
use crate::ledger::idempotency::{self, ClaimRow, Lease};
use crate::ledger::listing::IntentSummary;
use crate::ledger::status::CallStatus;
use crate::ledger::{Inner, Ledger, LedgerError, keys};
use crate::model::{
    Arguments, CallId, Dialogue, Digest, Effect, IdempotencyKey, Principal, Question, Timestamp, ToolName, TraceContext,
};
use crate::store::{Tx, Urgency};

/// How many rows are read at a time, and how many calls ended in one commit.
const BATCH: usize = 256;

/// More rows than there can be.
const ALL: usize = usize::MAX;

/// A call that waited when the host stopped, as it was accepted.
#[derive(Debug)]
pub struct Requeued {
    /// The right to run or to end it; with it its idempotency key is held again.
    pub queued: QueuedCall,
    /// The trace it belongs to.
    pub trace: TraceContext,
    /// Who called.
    pub principal: Principal,
    /// What was called.
    pub tool: ToolName,
    /// The plugin the tool belonged to.
    pub plugin: String,
    /// The digest of what its caller could go by.
    pub face: Digest,
    /// Whether it may change the world.
    pub effect: Effect,
    /// With which arguments: validated then.
    pub arguments: Arguments,
    /// The idempotency key it came with.
    pub key: Option<IdempotencyKey>,
    /// It must not start later than this; if it asks, not be answered later.
    pub until: Timestamp,
    /// What its caller can be asked, and has answered so far.
    pub dialogue: Dialogue,
    /// What its caller has to be asked before it can run.
    pub asks: Vec<Question>,
}

impl Ledger {
    /// Whether there are waiting calls that nobody in this process holds.
    pub fn has_unheld_calls(&self) -> bool {
        self.inner.waiting.has_unheld()
    }

    /// Takes up the waiting calls that nobody in this process holds, oldest first. At the start that is all of them.
    ///
    /// A call that can't be read any more is ended instead, without an answer, and logged: its caller was erased, its row is damaged,
    /// or the data folder was restored from a backup, in which case a write may have run since and is unknown. Blocks on the disk.
    ///
    /// # Errors
    /// If the store or the folders of keys can't be read: nothing was taken up then.
    pub fn queued_calls(&self) -> Result<Vec<Requeued>, LedgerError> {
        let inner = &self.inner;
        let taken = inner.waiting.take_unheld().into_iter();
        // First all of them: those that are not come to are left waiting when this fails.
        let taken: Vec<_> = taken.map(|(call, waiting)| (QueuedCall::taken_up(inner, call, &waiting), waiting)).collect();
        let (mut readable, mut unreadable) = (Vec::with_capacity(taken.len()), Vec::new());
        for (mut queued, waiting) in taken {
            queued.lease = waiting.claim.map(|claim| Lease::left(inner, claim, queued.call)).transpose()?.flatten();
            let request = match inner.request(&queued.call, &waiting) {
                // One call that nothing is known of must not keep all the others waiting.
                Err(LedgerError::NotQueued { call }) => {
                    tracing::error!(%call, "a waiting call has no row and is forgotten");
                    queued.started();
                    continue;
                }
                request => request?,
            };
            match request {
                Ok(Opened { arguments, face, key, plugin, principal, tool, trace, dialogue, asks }) => {
                    let (effect, until) = (waiting.effect, waiting.until);
                    let requeued =
                        Requeued { queued, trace, principal, tool, plugin, face, effect, arguments, key, until, dialogue, asks };
                    readable.push(requeued);
                }
                Err(why) => {
                    tracing::warn!(call = %queued.call, %why, "a waiting call can't be read any more and is ended");
                    let fate = if why == Unreadable::KeyMissing { Fate::MayHaveRun } else { Fate::NotRun };
                    unreadable.push((queued, fate));
                }
            }
        }
        while !unreadable.is_empty() {
            let batch: Vec<_> = unreadable.drain(..unreadable.len().min(BATCH)).collect();
            let ended = inner.store.commit_blocking(Urgency::Now, move |tx| {
                let mut ended = Vec::with_capacity(batch.len());
                for (mut queued, fate) in batch {
                    Ending::unreadable(fate).write(tx, &queued.ledger, &queued.call)?;
                    queued.stage = Stage::Gone;
                    ended.push(queued);
                }
                Ok::<_, LedgerError>(ended)
            })?;
            drop(ended);
        }
        Ok(readable)
    }
}

impl QueuedCall {
    /// The call, without its lease.
    fn taken_up(ledger: &Arc<Inner>, call: CallId, waiting: &WaitingCall) -> Self {
        Self { ledger: Arc::clone(ledger), call, queued_at: waiting.queued_at, lease: None, stage: Stage::Waiting, taken: None }
    }
}

impl Inner {
    fn request(&self, call: &CallId, waiting: &WaitingCall) -> Result<Result<Opened, Unreadable>, LedgerError> {
        let Some(row) = self.store.get(&keys::queued(call))? else {
            return Err(LedgerError::NotQueued { call: *call });
        };
        QueuedRow::decode(call, &row)?.request.open(call, waiting.epoch.as_deref(), &self.store, &self.subjects)
    }

    /// What can be said of a waiting call; nothing if it can't be read.
    pub(in crate::ledger) fn waiting_summary(&self, call: &CallId, waiting: &WaitingCall) -> Result<IntentSummary, LedgerError> {
        Ok(match self.request(call, waiting) {
            Ok(Ok(opened)) => IntentSummary {
                tool: Some(opened.tool.to_string()),
                subject: Some(opened.principal.subject),
                trace_id: Some(opened.trace.trace_id()),
                // What is redacted in them only the tool's manifest says.
                arguments: None,
            },
            // It has started or ended meanwhile.
            Ok(Err(_)) | Err(LedgerError::NotQueued { .. }) => IntentSummary::default(),
            Err(error) => return Err(error),
        })
    }
}

/// Finds the calls that waited when the host stopped, reserves their idempotency keys, and destroys the keys of epochs that none of
/// them needs. At the start, before anybody makes claims. Blocks on the disk.
pub(in crate::ledger) fn load(inner: &Arc<Inner>) -> Result<(), LedgerError> {
    let mut from = keys::QUEUED_START.to_vec();
    let mut damaged = Vec::new();
    loop {
        let rows = inner.store.scan(&from, keys::QUEUED_END, BATCH)?;
        let Some(last) = rows.last() else { break };
        from = [&last.key[..], &[0]].concat();
        for entry in rows {
            let call = keys::queued_call(&entry.key)
                .ok_or_else(|| LedgerError::damaged("a queued call")("its key is of another length"))?;
            let row = entry.intact().map_err(LedgerError::from).and_then(|row| QueuedRow::decode(&call, &row));
            match row.and_then(|row| restore(inner, &call, &row)) {
                Ok(()) => {}
                Err(error @ (LedgerError::Damaged { .. } | LedgerError::Store(crate::store::StoreError::Damaged { .. }))) => {
                    tracing::error!(%call, %error, "a waiting call is damaged and is ended");
                    damaged.push(call);
                }
                Err(error) => return Err(error),
            }
        }
    }
    if !damaged.is_empty() {
        let ledger = Arc::clone(inner);
        inner
            .store
            .commit_blocking(Urgency::Now, move |tx| damaged.iter().try_for_each(|call| end_damaged(tx, &ledger, call)))?;
    }
    inner.epochs.destroy_unknown()
}

/// Puts a call back to where it was.
fn restore(inner: &Inner, call: &CallId, row: &QueuedRow) -> Result<(), LedgerError> {
    if let Some(claim) = &row.claim {
        let held = inner.store.get(&keys::claim(claim))?.map(|held| ClaimRow::decode(&held)).transpose()?;
        let held = held.filter(|held| held.is_of(call));
        let held = held.ok_or_else(|| LedgerError::damaged(format!("the queued row of {call}"))("its claim is not its own"))?;
        inner.reservations.restore(*claim, *call, held.print, row.queued_at);
    }
    let epoch = inner.epochs.find(&row.epoch)?;
    inner.waiting.insert(*call, row.in_memory(epoch, Place::Unheld));
    Ok(())
}

/// Ends a call whose row makes no sense. That it is there tells that the call has changed nothing; whose it was, nobody knows.
fn end_damaged(tx: &mut Tx<'_>, ledger: &Inner, call: &CallId) -> Result<(), LedgerError> {
    tx.delete(keys::queued(call));
    for (key, row) in tx.scan(keys::CLAIM_START, keys::CLAIM_END, ALL)? {
        if ClaimRow::decode(&row)?.is_of(call)
            && let Some(claim) = keys::claim_of(&key)
        {
            idempotency::give_back(tx, &claim, call)?;
        }
    }
    let now = ledger.clock.now();
    let ended = EndedRow {
        status: CallStatus::Released,
        effect: Effect::Write,
        claim: None,
        owner: Digest([0; 32]),
        queued_at: None,
        started: now,
        ended: now,
        expires: Some(Timestamp(now.as_millis().saturating_add(ledger.keep_answers_ms))),
        is_error: false,
        response: Kept::Nothing,
        intent: calls::NO_INTENT,
        asked_for: None,
        answered_by: None,
        resolved: None,
        cancelled: false,
    };
    ended.put(tx, call)
}

/// After a fault of the store: removes the rows that nobody was told of, and ends the calls whose end was decided and lost. What is
/// to happen once that is durable is handed back.
pub(in crate::ledger) fn mend(ledger: &Arc<Inner>, tx: &mut Tx<'_>) -> Result<impl FnOnce() + use<>, LedgerError> {
    let mut waiting = HashSet::new();
    for (key, _) in tx.scan(keys::QUEUED_START, keys::QUEUED_END, ALL)? {
        let call =
            keys::queued_call(&key).ok_or_else(|| LedgerError::damaged("a queued call")("its key is of another length"))?;
        match ledger.waiting.after_fault(&call) {
            AfterFault::Goes => ending::withdraw(tx, &call)?,
            AfterFault::Ends(ending) => ending.write(tx, ledger, &call)?,
            AfterFault::Stays => drop(waiting.insert(call)),
        }
    }
    let ledger = Arc::clone(ledger);
    Ok(move || {
        for (call, claim) in ledger.waiting.keep_only(&waiting) {
            ledger.reservations.release(&claim, &call);
        }
    })
}

impl Inner {
    /// Destroys the keys of epochs that nothing needs any more. Blocks on the disk.
    pub(in crate::ledger) fn destroy_epochs(&self, closing: bool) -> Result<(), LedgerError> {
        Epochs::destroy_unused(&self.epochs, closing)
    }
}
