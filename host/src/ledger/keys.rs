//! Where the ledger keeps what: every row key, one prefix each.
//!
//! | prefix | key | row |
//! |---|---|---|
//! | `a/` | sequence of the first | a page of the audit log: consecutive records, heads and bodies |
//! | `c/` | call id | a call that has ended and may be asked for: its state and answer |
//! | `i/` | claim | the call that claimed an idempotency key |
//! | `m/` | name | single values: the tip of the log, the check of the secret, the record of the policies in force |
//! | `o/` | page number | a page of calls with an intent and, so far, no outcome |
//! | `u/` | start, call id | a call of `c/` of which nobody knows how it ended |
//! | `x/` | expiry, call id | when a row of `c/` may be deleted |
//!
//! Numbers are big-endian, so that their order is the order of the keys. Records and open calls share rows because the engine
//! pays per row, in time and in memory, far more than per byte.

use crate::model::{CallId, Digest, Timestamp};

/// The tip of the log.
pub(super) const TIP: &[u8] = b"m/tip";
/// Proof that the secret is the one the log was written with.
pub(super) const SECRET_CHECK: &[u8] = b"m/secret";
/// The sequence of the record that tells which policies were put in force last.
pub(super) const POLICIES: &[u8] = b"m/policies";
/// The start of the log.
pub(super) const LOG_START: &[u8] = b"a/";
/// The end of the log, exclusive.
pub(super) const LOG_END: &[u8] = b"a0";
/// The start of the open calls.
pub(super) const OPEN_START: &[u8] = b"o/";
/// The end of the open calls, exclusive.
pub(super) const OPEN_END: &[u8] = b"o0";
/// The start of the calls with an unknown outcome.
pub(super) const UNKNOWN_START: &[u8] = b"u/";
/// The end of the calls with an unknown outcome, exclusive.
pub(super) const UNKNOWN_END: &[u8] = b"u0";
/// The start of the expiries.
pub(super) const EXPIRY_START: &[u8] = b"x/";
/// The end of the expiries, exclusive.
pub(super) const EXPIRY_END: &[u8] = b"x0";

/// The page of the log that starts with record `seq`.
pub(super) fn log(seq: u64) -> Vec<u8> {
    key(b"a/", &[&seq.to_be_bytes()])
}

/// The sequence in the key of a page of the log; `None` if it is no such key.
pub(super) fn log_seq(key: &[u8]) -> Option<u64> {
    key.strip_prefix(b"a/")?.try_into().ok().map(u64::from_be_bytes)
}

/// A page of open calls.
pub(super) fn open(page: u32) -> Vec<u8> {
    key(b"o/", &[&page.to_be_bytes()])
}

/// An ended call.
pub(super) fn ended(call: &CallId) -> Vec<u8> {
    key(b"c/", &[call.as_bytes()])
}

/// A claimed idempotency key.
pub(super) fn claim(claim: &Digest) -> Vec<u8> {
    key(b"i/", &[&claim.0])
}

/// A call that started then and has an unknown outcome.
pub(super) fn unknown(started: Timestamp, call: &CallId) -> Vec<u8> {
    key(UNKNOWN_START, &[&started.as_millis().to_be_bytes(), call.as_bytes()])
}

/// The time and the call in a key of `u/` or `x/`; `None` if it is no such key.
pub(super) fn time_and_call(key: &[u8]) -> Option<(Timestamp, CallId)> {
    let (time, call) = key.get(2..)?.split_first_chunk::<8>()?;
    Some((Timestamp(u64::from_be_bytes(*time)), CallId::from_bytes(call.try_into().ok()?)))
}

/// The expiry of an ended call.
pub(super) fn expiry(at: Timestamp, call: &CallId) -> Vec<u8> {
    key(b"x/", &[&at.as_millis().to_be_bytes(), call.as_bytes()])
}

/// The end, exclusive, of the expiries that have come at `now`.
pub(super) fn expired_end(now: Timestamp) -> Vec<u8> {
    key(b"x/", &[&now.as_millis().saturating_add(1).to_be_bytes()])
}

fn key(prefix: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(prefix.len() + parts.iter().map(|part| part.len()).sum::<usize>());
    key.extend_from_slice(prefix);
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}
