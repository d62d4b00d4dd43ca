//! Dropping the start of the log, once nothing in it can be read any more. What is left begins with a checkpoint, which signs what
//! is gone.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::act::{self, Act};
use super::body;
use super::chain::{self, Head, Kind, Tip};
use super::index::CHUNK;
use super::tree::{self, Frontier};
use super::{Inner, Ledger, LedgerError, audit, base, keys};
use crate::model::CallId;
use crate::store::Urgency;

/// The least that is worth it: what a chunk of the index covers.
const LEAST: u64 = CHUNK;

/// The most calls that may be open where the log is cut: they are all named there.
const OPEN_MAX: usize = 64;

/// Pages dropped in one commit.
const PAGES: usize = 128;

/// Where the log can be cut: everything before this checkpoint.
struct Cut {
    checkpoint: u64,
    tip: Tip,
    tree: Frontier,
    open: Vec<CallId>,
}

impl Inner {
    /// Drops as much of the start of the log as may go, in the name of `by`, and answers how many records.
    ///
    /// # Errors
    /// The store fails or refuses, or holds nonsense; or there is something that may go, and somebody reads the whole log.
    pub(super) fn truncate(self: &Arc<Self>, by: &str) -> Result<u64, LedgerError> {
        let start = base::start(&self.store)?;
        let began = start.tree.size();
        let cut = self.cut()?.filter(|cut| cut.tip.seq >= began + LEAST);
        if cut.is_some() {
            // INVARIANT: the mark lies behind what goes, or the next start would miss its record. The commit below syncs it.
            self.mark()?;
        }
        if let Some(cut) = &cut {
            let (ledger, row, by) = (Arc::clone(self), base::encode(cut.tip, &cut.tree, &cut.open), by.to_owned());
            let act = (cut.checkpoint, cut.tree.root(), cut.tip.seq);
            let restated = Ledger { inner: Arc::clone(self) }.restate_generation(cut.tip.seq)?;
            self.store.commit_blocking(Urgency::Soon, move |tx| {
                let going = ledger.stillness.let_go()?;
                let (checkpoint, root, until) = act;
                restated.map_or(Ok(()), |restated| restated.append(tx, ledger.clock.now()))?;
                act::record(tx, &ledger, None, &Act::Truncate { by: &by, checkpoint, root, until })?;
                tx.put(keys::BASE.to_vec(), row)?;
                Ok::<_, LedgerError>(going)
            })?;
        }
        // Also what an interrupted one has left.
        self.drop_before(cut.as_ref().map_or(began, |cut| cut.tip.seq))?;
        Ok(cut.map_or(0, |cut| cut.tip.seq - began))
    }

    /// The last checkpoint before which nothing about a call can be read.
    fn cut(&self) -> Result<Option<Cut>, LedgerError> {
        let start = base::start(&self.store)?;
        let (mut tip, mut tree) = (start.tip.unwrap_or(Tip::EMPTY), start.tree);
        let mut open: BTreeSet<CallId> = start.open.into_iter().collect();
        let mut found = None;
        let mut is_over = false;
        while !is_over {
            let from = tip.seq + 1;
            audit::each(&self.store, from, 4096, |seq, item| {
                let damaged = |problem: &str| LedgerError::damaged(format!("record {seq}"))(problem);
                let (bytes, stored) = item.ok_or_else(|| damaged("its page is cut short"))?;
                let head = Head::decode(bytes).map_err(LedgerError::damaged(format!("record {seq}")))?;
                let is_of_call = matches!(head.kind, Kind::Intent | Kind::Outcome | Kind::Rejection);
                is_over = is_over || (is_of_call && !body::is_pruned(stored));
                if is_over {
                    return Ok(());
                }
                match (head.kind, head.call) {
                    (Kind::Checkpoint, _) if open.len() <= OPEN_MAX => {
                        let open = open.iter().copied().collect();
                        found = Some(Cut { checkpoint: seq, tip, tree: tree.clone(), open });
                    }
                    (Kind::Intent, Some(call)) => drop(open.insert(call)),
                    (Kind::Outcome, Some(call)) => drop(open.remove(&call)),
                    _ => {}
                }
                tree.push(tree::leaf(bytes), |_, _, _| {});
                tip = Tip { seq, hash: chain::hash(bytes) };
                Ok(())
            })?;
            is_over = is_over || tip.seq < from;
        }
        Ok(found)
    }

    /// Drops the pages and the index of the records up to and with `last`.
    fn drop_before(&self, last: u64) -> Result<(), LedgerError> {
        // A page that goes on beyond `last` stays.
        while let [first, .., next] = &self.store.scan(keys::LOG_START, &keys::log(last + 2), PAGES)?[..] {
            let mut gone = self.store.scan(&first.key, &next.key, PAGES)?;
            gone.retain(|entry| entry.key < next.key);
            self.delete(gone.into_iter().map(|entry| entry.key).collect())?;
        }
        let chunk = last / CHUNK;
        for bucket in 0..64 {
            let rows = self.store.scan(&keys::index(bucket, 0, 0), &keys::index(bucket, chunk, 0), usize::MAX)?;
            self.delete(rows.into_iter().map(|entry| entry.key).collect())?;
        }
        let times = self.store.scan(&keys::times(0), &keys::times(chunk), usize::MAX)?;
        self.delete(times.into_iter().map(|entry| entry.key).collect())
    }

    fn delete(&self, rows: Vec<Vec<u8>>) -> Result<(), LedgerError> {
        if rows.is_empty() {
            return Ok(());
        }
        let stillness = Arc::clone(&self.stillness);
        self.store.commit_blocking(Urgency::Soon, move |tx| {
            let going = stillness.let_go()?;
            rows.into_iter().for_each(|key| tx.delete(key));
            Ok::<_, LedgerError>(going)
        })?;
        Ok(())
    }
}
