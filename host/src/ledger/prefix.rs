//! What comes before a record in the middle of the log: all that is needed to go on from there.

use std::collections::{BTreeSet, HashSet};

use super::chain::{self, Head, Kind, Tip};
use super::tree::{self, Frontier};
use super::walk::Start;
use super::{Ledger, LedgerError, audit, base, keys, open};
use crate::model::CallId;

/// What the records up to some place leave behind.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    /// The last of them.
    pub tip: Tip,
    /// The tree over them.
    pub tree: Frontier,
    /// The calls that were open there.
    pub open: BTreeSet<CallId>,
}

impl Ledger {
    /// What comes before record `from`, or before the first one there is, or the next one. Blocks on the disk.
    ///
    /// Reads the heads from there to the end of the log, or those from its start, whichever are fewer.
    ///
    /// # Errors
    /// If the store can't be read, or holds nonsense.
    pub(super) fn prefix(&self, from: u64) -> Result<Prefix, LedgerError> {
        let store = &self.inner.store;
        let start = Prefix::of(base::start(store)?);
        let next = audit::tip(store)?.tip.seq + 1;
        let from = from.clamp(start.tip.seq + 1, next);
        let (before, behind) = (from - start.tip.seq - 1, next - from);
        if behind < before
            && let Ok(found) = self.prefix_backwards(from)
        {
            return Ok(found);
        }
        // Also if something is missing for the short way: what the start of the log has left behind may stand in for it.
        self.prefix_forwards(start, before)
    }

    /// The prefix `count` records behind `start`, told by these.
    pub(super) fn prefix_forwards(&self, start: Prefix, count: u64) -> Result<Prefix, LedgerError> {
        let mut prefix = start;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        audit::each(&self.inner.store, prefix.tip.seq + 1, count, |seq, item| {
            let (bytes, head) = head(seq, item)?;
            // What was dropped from the log since `start` was read would be missing from the tree.
            if seq != prefix.tip.seq + 1 {
                return Err(LedgerError::damaged(format!("record {}", prefix.tip.seq + 1))("it is missing"));
            }
            match (head.kind, head.call) {
                (Kind::Intent, Some(call)) => drop(prefix.open.insert(call)),
                (Kind::Outcome, Some(call)) => drop(prefix.open.remove(&call)),
                _ => {}
            }
            prefix.tree.push(tree::leaf(bytes), |_, _, _| {});
            prefix.tip = Tip { seq, hash: chain::hash(bytes) };
            Ok(())
        })?;
        Ok(prefix)
    }

    /// The prefix of record `from`, told by what is open now and the records since.
    pub(super) fn prefix_backwards(&self, from: u64) -> Result<Prefix, LedgerError> {
        let store = &self.inner.store;
        // INVARIANT: first what is open, then the records: a call that ends in between is found by its outcome.
        let mut calls = BTreeSet::new();
        for entry in store.scan(keys::OPEN_START, keys::OPEN_END, usize::MAX)? {
            calls.extend(open::on_page(&entry.intact()?)?.into_iter().map(|(_, open)| open.call));
        }
        let mut begun = HashSet::new();
        audit::each(store, from, usize::MAX, |seq, item| {
            let (_, head) = head(seq, item)?;
            match (head.kind, head.call) {
                (Kind::Intent, Some(call)) => drop(begun.insert(call)),
                (Kind::Outcome, Some(call)) => drop(calls.insert(call)),
                _ => {}
            }
            Ok(())
        })?;
        calls.retain(|call| !begun.contains(call));
        let last = audit::heads(store, from - 1, 1)?;
        let last = last.first().ok_or_else(|| LedgerError::damaged(format!("record {}", from - 1))("it is missing"))?;
        let tree = self.tree().frontier(from - 1)?;
        Ok(Prefix { tip: Tip { seq: from - 1, hash: chain::hash(last) }, tree, open: calls })
    }
}

impl Prefix {
    /// What the records that were dropped from the log's start have left behind.
    pub(super) fn of(start: Start) -> Self {
        Self { tip: start.tip.unwrap_or(Tip::EMPTY), tree: start.tree, open: start.open.into_iter().collect() }
    }
}

fn head(seq: u64, item: audit::Item<'_>) -> Result<(&[u8], Head), LedgerError> {
    let (bytes, _) = item.ok_or_else(|| LedgerError::damaged(format!("record {seq}"))("its page is cut short"))?;
    Ok((bytes, Head::decode(bytes).map_err(LedgerError::damaged(format!("record {seq}")))?))
}
