//! The audit log: appending records, and reading them back.

use super::body::{self, Body, Found};
use super::chain::{self, Head, Kind, Tip, TipRow};
use super::facts::Generation;
use super::{Inner, Ledger, LedgerError, keys, page, tree};
use crate::model::{CallId, Digest, Timestamp};
use crate::store::{Store, Tx, Urgency};

/// How many pages are read from the store at a time.
pub(super) const PAGES: usize = 128;

/// One record as it is read back.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its head.
    pub head: Head,
    /// Its hash, which the next record's head repeats.
    pub hash: Digest,
    /// Its body, JSON; `None` if it was erased.
    pub body: Option<Vec<u8>>,
}

/// A record that has not got its place yet.
pub(super) struct Draft {
    pub kind: Kind,
    pub call: Option<CallId>,
    pub generation: Generation,
    pub body: Body,
}

/// Gives a record its place at the end of the log, and answers which.
///
/// INVARIANT: called on the writer thread only, so sequences are dense and each head names the hash of the one before.
pub(super) fn append(tx: &mut Tx<'_>, draft: Draft, at: Timestamp) -> Result<u64, LedgerError> {
    let TipRow { tip, page: last_page, mut tree } = tip_in(tx)?;
    let seq = tip.seq + 1;
    let head = Head {
        seq,
        prev: tip.hash,
        at,
        kind: draft.kind,
        call: draft.call,
        generation: draft.generation.number,
        policy: draft.generation.policies,
        body: draft.body.commitment,
    };
    let head = head.encode();
    let hash = chain::hash(&head);
    let record = [head.as_slice(), &draft.body.stored];
    // The last page is filled up, also one that an earlier group began: full pages keep the engine's tables small.
    let mut page = tx.get(&keys::log(last_page))?.unwrap_or_default();
    let first = if tip.seq > 0 && page::push(&mut page, &record) {
        last_page
    } else {
        page.clear();
        assert!(page::push(&mut page, &record), "a body that is stored with its head leaves room for it");
        seq
    };
    tx.put(keys::log(first), page)?;
    let mut complete = Vec::new();
    tree.push(tree::leaf(&head), |level, number, hash| complete.push((level, number, *hash)));
    for (level, number, hash) in complete {
        tree::keep(tx, level, number, &hash)?;
    }
    tx.put(keys::TIP.to_vec(), TipRow { tip: Tip { seq, hash }, page: first, tree }.encode())?;
    Ok(seq)
}

impl Ledger {
    /// The last record of the log.
    ///
    /// # Errors
    /// If the store can't be read, or holds nonsense.
    pub fn tip(&self) -> Result<Tip, LedgerError> {
        Ok(tip(&self.inner.store)?.tip)
    }

    /// Up to `limit` records from sequence `from` on, ascending. Blocks on the disk.
    ///
    /// # Errors
    /// If the store can't be read, or a record is not what was written; [`Ledger::verify`] tells more.
    pub fn records(&self, from: u64, limit: usize) -> Result<Vec<Record>, LedgerError> {
        self.inner.records(from, limit)
    }
}

impl Inner {
    /// The last record that is durable. Blocks on the disk.
    pub(super) fn durable_tip(&self) -> Result<Tip, LedgerError> {
        // What a look at the store shows may not be synced. Asked on the writer thread, the answer comes once it is.
        self.store.commit_blocking(Urgency::Soon, |tx| Ok(tip_in(tx)?.tip))
    }

    /// [`Ledger::records`].
    pub(super) fn records(&self, from: u64, limit: usize) -> Result<Vec<Record>, LedgerError> {
        let mut found = Vec::new();
        each(&self.store, from, limit, |seq, item| {
            found.push(self.record(seq, item)?);
            Ok(())
        })?;
        Ok(found)
    }

    fn record(&self, seq: u64, item: Item<'_>) -> Result<Record, LedgerError> {
        let damaged = |problem: &str| LedgerError::damaged(format!("record {seq}"))(problem);
        let (bytes, stored) = item.ok_or_else(|| damaged("its page is cut short"))?;
        let head = Head::decode(bytes).map_err(LedgerError::damaged(format!("record {seq}")))?;
        let body = match self.body(seq, stored, &head.body)? {
            Found::Whole(salted) => Some(salted.json().to_vec()),
            Found::Erased(_) | Found::Pruned(_) => None,
            Found::Forged(problem) => return Err(damaged(&format!("its body: {problem}"))),
        };
        Ok(Record { head, hash: chain::hash(bytes), body })
    }
}

impl Inner {
    /// Finds and checks the body of record `seq`, whose page was read a while ago. Blocks on the disk as [`body::find`] does.
    pub(super) fn body(&self, seq: u64, stored: &[u8], committed: &Digest) -> Result<Found, LedgerError> {
        Ok(match body::find(&self.store, &self.subjects, stored, committed)? {
            Found::Forged(problem) => self.pruned_since(seq).unwrap_or(Found::Forged(problem)),
            found => found,
        })
    }

    /// A body whose file was removed since its page was read.
    fn pruned_since(&self, seq: u64) -> Option<Found> {
        let mut pruned = None;
        let read = each(&self.store, seq, 1, |found, item| {
            pruned = item.filter(|_| found == seq).and_then(|(_, stored)| body::pruned_by(stored));
            Ok(())
        });
        read.ok().and(pruned).map(Found::Pruned)
    }
}

/// The heads of `count` records from `from` on, as far as there are any.
pub(super) fn heads(store: &Store, from: u64, count: u64) -> Result<Vec<Vec<u8>>, LedgerError> {
    let mut found = Vec::new();
    each(store, from, usize::try_from(count).unwrap_or(usize::MAX), |_, item| {
        found.extend(item.map(|(head, _)| head.to_vec()));
        Ok(())
    })?;
    Ok(found)
}

/// Hands up to `limit` records from sequence `from` on to `each`, as they stand on their pages.
pub(super) fn each(
    store: &Store,
    from: u64,
    limit: usize,
    mut each: impl FnMut(u64, Item<'_>) -> Result<(), LedgerError>,
) -> Result<(), LedgerError> {
    // The page that holds `from` may begin before it.
    let mut next_page = match store.last(keys::LOG_START, &keys::log(from.saturating_add(1)))? {
        Some(entry) => entry.key,
        None => keys::LOG_START.to_vec(),
    };
    let mut left = limit;
    while left > 0 {
        let pages = store.scan(&next_page, keys::LOG_END, PAGES.min(limit))?;
        let Some(last) = pages.last() else { break };
        next_page = [last.key.as_slice(), &[0]].concat();
        for entry in pages {
            let first =
                keys::log_seq(&entry.key).ok_or_else(|| LedgerError::damaged("a page of the log")("its key is malformed"))?;
            let page = entry.intact()?;
            for (seq, item) in (first..).zip(page::pairs(&page)).filter(|(seq, _)| *seq >= from) {
                if left == 0 {
                    return Ok(());
                }
                left -= 1;
                each(seq, item)?;
            }
        }
    }
    Ok(())
}

/// The tip of the log in `store`.
pub(super) fn tip(store: &Store) -> Result<TipRow, LedgerError> {
    read_tip(store.get(keys::TIP)?)
}

/// The tip of the log as a commit finds it.
pub(super) fn tip_in(tx: &Tx<'_>) -> Result<TipRow, LedgerError> {
    read_tip(tx.get(keys::TIP)?)
}

fn read_tip(row: Option<Vec<u8>>) -> Result<TipRow, LedgerError> {
    row.map_or_else(|| Ok(TipRow::empty()), |row| TipRow::decode(&row).map_err(LedgerError::damaged("the tip of the log")))
}

/// A record on its page: its head, and its body as stored. `None` where the page makes no sense.
pub(super) type Item<'p> = Option<page::Pair<'p>>;
