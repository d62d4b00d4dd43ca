//! A call that is about to run: its intent, and the one outcome that must follow.

mod asked;

use std::sync::Arc;

use super::audit::{self, Draft};
use super::body::Body;
use super::calls::{self, EndedRow, Kept};
use super::chain::Kind;
use super::content::{self, About};
use super::facts::{Disposition, Generation, IntentFacts, OutcomeFacts};
use super::idempotency;
use super::open::{OpenCall, Place};
use super::queue::Origin;
use super::status::CallStatus;
use super::{Inner, Ledger, LedgerError, reask};
use crate::model::{CallId, Effect, Timestamp};
use crate::store::{Slot, Tx, Urgency};

pub use asked::NotAsked;

/// Proof that a call was written down, durably, before it runs.
///
/// INVARIANT: no intent without exactly one outcome. [`Ledger::record_outcome`] takes the intent and writes it; an intent that
/// is dropped instead (a panic, a lost task) writes by itself that the call was interrupted, or that its outcome is unknown;
/// after a crash the next start does.
#[derive(Debug)]
pub struct Intent {
    /// Taken when the outcome is on its way.
    pending: Option<Box<Pending>>,
}

/// A call whose outcome is still owed.
struct Pending {
    ledger: Arc<Inner>,
    open: OpenCall,
    /// Where the entry of the open call is.
    place: Place,
    origin: Origin,
    /// Room in the store for the outcome, reserved together with the intent's: an outcome never waits for room.
    slot: Option<Slot>,
    about: About,
    stage: Stage,
}

/// How far the intent got, which decides what it means that nobody ended it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Not written: it owes nothing.
    Draft,
    /// Written, but never handed to the caller, who had stopped waiting: the call certainly did not run.
    Written,
    /// Handed to the caller: the call may have run.
    Running,
}

/// How a call ended that nobody told the end of.
#[derive(Clone, Copy)]
pub(super) enum Lost {
    /// It never started.
    NotStarted,
    /// It may have run.
    Interrupted,
}

impl Ledger {
    /// Writes down that a call is about to run, and with it claims its idempotency key; a call that has waited stops waiting in
    /// the same batch. Durable on return: only then may it run.
    ///
    /// Dropped before it answers, or failing with a timeout, it makes sure that whatever has been written gets an outcome
    /// saying that the call did not start. A call that has waited then waits on.
    ///
    /// If its caller is erased at this moment, a call that has waited runs all the same, and its intent says what it can say of
    /// nobody: what it is asked to do could not be read once more.
    ///
    /// # Errors
    /// If the store fails or refuses, another call claimed the key, or the caller of one that has not waited is erased at this
    /// moment. The call must not run. If it has waited, it waits on, and
    /// [`Ledger::queued_calls`] gives it out again.
    pub async fn record_intent(&self, facts: &IntentFacts<'_>, origin: impl Into<Origin>) -> Result<Intent, LedgerError> {
        let inner = &self.inner;
        let origin = origin.into();
        debug_assert!(origin.call().is_none_or(|call| call == facts.call), "a lease, and a place in the queue, are for one call");
        let (slot, outcome_slot) = inner.store.reserve_pair().await?;
        let claim = origin.lease().map(|lease| (lease.claim, lease.print));
        let claim = claim.as_ref().map(|(claim, print)| (claim, print));
        let key = inner.subject_key(facts.principal).await?;
        let again = origin.again();
        let (mut body, secrets) = content::of_intent(&inner.secret, &key, facts, claim, again.map(|again| again.first));
        if !body.is_inline() {
            inner.store.check_space()?;
        }
        body.write_file(&inner.store).await?;
        let mut pending = Box::new(Pending {
            ledger: Arc::clone(inner),
            open: OpenCall {
                call: facts.call,
                effect: facts.tool.effect,
                risk: facts.tool.risk,
                claim: claim.map(|(claim, _)| *claim),
                owner: calls::owner(facts.principal),
                intent: calls::NO_INTENT,
                queued_at: origin.queued_at(),
                started: Timestamp(0),
                generation: facts.generation.number,
                policies: facts.generation.policies,
            },
            place: inner.open_calls.place(facts.call),
            origin,
            slot: Some(outcome_slot),
            about: About { tool: facts.tool.name.clone(), risk: facts.tool.risk, trace_id: facts.trace.trace_id(), key, secrets },
            stage: Stage::Draft,
        });
        let draft = Draft { kind: Kind::Intent, call: Some(facts.call), generation: facts.generation, body };
        let write = move |tx: &mut Tx<'_>| {
            pending.write(tx, draft)?;
            // From here on a drop matters: the answer below may find nobody waiting.
            Ok::<_, LedgerError>(Intent { pending: Some(pending) })
        };
        let mut intent = inner.store.commit_in(slot, write).await?;
        let pending = intent.pending();
        pending.stage = Stage::Running;
        pending.place.show(&pending.open);
        // In this order: at every moment the call can be found.
        if let Origin::Queued(queued) = &mut pending.origin {
            queued.started();
        }
        Ok(intent)
    }

    /// Writes down how a call ended; with it, the answer to replay and the end of the claim.
    ///
    /// A write's is durable on return, and so is that of a read with an idempotency key: the answer is promised to whoever comes
    /// with the same key. Any other read's is only on its way: it rides with the next group of commits, at the latest 50 ms
    /// later, and if the host crashes before that, the next start records the call as interrupted.
    ///
    /// # Errors
    /// If it could not be written, or not in time: then a write has to be answered as `outcome_unknown`. The record may still
    /// come to stand; whoever retries with the same key then gets the true answer.
    pub async fn record_outcome(&self, mut intent: Intent, facts: &OutcomeFacts<'_>) -> Result<(), LedgerError> {
        let inner = &self.inner;
        let pending = intent.pending();
        let (call, effect, keyed) = (pending.open.call, pending.open.effect, pending.origin.lease().is_some());
        if inner.subjects.is_retired(&pending.about.key.id) {
            // Its caller was erased while it ran. What comes behind that is written under a new key.
            pending.about.key = inner.key_of(pending.about.key.tag).await?;
        }
        let told = serde_json::to_vec(&facts.answer.value).expect("JSON values serialize");
        let mut body = content::of_outcome(&inner.secret, facts, &told, pending.open.intent, keyed, &pending.about);
        let mut remembered = facts.handle_given || (keyed && facts.disposition == Disposition::Done);
        remembered |= pending.origin.lease().is_some_and(|lease| lease.close(remembered));
        let mut end = End { cancelled: facts.cancelled, ..End::of(facts.disposition, remembered) };
        end.asked_for = pending.origin.again().map(|again| again.first);
        if end.remembered && facts.disposition != Disposition::Unknown {
            let same = std::ptr::eq(facts.answer, facts.kept);
            let kept = if same { told } else { serde_json::to_vec(&facts.kept.value).expect("JSON values serialize") };
            // Whoever comes with the key finds the answer with the call that made the claim.
            let sealed = Kept::sealed(&pending.about.key, &end.asked_for.unwrap_or(call), &kept);
            end.response = Kept::keep(&inner.store, sealed).await?;
            end.is_error = facts.kept.is_error;
        }
        body.write_file(&inner.store).await?;
        // INVARIANT: no await between taking the debt off the intent and handing in the commit that pays it.
        let mut pending = intent.pending.take().expect("an intent holds its debt until here");
        let slot = pending.slot.take();
        let (disposition, ended) = (facts.disposition.as_str(), content::ended(&facts.outcome.ended));
        let urgency = if effect == Effect::Write || keyed { Urgency::Now } else { Urgency::Soon };
        let settle = move |tx: &mut Tx<'_>| {
            let rest = || content::of_lost(disposition, ended, pending.open.intent, pending.open.risk);
            let body = body.or_impersonal(tx, &pending.ledger.subjects, rest)?;
            pending.settle(tx, body, end)?;
            // What it holds, above all the claim's reservation, is given up when this answer is dropped: once it is durable.
            Ok::<_, LedgerError>(pending)
        };
        let receipt = inner.store.submit(slot, urgency, settle);
        if urgency == Urgency::Soon {
            return Ok(());
        }
        receipt.durable().await.map(drop)
    }
}

impl Intent {
    /// Whether the call holds an idempotency key.
    pub fn is_keyed(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.origin.lease().is_some())
    }

    /// The call for whose outcome it asks again.
    pub fn asks_for(&self) -> Option<CallId> {
        self.pending.as_ref()?.origin.again().map(|again| again.first)
    }

    fn pending(&mut self) -> &mut Pending {
        self.pending.as_deref_mut().expect("an intent holds its debt as long as anybody can see it")
    }
}

impl Drop for Intent {
    fn drop(&mut self) {
        let Some(mut pending) = self.pending.take() else { return };
        let lost = match pending.stage {
            Stage::Draft => return,
            Stage::Written => Lost::NotStarted,
            Stage::Running => Lost::Interrupted,
        };
        let call = pending.open.call;
        tracing::warn!(%call, "an intent was dropped without an outcome; recording that it was lost");
        let slot = pending.slot.take();
        let store = pending.ledger.store.clone();
        let settle = move |tx: &mut Tx<'_>| match pending.abandon(tx, lost) {
            Ok(()) => Ok(Some(pending)),
            // The intent's own commit failed, and what it was to write is not on the disk: there is nothing to end.
            Err(LedgerError::NotOpen { .. }) if pending.stage == Stage::Written => Ok(None),
            Err(error) => Err(error),
        };
        // Logged by the store if it fails; whoever looks through the open calls next closes this one.
        drop(store.submit(slot, Urgency::Now, settle));
    }
}

impl Pending {
    /// Writes the intent, the open row and the claim, and takes the queued row away, all in one batch.
    fn write(&mut self, tx: &mut Tx<'_>, mut draft: Draft) -> Result<(), LedgerError> {
        let now = self.ledger.clock.now();
        match &mut self.origin {
            Origin::New(lease) => {
                lease.as_ref().map_or(Ok(()), |lease| lease.take(tx, now))?;
                if self.ledger.subjects.is_retired(&self.about.key.id) {
                    let problem = "its caller was erased at this moment; try again".to_owned();
                    return Err(LedgerError::Refused { what: format!("the intent of {}", self.open.call), problem });
                }
            }
            Origin::Queued(queued) => {
                queued.start(tx)?;
                // That it would run was promised, and nobody can take it up again: its row is sealed with the key that goes.
                let OpenCall { effect, risk, .. } = self.open;
                draft.body = draft.body.or_impersonal(tx, &self.ledger.subjects, || content::of_nobody(effect, risk))?;
            }
        }
        self.open.intent = audit::append(tx, draft, now)?;
        self.open.started = now;
        self.place.put(tx, &self.open)?;
        self.stage = Stage::Written;
        Ok(())
    }

    /// Writes the outcome and closes the call: record, end of the open call, answer and claim in one batch.
    ///
    /// INVARIANT: the first outcome takes the entry at `place` away, so there is no second one.
    fn settle(&mut self, tx: &mut Tx<'_>, body: Body, end: End) -> Result<(), LedgerError> {
        self.place.remove(tx, &self.open.call)?;
        self.open.end(tx, &self.ledger, body, end)?;
        self.place.vacate();
        Ok(())
    }

    /// Writes an outcome that nobody told. A call that had waited and certainly did not start waits on: that it would run was
    /// promised to whoever was given its handle.
    fn abandon(&mut self, tx: &mut Tx<'_>, lost: Lost) -> Result<(), LedgerError> {
        let (body, end) = self.open.lost(lost);
        self.place.remove(tx, &self.open.call)?;
        match &mut self.origin {
            Origin::Queued(queued) => match matches!(lost, Lost::NotStarted) && queued.put_back(tx)? {
                true => {
                    self.open.note_end(tx, &self.ledger, body)?;
                }
                false => {
                    self.open.end(tx, &self.ledger, body, end)?;
                    queued.gone();
                }
            },
            Origin::New(_) => self.open.end(tx, &self.ledger, body, end)?,
        }
        self.place.vacate();
        Ok(())
    }
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending").field("call", &self.open.call).field("seq", &self.open.intent).finish_non_exhaustive()
    }
}

/// What an ended call leaves behind.
pub(super) struct End {
    pub status: CallStatus,
    /// Whether somebody may ask for it.
    pub remembered: bool,
    pub is_error: bool,
    pub response: Kept,
    /// Whether its caller cancelled it.
    pub cancelled: bool,
    /// The call for whose outcome it asked again.
    pub asked_for: Option<CallId>,
}

impl End {
    fn of(disposition: Disposition, remembered: bool) -> Self {
        let status = match disposition {
            Disposition::Done => CallStatus::Done,
            Disposition::Released => CallStatus::Released,
            Disposition::Unknown => CallStatus::Unknown,
            Disposition::Waiting => unreachable!("a call that waits has not ended"),
        };
        Self { status, remembered, is_error: false, response: Kept::Nothing, cancelled: false, asked_for: None }
    }
}

impl OpenCall {
    /// Writes the outcome of a call whose entry the caller takes away in the same commit: record, answer and claim.
    pub(super) fn end(&self, tx: &mut Tx<'_>, ledger: &Inner, body: Body, end: End) -> Result<(), LedgerError> {
        let call = self.call;
        let now = self.note_end(tx, ledger, body)?;
        if let Some(claim) = &self.claim {
            let again = match end.status {
                CallStatus::Done => end.asked_for,
                // After a crash nobody else remembers, and without an answer it is worth a look.
                _ => reask::asked_for(tx, claim, &call)?,
            };
            if let Some(first) = again {
                return self.end_again(tx, ledger, first, end, now);
            }
            if end.status == CallStatus::Released {
                idempotency::free(tx, claim, &call)?;
            }
        }
        // What is unknown is remembered in any case, and for good: somebody has to find out.
        let unknown = end.status == CallStatus::Unknown;
        if !end.remembered && !unknown {
            return Ok(());
        }
        let expires = (!unknown).then(|| Timestamp(now.as_millis().saturating_add(ledger.keep_answers_ms)));
        let row = EndedRow {
            status: end.status,
            effect: self.effect,
            claim: self.claim,
            owner: self.owner,
            queued_at: self.queued_at,
            started: self.started,
            ended: now,
            expires,
            is_error: end.is_error,
            response: end.response,
            intent: self.intent,
            asked_for: None,
            answered_by: None,
            resolved: None,
            cancelled: end.cancelled,
        };
        row.put(tx, &call)
    }

    /// Writes the record of the outcome, and nothing else.
    fn note_end(&self, tx: &mut Tx<'_>, ledger: &Inner, body: Body) -> Result<Timestamp, LedgerError> {
        let now = ledger.clock.now();
        let generation = Generation { number: self.generation, policies: self.policies };
        audit::append(tx, Draft { kind: Kind::Outcome, call: Some(self.call), generation, body }, now)?;
        Ok(now)
    }

    /// The outcome of a call that nobody told the end of.
    pub(super) fn lost(&self, lost: Lost) -> (Body, End) {
        let (ended, disposition) = match (lost, self.effect) {
            (Lost::NotStarted, _) => ("not_started", Disposition::Released),
            (Lost::Interrupted, Effect::Read) => ("interrupted", Disposition::Released),
            (Lost::Interrupted, Effect::Write) => ("outcome_unknown", Disposition::Unknown),
        };
        (content::of_lost(disposition.as_str(), ended, self.intent, self.risk), End::of(disposition, true))
    }
}
