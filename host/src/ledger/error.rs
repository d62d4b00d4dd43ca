//! What can go wrong with the ledger, in words for the person who has to mend it.

use std::path::PathBuf;

use crate::model::CallId;
use crate::store::StoreError;

/// Why something could not be written down or looked up. Whatever it is: what was to be recorded must not run.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The store failed or refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another call has claimed the idempotency key since it was looked up.
    #[error("{first} claimed the idempotency key first")]
    Claimed {
        /// That call.
        first: CallId,
    },
    /// An outcome came for a call that has no intent, or has its outcome already.
    #[error("{call} has no open intent, so no outcome can be recorded for it; this is a bug in tidegate")]
    NotOpen {
        /// The call.
        call: CallId,
    },
    /// A call was to start, or was looked for, that does not wait any more.
    #[error("{call} does not wait for its turn any more; this is a bug in tidegate")]
    NotQueued {
        /// The call.
        call: CallId,
    },
    /// An operator asked for what can't be.
    #[error("{what} is refused: {problem}")]
    Refused {
        /// What was asked for.
        what: String,
        /// Why it can't be.
        problem: String,
    },
    /// A call is none that the ledger remembers.
    #[error(
        "the ledger does not remember {call}: it never ran, or neither key nor handle made it worth remembering, or its time is \
         over; `tidegate calls list` lists the calls it remembers, `tidegate audit list` those that were written down"
    )]
    Forgotten {
        /// The call.
        call: CallId,
    },
    /// There is nothing to settle about a call.
    #[error("{call} can't be resolved: {problem}")]
    NotUnknown {
        /// The call.
        call: CallId,
        /// How it stands instead, and what to do.
        problem: String,
    },
    /// A listing was to go on from a place that is none.
    #[error("`{place}` is no place to go on from; take what the page before said of the next")]
    NoSuchPlace {
        /// The place.
        place: String,
    },
    /// A row is whole but makes no sense.
    #[error("{what} in the ledger makes no sense: {problem}; restore the data folder from a backup")]
    Damaged {
        /// Which row.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The log is not the one, or not all of the one, that was there before.
    #[error(
        "the log ends at record {reached}, but record {marked} was written before and is lost or another one; \
         restore the data folder from a backup, or remove `{}` to go on without what is lost",
        mark.display()
    )]
    RolledBack {
        /// The record that was marked.
        marked: u64,
        /// The last record there is.
        reached: u64,
        /// The file with the mark.
        mark: PathBuf,
    },
    /// After a fault of the disk, the log is not the one, or not all of the one, that was durable before.
    #[error(
        "after a failure of the disk the log ends at record {reached}, but record {durable} was durable before and is lost or \
         another one; restore the data folder from a backup"
    )]
    Receded {
        /// The last record that was known to be durable.
        durable: u64,
        /// The last record there is.
        reached: u64,
    },
    /// A backup could not be taken or restored.
    #[error("{0}")]
    Backup(String),
    /// The file that holds the ledger's secret can't be used.
    #[error("the secret `{}` {problem}", path.display())]
    Secret {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what to do.
        problem: String,
    },
}

impl LedgerError {
    /// For `map_err`: a row that does not decode.
    pub(super) fn damaged<E: std::fmt::Display>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        move |error| Self::Damaged { what: what.into(), problem: error.to_string() }
    }
}
