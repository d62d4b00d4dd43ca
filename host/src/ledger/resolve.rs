//! Settling what is unknown by somebody who has looked: an operator says whether a call took effect.

use serde::Serialize;

use super::audit::{self, Draft};
use super::body::Body;
use super::calls::{EndedRow, Kept, Verdict};
use super::chain::Kind;
use super::facts::{Generation, StoredResponse};
use super::idempotency::{self, ClaimRow};
use super::status::CallStatus;
use super::{Ledger, LedgerError, keys};
use crate::model::{CallId, Digest, Timestamp};
use crate::store::{Tx, Urgency};

/// The longest note to a resolution, in bytes: as JSON, where a byte may take six, it still fits into a row.
pub const NOTE_MAX: usize = 500;

/// What an operator says about a call.
#[derive(Clone, Debug)]
pub struct Resolution {
    /// The call.
    pub call: CallId,
    /// What became of it.
    pub verdict: Verdict,
    /// What whoever comes with its key is answered if it took effect: nobody knows the true answer.
    pub answer: StoredResponse,
    /// Who says so.
    pub by: String,
    /// How they know, at most [`NOTE_MAX`] bytes.
    pub note: Option<String>,
}

impl Ledger {
    /// Settles a call whose outcome is unknown, and writes down who did, in one batch. Blocks until it is durable.
    ///
    /// # Errors
    /// [`LedgerError::Forgotten`] or [`LedgerError::NotUnknown`] if there is nothing to settle; or if the store fails or refuses. Nothing has changed then.
    pub fn resolve(&self, resolution: Resolution) -> Result<(), LedgerError> {
        let Resolution { call, verdict, answer, by, note } = resolution;
        let not_unknown = |problem: &str| LedgerError::NotUnknown { call, problem: problem.to_owned() };
        if note.as_ref().is_some_and(|note| note.len() > NOTE_MAX) {
            return Err(not_unknown(&format!("the note is longer than {NOTE_MAX} bytes")));
        }
        if self.inner.open_calls.running(&call).is_some() {
            return Err(not_unknown("it is still running, and its own outcome will settle it"));
        }
        if self.inner.waiting.get(&call).is_some() {
            return Err(not_unknown("it waits for its turn and has not begun: it has changed nothing"));
        }
        let store = &self.inner.store;
        store.check_space()?;
        let content = ResolvedBody { action: "call_resolved", by: &by, call, note: note.as_deref(), verdict };
        let body = Body::plain(&content);
        assert!(body.is_inline(), "a note and a name fit into a row");
        let in_force = self.last_generation()?.map(|last| last.version);
        let generation = in_force.map_or(Generation { number: 0, policies: Digest([0; 32]) }, |version| Generation {
            number: version.generation,
            policies: version.policies,
        });
        let json = serde_json::to_vec(&answer.value).expect("JSON values serialize");
        let kept = Kept::plain(&json);
        let (clock, keep_ms) = (self.inner.clock.clone(), self.inner.keep_answers_ms);
        store.commit_blocking(Urgency::Now, move |tx| {
            let row = unknown_row(tx, &call)?;
            let now = clock.now();
            let expires = Some(Timestamp(now.as_millis().saturating_add(keep_ms)));
            let settled = EndedRow { ended: now, expires, resolved: Some(verdict), ..row };
            let settled = match verdict {
                Verdict::Executed => EndedRow { status: CallStatus::Done, is_error: answer.is_error, response: kept, ..settled },
                Verdict::NotExecuted => EndedRow { status: CallStatus::Released, ..settled },
            };
            if let (Verdict::NotExecuted, Some(claim)) = (verdict, &settled.claim) {
                idempotency::free(tx, claim, &call)?;
            }
            settled.put(tx, &call)?;
            tx.delete(keys::unknown(settled.started, &call));
            audit::append(tx, Draft { kind: Kind::Admin, call: Some(call), generation, body }, now)?;
            Ok::<_, LedgerError>(())
        })
    }
}

/// The row of a call that nobody knows the end of.
///
/// INVARIANT: on the writer thread, so that of two who settle the same call one is told that it is settled.
fn unknown_row(tx: &Tx<'_>, call: &CallId) -> Result<EndedRow, LedgerError> {
    let not_unknown = |problem: String| LedgerError::NotUnknown { call: *call, problem };
    let row = tx.get(&keys::ended(call))?.ok_or(LedgerError::Forgotten { call: *call })?;
    let row = EndedRow::decode(call, &row)?;
    if let Some(first) = row.asked_for {
        return Err(not_unknown(format!("it only asked again for the outcome of {first}; resolve that one")));
    }
    if let Some(verdict) = row.resolved {
        let at = super::listing::time(row.ended);
        return Err(not_unknown(format!("it was resolved as {} already, at {at}", verdict.as_str())));
    }
    match row.status {
        CallStatus::Unknown => {}
        CallStatus::Done => return Err(not_unknown("it is done, and its answer is kept".to_owned())),
        CallStatus::Queued | CallStatus::Asking | CallStatus::Running | CallStatus::Released => {
            return Err(not_unknown("it is released: it certainly changed nothing, and its key is free".to_owned()));
        }
    }
    let asking = row.claim.as_ref().map(|claim| ClaimRow::get(tx, claim)).transpose()?.flatten().and_then(|held| held.asking);
    match asking {
        None => Ok(row),
        Some(asking) => {
            Err(not_unknown(format!("{asking} asks its backend again at this very moment; look again when it has ended")))
        }
    }
}

#[derive(Serialize)]
struct ResolvedBody<'a> {
    action: &'static str,
    by: &'a str,
    call: CallId,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    verdict: Verdict,
}
