//! The end of a call that waited and did not run, or did no more than ask: its row goes, its key is given back, and what it is answered is kept.

use super::row::QueuedRow;
use crate::ledger::calls::{self, EndedRow, Kept};
use crate::ledger::status::CallStatus;
use crate::ledger::{Inner, LedgerError, idempotency, reask};
use crate::model::{CallId, Effect, Timestamp};
use crate::store::Tx;

/// How a call ends that waited and that this process did not run.
pub(in crate::ledger) struct Ending {
    pub fate: Fate,
    pub is_error: bool,
    pub response: Kept,
    pub cancelled: bool,
}

/// What is known of a call whose row is there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::ledger) enum Fate {
    /// It certainly did not run.
    NotRun,
    /// The row is an old copy: it may have run since.
    MayHaveRun,
}

impl Ending {
    /// That nobody can read the request any more.
    pub fn unreadable(fate: Fate) -> Self {
        Self { fate, is_error: false, response: Kept::Nothing, cancelled: false }
    }

    /// Takes the row of a waiting call away and writes how it ended, with its claim; nothing if the row is gone already.
    pub fn write(&self, tx: &mut Tx<'_>, ledger: &Inner, call: &CallId) -> Result<(), LedgerError> {
        let Some(row) = QueuedRow::get(tx, call)? else { return Ok(()) };
        row.remove(tx, call)?;
        let now = ledger.clock.now();
        let unknown = self.fate == Fate::MayHaveRun && row.effect == Effect::Write;
        let mut asked_for = None;
        if let Some(claim) = &row.claim {
            match unknown {
                true => asked_for = reask::give_up(tx, claim, call)?,
                false => idempotency::give_back(tx, claim, call)?,
            }
        }
        let expires = Timestamp(now.as_millis().saturating_add(ledger.keep_answers_ms));
        let ended = EndedRow {
            status: if unknown { CallStatus::Unknown } else { CallStatus::Released },
            effect: row.effect,
            claim: row.claim.filter(|_| asked_for.is_none()),
            owner: row.owner,
            queued_at: Some(row.queued_at),
            started: row.queued_at,
            ended: now,
            // What is unknown is remembered for good, but for what only asked for the outcome of another call.
            expires: (!unknown || asked_for.is_some()).then_some(expires),
            is_error: self.is_error,
            response: self.response.clone(),
            intent: calls::NO_INTENT,
            asked_for,
            answered_by: None,
            resolved: None,
            cancelled: self.cancelled,
        };
        ended.put(tx, call)
    }
}

/// Takes away the row of a call that nobody was told of, and its claim.
pub(in crate::ledger) fn withdraw(tx: &mut Tx<'_>, call: &CallId) -> Result<(), LedgerError> {
    let Some(row) = QueuedRow::get(tx, call)? else { return Ok(()) };
    row.remove(tx, call)?;
    row.claim.map_or(Ok(()), |claim| idempotency::give_back(tx, &claim, call))
}
