//! What the start of the ledger does for the calls that the last stop has left open.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::intent::Lost;
use super::{Inner, LedgerError, keys, open};
use crate::model::Effect;
use crate::store::Urgency;

/// What opening the ledger had to put right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Reads that were running when the host stopped, now recorded as interrupted.
    pub interrupted: u64,
    /// Writes that were running when the host stopped, now recorded as unknown, until somebody finds out.
    pub outcome_unknown: u64,
    /// How long it took.
    pub took: Duration,
}

/// How many pages of open calls recovery closes in one commit.
const RECOVERY_PAGES: usize = 8;

/// Gives every open call its outcome: after a crash nobody else will.
pub(super) fn recover(inner: &Arc<Inner>) -> Result<Recovery, LedgerError> {
    let begun = Instant::now();
    let mut recovery = Recovery::default();
    loop {
        let pages = inner.store.scan(keys::OPEN_START, keys::OPEN_END, RECOVERY_PAGES)?;
        if pages.is_empty() {
            break;
        }
        let ledger = Arc::clone(inner);
        let (reads, writes) = inner.store.commit_blocking(Urgency::Now, move |tx| {
            let mut closed = (0, 0);
            for entry in pages {
                tx.delete(entry.key.clone());
                for (_, open) in open::on_page(&entry.intact()?)? {
                    let (body, end) = open.lost(Lost::Interrupted);
                    open.end(tx, &ledger, body, end)?;
                    match open.effect {
                        Effect::Read => closed.0 += 1,
                        Effect::Write => closed.1 += 1,
                    }
                }
            }
            Ok::<_, LedgerError>(closed)
        })?;
        fail::fail_point!("recovery::page", |_| std::process::abort());
        recovery.interrupted += reads;
        recovery.outcome_unknown += writes;
    }
    recovery.took = begun.elapsed();
    Ok(recovery)
}
