//! Idempotency keys: who may run, and who gets an earlier answer instead.
//!
//! `claim = SHA-256(dCBOR(["tidegate/claim/1", iss, sub, plugin, tool, key]))`. A claim is a row that names the call which made
//! it; where that call stands decides what the next one with the same key gets. Within the process, a claim is reserved from
//! the first look at it until the outcome of its call is durable; from the intent on the row says the same on disk.
//!
//! A claim stays with the call that made it, also while another call asks again for the outcome of that one.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::calls::EndedRow;
use super::cbor::{self, Malformed, Part, Reader};
use super::facts::StoredResponse;
use super::reask::{Again, Reasking};
use super::reservations::Reservation;
use super::status::CallStatus;
use super::{Inner, Ledger, LedgerError, keys};
use crate::model::{Arguments, CallId, Digest, IdempotencyKey, Timestamp, ToolName};
use crate::store::Tx;

/// A call that comes with an idempotency key.
#[derive(Clone, Copy, Debug)]
pub struct ClaimRequest<'a> {
    /// The call.
    pub call: CallId,
    /// Who vouches for the caller.
    pub issuer: &'a str,
    /// The caller.
    pub subject: &'a str,
    /// The plugin; its version is no part of the claim, an update must not pay twice.
    pub plugin: &'a str,
    /// The tool.
    pub tool: &'a ToolName,
    /// The key.
    pub key: &'a IdempotencyKey,
    /// The arguments; the host's own `idempotency_key` among them does not count.
    pub arguments: &'a Arguments,
    /// What it takes to ask again for an outcome that nobody knows; `None` where that must not be done.
    pub reasking: Option<Reasking>,
}

/// What a call that comes with a key may do.
#[derive(Debug)]
pub enum Claim {
    /// Run: nobody else will with this key, as long as the lease lives. It may be another try at a call whose outcome nobody
    /// knows; [`Lease::again`] tells.
    Fresh(Lease),
    /// Answer with what the first call was answered.
    Replay(Replay),
    /// Wait: the first call has not ended.
    InFlight {
        /// The first call.
        first: CallId,
        /// Since when.
        since: Timestamp,
        /// Whether the first call can be asked for by its id from now on, and will be remembered however it ends. As long as it
        /// is only known in memory, it can't.
        handle: bool,
    },
    /// Give up: nobody knows whether the first call took effect.
    Unknown {
        /// The first call.
        first: CallId,
    },
    /// Give up for now: the first call has ended, and what it was answered can't be read. It may well have taken effect.
    Unreadable {
        /// The first call.
        first: CallId,
        /// Why not; [`LedgerError::Refused`] if it was erased, and never can be again.
        why: LedgerError,
    },
    /// Take another key: this one was used with other arguments.
    Reused {
        /// The call that used it.
        first: CallId,
    },
}

/// An earlier answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// The call it was given to.
    pub first: CallId,
    /// The answer.
    pub response: StoredResponse,
    /// When that call ended.
    pub completed_at: Timestamp,
}

/// The right to be the one call that runs with a key.
///
/// Dropped unused, it gives the key back. Handed to [`Ledger::record_intent`], it holds until the outcome is durable; handed to
/// [`Ledger::enqueue`], as long as the call waits.
#[must_use = "dropping the lease gives the key back"]
pub struct Lease {
    ledger: Arc<Inner>,
    pub(super) claim: Digest,
    pub(super) print: Digest,
    pub(super) call: CallId,
    executor: Option<Digest>,
    again: Option<Again>,
    /// The claim stays reserved although nobody holds it.
    left: bool,
}

impl Lease {
    /// The claim: what outbound idempotency keys are derived from.
    pub fn claim(&self) -> Digest {
        self.claim
    }

    /// The call for whose outcome this one asks again, and how many tries this one makes it.
    pub fn again(&self) -> Option<Again> {
        self.again
    }

    /// INVARIANT: called on the writer thread, in the batch that records the intent. This is where a claim is won; everything
    /// before only saves work.
    pub(super) fn take(&self, tx: &mut Tx<'_>, now: Timestamp) -> Result<(), LedgerError> {
        let held = ClaimRow::get(tx, &self.claim)?;
        let row = match (held, self.again) {
            (Some(held), Some(again)) if again.is_next(tx, &held)? => {
                ClaimRow { attempts: again.attempt, asking: Some(self.call), ..held }
            }
            // What it was to ask again for has been settled since.
            (_, Some(again)) => return Err(LedgerError::Claimed { first: again.first }),
            (Some(held), None) if held.is_live(tx, now)? => return Err(LedgerError::Claimed { first: held.call }),
            (_, None) => ClaimRow { call: self.call, print: self.print, executor: self.executor, attempts: 1, asking: None },
        };
        row.put(tx, &self.claim)
    }

    /// That the claim is still that of the call, which has waited and starts now. In the batch that records the intent.
    pub(super) fn keep(&self, tx: &mut Tx<'_>) -> Result<(), LedgerError> {
        match ClaimRow::get(tx, &self.claim)? {
            Some(held) if held.call == self.call => ClaimRow { executor: self.executor, ..held }.put(tx, &self.claim),
            Some(held) if held.asking == Some(self.call) && held.executor == self.executor => Ok(()),
            Some(held) => Err(LedgerError::Claimed { first: held.call }),
            None => Err(LedgerError::damaged("a claim")(format!("it is gone, although its call, {}, waited", self.call))),
        }
    }

    /// Tells what would run the call now. Answers whether it may: a call that asks again for an outcome must be run by what ran the
    /// first one.
    pub fn run_by(&mut self, reasking: Option<&Reasking>) -> bool {
        let executor = reasking.map(|reasking| reasking.executor);
        if self.again.is_some() {
            return self.executor == executor;
        }
        self.executor = executor;
        true
    }

    /// Leaves the claim reserved for its call, which waits without anybody who holds it.
    pub(super) fn leave(mut self) {
        self.left = true;
    }

    /// Takes up what was left.
    pub(super) fn left(ledger: &Arc<Inner>, claim: Digest, call: CallId) -> Result<Option<Self>, LedgerError> {
        let Some(held) = ledger.claim_row(&claim)? else { return Ok(None) };
        let again = (held.call != call).then_some(Again { first: held.call, attempt: held.attempts });
        let ClaimRow { print, executor, .. } = held;
        Ok(Some(Self { ledger: Arc::clone(ledger), claim, print, call, executor, again, left: false }))
    }

    /// The call is about to end, and `remembered` or not. Answers whether it has to be, because somebody else was told that the
    /// call can be asked for.
    ///
    /// INVARIANT: decided under the lock of the reservations: nobody is told so of a call that is going to be forgotten.
    pub(super) fn close(&self, remembered: bool) -> bool {
        let mut reservations = self.ledger.reservations.lock();
        let Some(reserved) = reservations.get_mut(&self.claim) else { return false };
        reserved.forgotten = !remembered && !reserved.told;
        reserved.told
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.left {
            self.ledger.reservations.release(&self.claim, &self.call);
        }
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").field("call", &self.call).finish_non_exhaustive()
    }
}

impl Ledger {
    /// Looks up an idempotency key, and reserves it if it is free.
    ///
    /// Looks at up to two rows of the store, and for a long answer at a file; see [`Store`](crate::store::Store) on reads.
    ///
    /// # Errors
    /// If the store takes no writes any more, can't be read, or holds nonsense.
    pub fn claim(&self, request: &ClaimRequest<'_>) -> Result<Claim, LedgerError> {
        let inner = &self.inner;
        // A store that failed may show what was never synced.
        inner.store.check()?;
        let claim = request.claim();
        let print = inner.secret.print(request.arguments);
        let now = self.now();
        let mut reservations = inner.reservations.lock();
        if let Some(held) = reservations.get_mut(&claim) {
            let (first, since) = (held.call, held.since);
            if held.print != print {
                return Ok(Claim::Reused { first });
            }
            let is_durable = inner.waiting.get(&first).is_some() || inner.open_calls.running(&first).is_some();
            let handle = is_durable && !held.forgotten;
            held.told |= handle;
            return Ok(Claim::InFlight { first, since, handle });
        }
        let stored = match inner.claim_row(&claim)? {
            None => None,
            Some(held) => {
                let (first, used_with) = (held.call, held.print);
                match inner.stored(&claim, held, now) {
                    Ok(stored) => stored,
                    // Whatever became of the first call, this one is another.
                    Err(_) if used_with != print => return Ok(Claim::Reused { first }),
                    Err(why) => return Ok(Claim::Unreadable { first, why }),
                }
            }
        };
        let again = match &stored {
            Some(stored) if stored.held.print == print => stored.asked_again(request.reasking.as_ref(), now),
            _ => None,
        };
        let Some(Stored { held: ClaimRow { call: first, print: stored_print, .. }, row }) = stored.filter(|_| again.is_none())
        else {
            // INVARIANT: looked up and reserved under one lock, so of two calls with one key only one finds it free.
            reservations.insert(claim, Reservation::new(request.call, print, now));
            let executor = request.reasking.as_ref().map(|reasking| reasking.executor);
            let lease = Lease { ledger: Arc::clone(inner), claim, print, call: request.call, executor, again, left: false };
            return Ok(Claim::Fresh(lease));
        };
        drop(reservations);
        if stored_print != print {
            return Ok(Claim::Reused { first });
        }
        if row.status == CallStatus::Unknown {
            return Ok(Claim::Unknown { first });
        }
        // INVARIANT: whoever comes with the key of a call that has ended is never told that nothing ran.
        let missing = || LedgerError::damaged(format!("the ended row of {first}"))("it has no response");
        Ok(match self.response(&first, &row).and_then(|response| response.ok_or_else(missing)) {
            Ok(response) => Claim::Replay(Replay { first, response, completed_at: row.ended }),
            Err(why) => Claim::Unreadable { first, why },
        })
    }
}

impl Inner {
    /// The row of a claim.
    fn claim_row(&self, claim: &Digest) -> Result<Option<ClaimRow>, LedgerError> {
        self.store.get(&keys::claim(claim))?.map(|row| ClaimRow::decode(&row)).transpose()
    }

    /// What `held`, the row of a claim, stands for, if it is live.
    fn stored(&self, claim: &Digest, held: ClaimRow, now: Timestamp) -> Result<Option<Stored>, LedgerError> {
        fail::fail_point!("claim::held");
        let Some(row) = self.store.get(&keys::ended(&held.call))? else {
            // When their time is over both rows go in one batch, which may have come between the two looks.
            if self.claim_row(claim)?.is_none() {
                return Ok(None);
            }
            // Calls of this process hold a reservation until their ended row is there, and so do those that wait, whoever
            // accepted them; those that ran in the process before have been given an outcome at the start.
            return Err(LedgerError::damaged("a claim")(format!("its call, {}, is nowhere to be found", held.call)));
        };
        let row = EndedRow::decode(&held.call, &row)?;
        Ok(row.holds_claim(now).then_some(Stored { held, row }))
    }
}

/// A claim on disk and how its call ended.
pub(super) struct Stored {
    pub held: ClaimRow,
    pub row: EndedRow,
}

impl ClaimRequest<'_> {
    /// The claim the call makes.
    pub(super) fn claim(&self) -> Digest {
        let preimage = cbor::encode_parts(&[
            Part::Text("tidegate/claim/1"),
            Part::Text(self.issuer),
            Part::Text(self.subject),
            Part::Text(self.plugin),
            Part::Text(self.tool.as_str()),
            Part::Text(self.key.as_str()),
        ]);
        Digest(Sha256::digest(preimage).into())
    }
}

/// Gives a claim back, if it is still `call`'s.
pub(super) fn free(tx: &mut Tx<'_>, claim: &Digest, call: &CallId) -> Result<(), LedgerError> {
    if ClaimRow::get(tx, claim)?.is_some_and(|held| held.call == *call) {
        tx.delete(keys::claim(claim));
    }
    Ok(())
}

/// Gives a claim back that a call made or took over which certainly did not run.
pub(super) fn give_back(tx: &mut Tx<'_>, claim: &Digest, call: &CallId) -> Result<(), LedgerError> {
    match ClaimRow::get(tx, claim)? {
        Some(held) if held.asking == Some(*call) => {
            // The try it was to be is still the next one.
            ClaimRow { asking: None, attempts: held.attempts.saturating_sub(1), ..held }.put(tx, claim)
        }
        _ => free(tx, claim, call),
    }
}

/// The row of a claim.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ClaimRow {
    /// The call that made it.
    pub call: CallId,
    pub print: Digest,
    /// What ran that call, if it may be asked again for its outcome.
    pub executor: Option<Digest>,
    /// How often it was tried, counting from 1.
    pub attempts: u32,
    /// The call that asks again for its outcome at this moment.
    pub asking: Option<CallId>,
}

impl ClaimRow {
    pub fn get(tx: &Tx<'_>, claim: &Digest) -> Result<Option<Self>, LedgerError> {
        tx.get(&keys::claim(claim))?.map(|row| Self::decode(&row)).transpose()
    }

    pub fn put(&self, tx: &mut Tx<'_>, claim: &Digest) -> Result<(), LedgerError> {
        Ok(tx.put(keys::claim(claim), self.encode())?)
    }

    /// Whether it is `call` that has the key: made the claim, or asks again at this moment.
    pub fn is_of(&self, call: &CallId) -> bool {
        match &self.asking {
            Some(asking) => asking == call,
            None => self.call == *call,
        }
    }

    /// Whether nobody else may have the key: the call has not ended, or its end is remembered.
    fn is_live(&self, tx: &Tx<'_>, now: Timestamp) -> Result<bool, LedgerError> {
        let ended = tx.get(&keys::ended(&self.call))?.map(|row| EndedRow::decode(&self.call, &row)).transpose()?;
        Ok(ended.is_none_or(|row| row.holds_claim(now)))
    }

    fn encode(&self) -> Vec<u8> {
        cbor::encode(128, |writer| {
            writer.array(6).number(2).bytes(self.call.as_bytes()).bytes(&self.print.0);
            writer.maybe_bytes(self.executor.as_ref().map(|executor| &executor.0[..])).number(self.attempts.into());
            writer.maybe_bytes(self.asking.as_ref().map(|call| &call.as_bytes()[..]));
        })
    }

    pub fn decode(row: &[u8]) -> Result<Self, LedgerError> {
        let mut reader = Reader::new(row);
        let mut read = || {
            reader.row(6, 2)?;
            let row = Self {
                call: CallId::from_bytes(reader.array()?),
                print: reader.digest()?,
                executor: reader.maybe(Reader::digest)?,
                attempts: u32::try_from(reader.number()?).map_err(|_| Malformed::message("too many attempts"))?,
                asking: reader.maybe(Reader::array)?.map(CallId::from_bytes),
            };
            reader.end().map(|()| row)
        };
        read().map_err(LedgerError::damaged("a claim"))
    }
}
