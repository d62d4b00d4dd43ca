//! The life of a call in the ledger: open from its intent to its outcome, then kept for whoever may ask for the answer.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::cbor::{self, Malformed, Reader};
use super::facts::StoredResponse;
use super::open::{effect_number, read_effect};
use super::status::CallStatus;
use super::subjects::SubjectKey;
use super::{Ledger, LedgerError, keys};
use crate::model::{CallId, Digest, Effect, Principal, Timestamp};
use crate::store::{MAX_PAYLOAD, Store, StoreError, Tx};

/// Where a call stands, as far as the ledger remembers it.
///
/// It remembers calls that wait or run, and for a day those that may be asked for. Of all others only the audit log tells.
#[derive(Clone, Debug, PartialEq)]
pub struct CallState {
    /// The call.
    pub call: CallId,
    /// Where it stands.
    pub status: CallStatus,
    /// Whether it may change the world.
    pub effect: Effect,
    /// Since when it waited for its turn, if that was written down.
    pub queued_at: Option<Timestamp>,
    /// When its intent was recorded; `None` if it has not started, or never did.
    pub started: Option<Timestamp>,
    /// When its outcome, or its end without having run, was recorded.
    pub ended: Option<Timestamp>,
    /// When it is forgotten; `None` while it has not ended, or its outcome is unknown.
    pub expires: Option<Timestamp>,
    /// Whether its caller cancelled it.
    pub cancelled: bool,
    /// What an operator found out about it.
    pub resolved: Option<Verdict>,
    /// The answer it was given, if it is kept: of a call that ended without anybody who could tell there is none.
    pub response: Option<StoredResponse>,
    owner: Digest,
}

impl CallState {
    /// Whether it is this caller's call. Whoever else asks for it must not even learn that it exists.
    pub fn is_of(&self, principal: &Principal) -> bool {
        self.owner == owner(principal)
    }
}

/// Where a call stands, and if it has ended, whose row holds the answer.
type Found = (CallState, Option<(CallId, EndedRow)>);

/// The sequence of the intent of a call that never had one.
pub(super) const NO_INTENT: u64 = 0;

impl CallState {
    /// That of a call that waits, or runs.
    fn unfinished(call: CallId, status: CallStatus, effect: Effect, owner: Digest, queued_at: Option<Timestamp>) -> Self {
        Self {
            call,
            status,
            effect,
            queued_at,
            started: None,
            ended: None,
            expires: None,
            cancelled: false,
            resolved: None,
            response: None,
            owner,
        }
    }
}

impl Ledger {
    /// Where a call stands; `None` if the ledger does not remember it. May touch the disk, as reads of the store do.
    ///
    /// # Errors
    /// If the store can't be read, or holds nonsense.
    pub fn call(&self, call: &CallId) -> Result<Option<CallState>, LedgerError> {
        let Some((state, ended)) = self.found(call)? else { return Ok(None) };
        let response = ended.map(|(holder, row)| self.response(&holder, &row)).transpose()?.flatten();
        Ok(Some(CallState { response, ..state }))
    }

    /// Where a call stands, without the answer it was given, which may be in a file.
    ///
    /// # Errors
    /// As [`Ledger::call`].
    pub fn standing(&self, call: &CallId) -> Result<Option<CallState>, LedgerError> {
        Ok(self.found(call)?.map(|(state, _)| state))
    }

    fn found(&self, call: &CallId) -> Result<Option<Found>, LedgerError> {
        // In this order: a call stops waiting, for all to see, only once it runs or its ended row is durable, and stops running
        // only once that row is durable. Before that the row may be there already, but after a power cut it might not.
        if let Some(waiting) = self.inner.waiting.get(call) {
            let queued_at = Some(waiting.queued_at);
            return Ok(Some((CallState::unfinished(*call, waiting.status(), waiting.effect, waiting.owner, queued_at), None)));
        }
        if let Some(open) = self.inner.open_calls.running(call) {
            let state = CallState::unfinished(*call, CallStatus::Running, open.effect, open.owner, open.queued_at);
            return Ok(Some((CallState { started: Some(open.started), ..state }, None)));
        }
        let Some(row) = self.inner.store.get(&keys::ended(call))? else { return Ok(None) };
        let row = EndedRow::decode(call, &row)?;
        if row.is_expired(self.now()) {
            return Ok(None);
        }
        let Some((holder, answering)) = self.answering(call, &row)? else { return Ok(None) };
        let state = CallState {
            call: *call,
            status: answering.status,
            effect: row.effect,
            queued_at: row.queued_at,
            started: (row.intent != NO_INTENT).then_some(row.started),
            ended: Some(row.ended),
            expires: row.expires.into_iter().chain(answering.expires).min(),
            cancelled: row.cancelled,
            resolved: answering.resolved,
            response: None,
            owner: row.owner,
        };
        Ok(Some((state, Some((holder, answering)))))
    }

    /// The row that tells how an ended call stands, and whose it is: its own, or that of the call it asked again for. `None` if
    /// that is forgotten.
    pub(super) fn answering(&self, call: &CallId, row: &EndedRow) -> Result<Option<(CallId, EndedRow)>, LedgerError> {
        let Some(first) = row.asked_for else { return Ok(Some((*call, row.clone()))) };
        let Some(row) = self.inner.store.get(&keys::ended(&first))? else { return Ok(None) };
        let row = EndedRow::decode(&first, &row)?;
        Ok((!row.is_expired(self.now())).then_some((first, row)))
    }

    /// The response kept with an ended call.
    pub(super) fn response(&self, call: &CallId, row: &EndedRow) -> Result<Option<StoredResponse>, LedgerError> {
        let damaged = |problem: &str| LedgerError::damaged(format!("the response of {call}"))(problem);
        let sealed = match &row.response {
            Kept::Nothing => return Ok(None),
            Kept::Inline(sealed) => sealed.clone(),
            Kept::InFile(name) => self.inner.store.read_body(name)?.ok_or_else(|| damaged("its file is missing"))?,
        };
        let json = match sealed.split_first() {
            Some((&PLAIN, json)) => json.to_vec(),
            Some((&SEALED, rest)) => {
                let (id, sealed) = rest.split_first_chunk().ok_or_else(|| damaged("it is cut short"))?;
                let key = self.inner.subjects.by_id(id)?.ok_or_else(|| LedgerError::Refused {
                    what: format!("the answer to {call}"),
                    problem: "everything about its caller was erased".to_owned(),
                })?;
                key.unseal(call.as_bytes(), sealed).ok_or_else(|| damaged("it does not decrypt"))?
            }
            _ => return Err(damaged("it makes no sense")),
        };
        let value = serde_json::from_slice(&json).map_err(LedgerError::damaged(format!("the response of {call}")))?;
        Ok(Some(StoredResponse { value, is_error: row.is_error }))
    }
}

/// The row of an ended call that may be asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct EndedRow {
    pub status: CallStatus,
    pub effect: Effect,
    pub claim: Option<Digest>,
    pub owner: Digest,
    /// Since when it waited for its turn, if that was written down.
    pub queued_at: Option<Timestamp>,
    /// When its intent was recorded; since when it waited, if it never had one.
    pub started: Timestamp,
    pub ended: Timestamp,
    /// When it is forgotten; never, while its outcome is unknown.
    pub expires: Option<Timestamp>,
    pub is_error: bool,
    pub response: Kept,
    /// The sequence of its intent, or [`NO_INTENT`].
    pub intent: u64,
    /// The call for whose outcome it asked again: that call's row tells how this one stands.
    pub asked_for: Option<CallId>,
    /// The call that asked again for its outcome and got the answer.
    pub answered_by: Option<CallId>,
    /// What an operator found out about it.
    pub resolved: Option<Verdict>,
    /// Whether its caller cancelled it.
    pub cancelled: bool,
}

/// What an operator found out about a call whose outcome was unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It took effect.
    Executed,
    /// It changed nothing.
    NotExecuted,
}

impl Verdict {
    /// The verdict as verbs and records spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Executed => "executed",
            Self::NotExecuted => "not-executed",
        }
    }
}

/// The encrypted response of an ended call.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Kept {
    #[default]
    Nothing,
    Inline(Vec<u8>),
    /// In the body file of this name.
    InFile(Digest),
}

/// A response in clear follows: one that is about nobody.
const PLAIN: u8 = 0;
/// A key id follows, then the response, sealed with that key.
const SEALED: u8 = 1;

impl Kept {
    /// A response that nobody but the ledger has written.
    pub fn plain(json: &[u8]) -> Self {
        Self::Inline([&[PLAIN], json].concat())
    }

    /// A response as it is kept: readable with the caller's key, for this call.
    pub fn sealed(key: &SubjectKey, call: &CallId, json: &[u8]) -> Vec<u8> {
        [&[SEALED], &key.id[..], &key.seal(call.as_bytes(), json)].concat()
    }

    /// The longest response that still fits into the row with everything else there is, in bytes.
    const INLINE_MAX: usize = MAX_PAYLOAD - 320;

    /// Finds a place for an encrypted response; durable before any row can name it.
    pub async fn keep(store: &Store, sealed: Vec<u8>) -> Result<Self, StoreError> {
        if sealed.len() <= Self::INLINE_MAX {
            return Ok(Self::Inline(sealed));
        }
        store.write_body(sealed).await.map(Self::InFile)
    }
}

impl EndedRow {
    /// Writes the row, and the entry that finds it when it expires, or as long as it is unknown.
    pub fn put(&self, tx: &mut Tx<'_>, call: &CallId) -> Result<(), LedgerError> {
        tx.put(keys::ended(call), self.encode())?;
        // INVARIANT: what never expires is what is unknown, and can be found as such.
        match self.expires {
            Some(expires) => tx.put(keys::expiry(expires, call), Vec::new())?,
            None => tx.put(keys::unknown(self.started, call), Vec::new())?,
        }
        Ok(())
    }

    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Whether the call's idempotency key is still taken.
    pub fn holds_claim(&self, now: Timestamp) -> bool {
        self.status != CallStatus::Released && !self.is_expired(now)
    }

    pub fn encode(&self) -> Vec<u8> {
        let status = match self.status {
            CallStatus::Queued | CallStatus::Asking | CallStatus::Running => unreachable!("an ended call neither waits nor runs"),
            CallStatus::Done => 0,
            CallStatus::Released => 1,
            CallStatus::Unknown => 2,
        };
        cbor::encode(256, |writer| {
            writer.array(17).number(3).number(status).number(effect_number(self.effect));
            writer.maybe_bytes(self.claim.as_ref().map(|claim| &claim.0[..])).bytes(&self.owner.0);
            writer.number(self.started.as_millis()).number(self.ended.as_millis());
            // No expiry is the end of time: the row keeps its shape.
            writer.number(self.expires.map_or(u64::MAX, Timestamp::as_millis)).number(self.is_error.into());
            let (inline, file) = match &self.response {
                Kept::Nothing => (None, None),
                Kept::Inline(sealed) => (Some(&sealed[..]), None),
                Kept::InFile(name) => (None, Some(&name.0[..])),
            };
            writer.maybe_bytes(inline).maybe_bytes(file).number(self.intent);
            writer.maybe_bytes(self.asked_for.as_ref().map(|call| &call.as_bytes()[..]));
            writer.maybe_bytes(self.answered_by.as_ref().map(|call| &call.as_bytes()[..]));
            writer.number(match self.resolved {
                None => 0,
                Some(Verdict::Executed) => 1,
                Some(Verdict::NotExecuted) => 2,
            });
            writer.number(self.queued_at.map_or(0, Timestamp::as_millis)).number(self.cancelled.into());
        })
    }

    pub fn decode(call: &CallId, row: &[u8]) -> Result<Self, LedgerError> {
        let mut reader = Reader::new(row);
        let mut read = || {
            // Version 2 did not know of calls that wait, or are cancelled.
            let version = reader.row_of(&[(3, 17), (2, 15)])?;
            let status = match reader.number()? {
                0 => CallStatus::Done,
                1 => CallStatus::Released,
                2 => CallStatus::Unknown,
                _ => return Err(Malformed::message("an unknown status")),
            };
            let row = Self {
                status,
                effect: read_effect(&mut reader)?,
                claim: reader.maybe(Reader::digest)?,
                owner: reader.digest()?,
                started: Timestamp(reader.number()?),
                ended: Timestamp(reader.number()?),
                expires: Some(reader.number()?).filter(|expires| *expires != u64::MAX).map(Timestamp),
                is_error: reader.number()? != 0,
                response: match (reader.maybe(Reader::bytes)?, reader.maybe(Reader::digest)?) {
                    (None, None) => Kept::Nothing,
                    (Some(sealed), None) => Kept::Inline(sealed.to_vec()),
                    (None, Some(name)) => Kept::InFile(name),
                    (Some(_), Some(_)) => return Err(Malformed::message("a response in two places")),
                },
                intent: reader.number()?,
                asked_for: reader.maybe(Reader::array)?.map(CallId::from_bytes),
                answered_by: reader.maybe(Reader::array)?.map(CallId::from_bytes),
                resolved: match reader.number()? {
                    0 => None,
                    1 => Some(Verdict::Executed),
                    2 => Some(Verdict::NotExecuted),
                    _ => return Err(Malformed::message("an unknown verdict")),
                },
                queued_at: if version == 2 { None } else { Some(reader.number()?).filter(|at| *at != 0).map(Timestamp) },
                cancelled: version != 2 && reader.number()? != 0,
            };
            reader.end().map(|()| row)
        };
        read().map_err(LedgerError::damaged(format!("the ended row of {call}")))
    }
}

/// Deletes ended calls whose time has come, at most `limit`, with the claims that are still theirs; body files that nothing names
/// any more are to be removed. Answers how many calls it was.
pub(super) fn forget_expired(tx: &mut Tx<'_>, now: Timestamp, limit: usize) -> Result<usize, LedgerError> {
    let due = tx.scan(keys::EXPIRY_START, &keys::expired_end(now), limit)?;
    for (key, _) in &due {
        tx.delete(key.clone());
        let call = keys::time_and_call(key)
            .map(|(_, call)| call)
            .ok_or_else(|| LedgerError::damaged("an expiry")("its key is too short"))?;
        let Some(row) = tx.get(&keys::ended(&call))? else { continue };
        let row = EndedRow::decode(&call, &row)?;
        // INVARIANT: what is unknown is never forgotten, whatever an index says.
        if !row.is_expired(now) {
            continue;
        }
        tx.delete(keys::ended(&call));
        if let Some(claim) = row.claim {
            super::idempotency::free(tx, &claim, &call)?;
        }
        if let Kept::InFile(name) = row.response {
            tx.put(keys::doomed_file(&name), Vec::new())?;
        }
    }
    Ok(due.len())
}

/// Whose call it is: `SHA-256(dCBOR([iss, sub]))`.
pub(super) fn owner(principal: &Principal) -> Digest {
    let preimage = cbor::encode_parts(&[cbor::Part::Text(&principal.issuer), cbor::Part::Text(&principal.subject)]);
    Digest(Sha256::digest(preimage).into())
}
