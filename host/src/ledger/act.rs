//! What operators, and the ledger on their behalf, do to the log itself: each act is a record of it.

use serde::Serialize;

use super::audit::{self, Draft};
use super::body::Body;
use super::chain::Kind;
use super::facts::Generation;
use super::hold::Hold;
use super::{Inner, LedgerError};
use crate::model::{CallId, Digest};
use crate::store::Tx;

/// An act, as its record's body says it.
#[derive(Debug, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub(super) enum Act<'a> {
    /// Everything was about to be copied into a folder, the host's keys included.
    Backup { by: &'a str, dir: &'a str },
    /// The keys of a person were destroyed. The tag names the person to whoever holds the secret only.
    Erase { by: &'a str, keys: &'a [String], reason: &'a str, subject_tag: String },
    /// Bodies were dropped whose time had come: so many, of records that end before a time; the digest is over their sequences.
    Prune { by: &'a str, class: &'static str, count: u64, first: u64, kept_for_ms: u64, last: u64, seqs_sha256: String },
    /// The start of the log was dropped, up to and with a record. What is left begins with a checkpoint that signs the dropped part.
    Truncate { by: &'a str, checkpoint: u64, root: Digest, until: u64 },
    /// Records must stay.
    Hold {
        by: &'a str,
        #[serde(flatten)]
        hold: &'a Hold,
    },
    /// They no longer must.
    Release { by: &'a str, name: &'a str },
}

/// Writes an act down, in the batch that does it; answers where.
pub(super) fn record(tx: &mut Tx<'_>, ledger: &Inner, call: Option<CallId>, act: &Act<'_>) -> Result<u64, LedgerError> {
    // An act concerns no generation of plugins and policies.
    let generation = Generation::NONE;
    let body = Body::plain(act);
    if !body.is_inline() {
        return Err(LedgerError::Refused { what: "the note".into(), problem: "it is too long".into() });
    }
    audit::append(tx, Draft { kind: Kind::Admin, call, generation, body }, ledger.clock.now())
}
