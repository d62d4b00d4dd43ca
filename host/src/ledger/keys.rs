//! Where the ledger keeps what: every row key, one prefix each.
//!
//! | prefix | key | row |
//! |---|---|---|
//! | `a/` | sequence of the first | a page of the audit log: consecutive records, heads and bodies |
//! | `c/` | call id | a call that has ended and may be asked for: its state and answer |
//! | `d/` | digest | a body file that nothing names any more |
//! | `e/` | key id | the key of an erased subject that is to be destroyed |
//! | `h/` | name | a legal hold |
//! | `i/` | claim | the call that claimed an idempotency key |
//! | `m/` | name | single values: the tip of the log, the check of the secret, the record of the policies in force, … |
//! | `n/` | level, number | 64 nodes of the tree over the log |
//! | `o/` | page number | a page of calls with an intent and, so far, no outcome |
//! | `q/` | bucket, chunk, part | the index: where terms occur among 4096 records |
//! | `t/` | chunk | when the records of a chunk were written |
//! | `u/` | start, call id | a call of `c/` of which nobody knows how it ended |
//! | `w/` | call id | a call that waits for its turn, sealed |
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
/// The public key that checkpoints are signed for.
pub(super) const SIGNER: &[u8] = b"m/signer";
/// The sequence of the last checkpoint.
pub(super) const CHECKPOINT: &[u8] = b"m/checkpoint";
/// Where the log begins, if its start was dropped.
pub(super) const BASE: &[u8] = b"m/base";
/// The first chunk that is not in the index.
pub(super) const INDEXED: &[u8] = b"m/indexed";
/// How far each retention class was pruned.
pub(super) const PRUNED: &[u8] = b"m/pruned";
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
/// The start of the claims.
pub(super) const CLAIM_START: &[u8] = b"i/";
/// The end of the claims, exclusive.
pub(super) const CLAIM_END: &[u8] = b"i0";
/// The start of the calls that wait.
pub(super) const QUEUED_START: &[u8] = b"w/";
/// The end of the calls that wait, exclusive.
pub(super) const QUEUED_END: &[u8] = b"w0";
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

/// The number in the key of a page of open calls; `None` if it is no such key.
pub(super) fn open_page(key: &[u8]) -> Option<u32> {
    key.strip_prefix(b"o/")?.try_into().ok().map(u32::from_be_bytes)
}

/// An ended call.
pub(super) fn ended(call: &CallId) -> Vec<u8> {
    key(b"c/", &[call.as_bytes()])
}

/// A claimed idempotency key.
pub(super) fn claim(claim: &Digest) -> Vec<u8> {
    key(b"i/", &[&claim.0])
}

/// The claim in a key of a claimed idempotency key; `None` if it is no such key.
pub(super) fn claim_of(key: &[u8]) -> Option<Digest> {
    key.strip_prefix(b"i/")?.try_into().ok().map(Digest)
}

/// A call that waits for its turn.
pub(super) fn queued(call: &CallId) -> Vec<u8> {
    key(b"w/", &[call.as_bytes()])
}

/// The call in the key of a call that waits; `None` if it is no such key.
pub(super) fn queued_call(key: &[u8]) -> Option<CallId> {
    key.strip_prefix(b"w/")?.try_into().ok().map(CallId::from_bytes)
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

/// A row of the tree's kept nodes.
pub(super) fn nodes(level: u32, row: u64) -> Vec<u8> {
    key(b"n/", &[&[level as u8], &row.to_be_bytes()])
}

/// A part of the index of one chunk.
pub(super) fn index(bucket: u8, chunk: u64, part: u8) -> Vec<u8> {
    key(b"q/", &[&[bucket], &chunk.to_be_bytes(), &[part]])
}

/// When the records of a chunk were written.
pub(super) fn times(chunk: u64) -> Vec<u8> {
    key(b"t/", &[&chunk.to_be_bytes()])
}

/// How far a sink has got.
pub(super) fn sink(name: &str) -> Vec<u8> {
    key(b"m/sink/", &[name.as_bytes()])
}

/// A legal hold.
pub(super) fn hold(name: &str) -> Vec<u8> {
    key(b"h/", &[name.as_bytes()])
}

/// A body file to be removed.
pub(super) fn doomed_file(name: &Digest) -> Vec<u8> {
    key(b"d/", &[&name.0])
}

/// A subject's key to be destroyed.
pub(super) fn doomed_key(id: &[u8; 16]) -> Vec<u8> {
    key(b"e/", &[id])
}

fn key(prefix: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(prefix.len() + parts.iter().map(|part| part.len()).sum::<usize>());
    key.extend_from_slice(prefix);
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}
