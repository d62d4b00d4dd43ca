//! Settling what is unknown by asking again: for tools whose backends honour idempotency keys.
//!
//! The call is run once more under the same claim, so that its requests carry the same keys as before: whatever the backend did
//! then, it does no second time, and it gives the answer it gave or would have given. The other run is a call of its own, with
//! its own intent and outcome; if it gets the answer, the first call is done with it. Where anything may be different from the
//! first time, nothing is asked.

use std::time::Duration;

use super::calls::{EndedRow, Kept};
use super::idempotency::{ClaimRow, Stored};
use super::intent::End;
use super::open::OpenCall;
use super::status::CallStatus;
use super::{Inner, LedgerError, keys};
use crate::model::{CallId, Digest, Timestamp};
use crate::store::Tx;

/// What it takes to ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reasking {
    /// What runs the call: its component, and where the backends are. Another one may ask for something else, or somebody else.
    pub executor: Digest,
    /// For how long after the first intent the backends are sure to know a key.
    pub window: Duration,
}

/// Another try at a call whose outcome nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    /// The call that made the claim.
    pub first: CallId,
    /// How many tries this one makes it; 2 is the first one here.
    pub attempt: u32,
}

impl Again {
    /// Whether this is still the next try at what `held` stands for.
    pub(super) fn is_next(&self, tx: &Tx<'_>, held: &ClaimRow) -> Result<bool, LedgerError> {
        if held.call != self.first || held.asking.is_some() || held.attempts.saturating_add(1) != self.attempt {
            return Ok(false);
        }
        let row = tx.get(&keys::ended(&self.first))?.map(|row| EndedRow::decode(&self.first, &row)).transpose()?;
        Ok(row.is_some_and(|row| row.status == CallStatus::Unknown))
    }
}

impl Stored {
    /// The next try, if its call may be asked for again.
    pub(super) fn asked_again(&self, reasking: Option<&Reasking>, now: Timestamp) -> Option<Again> {
        let Reasking { executor, window } = reasking?;
        // A clock that was set back since tells nothing about how much of the window is left.
        let age = now.as_millis().checked_sub(self.row.started.as_millis())?;
        let is_open = u128::from(age) < window.as_millis();
        let is_same = self.held.executor == Some(*executor) && self.held.asking.is_none();
        let attempt = self.held.attempts.checked_add(1)?;
        (self.row.status == CallStatus::Unknown && is_open && is_same).then_some(Again { first: self.held.call, attempt })
    }
}

/// The call for whose outcome `call`, which holds `claim`, asked again; `None` if it is the first.
pub(super) fn asked_for(tx: &Tx<'_>, claim: &Digest, call: &CallId) -> Result<Option<CallId>, LedgerError> {
    Ok(ClaimRow::get(tx, claim)?.filter(|held| held.asking == Some(*call)).map(|held| held.call))
}

/// Ends the asking of `call`, which may have asked or not: what it asked for is as unknown as before. Answers the call it asked
/// for; `None` if it is the first.
pub(super) fn give_up(tx: &mut Tx<'_>, claim: &Digest, call: &CallId) -> Result<Option<CallId>, LedgerError> {
    let Some(held) = ClaimRow::get(tx, claim)?.filter(|held| held.asking == Some(*call)) else { return Ok(None) };
    let first = held.call;
    ClaimRow { asking: None, ..held }.put(tx, claim)?;
    Ok(Some(first))
}

impl OpenCall {
    /// The end of a call that asked again for the outcome of `first`: with an answer, `first` is done; without one, it is as
    /// unknown as before. The record of the outcome is already written.
    ///
    /// INVARIANT: in the batch of that record. Whatever this run did or did not send says nothing about what the first one did:
    /// the claim is never freed here.
    pub(super) fn end_again(
        &self,
        tx: &mut Tx<'_>,
        ledger: &Inner,
        first: CallId,
        end: End,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let claim = self.claim.as_ref().expect("a call that asks again has a claim");
        if let Some(held) = ClaimRow::get(tx, claim)? {
            ClaimRow { asking: None, ..held }.put(tx, claim)?;
        }
        let expires = Timestamp(now.as_millis().saturating_add(ledger.keep_answers_ms));
        if end.status == CallStatus::Done {
            let row = tx.get(&keys::ended(&first))?.map(|row| EndedRow::decode(&first, &row)).transpose()?;
            let row = row.filter(|row| row.status == CallStatus::Unknown).ok_or_else(|| {
                LedgerError::damaged(format!("the ended row of {first}"))("it is not unknown although a call asked again for it")
            })?;
            let settled = EndedRow {
                status: CallStatus::Done,
                ended: now,
                expires: Some(expires),
                is_error: end.is_error,
                response: end.response,
                answered_by: Some(self.call),
                ..row
            };
            settled.put(tx, &first)?;
            tx.delete(keys::unknown(settled.started, &first));
        }
        // Whoever was told this call's id finds the first one by it, for as long as an answer would be kept.
        let pointer = EndedRow {
            status: end.status,
            effect: self.effect,
            claim: None,
            owner: self.owner,
            queued_at: self.queued_at,
            started: self.started,
            ended: now,
            expires: Some(expires),
            is_error: false,
            response: Kept::Nothing,
            intent: self.intent,
            asked_for: Some(first),
            answered_by: None,
            resolved: None,
            cancelled: end.cancelled,
        };
        pointer.put(tx, &self.call)
    }
}
