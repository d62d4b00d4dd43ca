//! All that the log has of one call.

use super::audit;
use super::chain::Head;
use super::index::{CHUNK, Field, Told};
use super::{Ledger, LedgerError};
use crate::model::CallId;

impl Ledger {
    /// The sequences of the records about a call, ascending: its intent, its outcome or its rejections, and what an operator did
    /// to it. Blocks on the disk.
    ///
    /// An intent is found by the outcome that names it: of a call whose outcome was erased, the outcome alone.
    ///
    /// # Errors
    /// If the store can't be read, or holds nonsense.
    pub fn history(&self, call: &CallId) -> Result<Vec<u64>, LedgerError> {
        let inner = &self.inner;
        let indexed = inner.indexed()?;
        let mut found = Vec::new();
        // The end of the log is not in the index yet.
        audit::each(&inner.store, indexed * CHUNK + 1, usize::MAX, |seq, item| {
            let head = item.and_then(|(bytes, _)| Head::decode(bytes).ok());
            found.extend(head.filter(|head| head.call == Some(*call)).map(|_| seq));
            Ok(())
        })?;
        let term = inner.term(Field::Call, &call.to_string());
        for chunk in (0..indexed).rev() {
            found.extend(inner.occurrences(term, chunk)?);
        }
        let mut all: Vec<u64> = inner.open_calls.running(call).map(|open| open.intent).into_iter().collect();
        for seq in found {
            // Terms are hashes, and those can meet.
            let Some(record) = inner.records(seq, 1)?.pop().filter(|record| record.head.call == Some(*call)) else { continue };
            all.extend(record.body.and_then(|body| Told::of(&body).intent));
            all.push(seq);
        }
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }
}
