//! What is to be removed for good: rows that name the files and keys whose time is over.

use super::{Inner, LedgerError};
use crate::store::Urgency;

impl Inner {
    /// The keys of up to `limit` rows in `from..until`. Blocks on the disk.
    ///
    /// INVARIANT: durable, all of them. What a look at the store shows may be lost yet in a crash, and with it the record that
    /// accounts for what is gone; a file or a key that was removed by then would be missed for good. Asked on the writer thread,
    /// the answer comes once it is durable.
    pub(super) fn doomed(&self, from: Vec<u8>, until: &'static [u8], limit: usize) -> Result<Vec<Vec<u8>>, LedgerError> {
        // It is asked every second, and mostly there are none.
        if self.store.scan(&from, until, 1)?.is_empty() {
            return Ok(Vec::new());
        }
        self.store.commit_blocking(Urgency::Soon, move |tx| {
            let rows = tx.scan(&from, until, limit)?;
            Ok::<_, LedgerError>(rows.into_iter().map(|(key, _)| key).collect())
        })
    }
}
