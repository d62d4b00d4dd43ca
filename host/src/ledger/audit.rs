//! The audit log: appending records, and reading them back.

use super::body::{self, Body, Found};
use super::chain::{self, Head, Kind, Tip};
use super::facts::Generation;
use super::{Ledger, LedgerError, keys, page};
use crate::model::{CallId, Digest, Timestamp};
use crate::store::{Store, Tx};

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
    let (tip, last_page) = match tx.get(keys::TIP)? {
        Some(row) => Tip::decode(&row).map_err(LedgerError::damaged("the tip of the log"))?,
        None => (Tip::EMPTY, 0),
    };
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
    tx.put(keys::TIP.to_vec(), Tip { seq, hash }.encode(first))?;
    Ok(seq)
}

impl Ledger {
    /// The last record of the log.
    ///
    /// # Errors
    /// If the store can't be read, or holds nonsense.
    pub fn tip(&self) -> Result<Tip, LedgerError> {
        tip(&self.inner.store)
    }

    /// Up to `limit` records from sequence `from` on, ascending. Blocks on the disk.
    ///
    /// # Errors
    /// If the store can't be read, or a record is not what was written; [`Ledger::verify`] tells more.
    pub fn records(&self, from: u64, limit: usize) -> Result<Vec<Record>, LedgerError> {
        let store = &self.inner.store;
        let mut found = Vec::new();
        // The page that holds `from` may begin before it.
        let mut next_page = match store.last(keys::LOG_START, &keys::log(from.saturating_add(1)))? {
            Some(entry) => entry.key,
            None => keys::LOG_START.to_vec(),
        };
        while found.len() < limit {
            let pages = store.scan(&next_page, keys::LOG_END, PAGES.min(limit))?;
            let Some(last) = pages.last() else { break };
            next_page = [last.key.as_slice(), &[0]].concat();
            for entry in pages {
                let first =
                    keys::log_seq(&entry.key).ok_or_else(|| LedgerError::damaged("a page of the log")("its key is malformed"))?;
                let page = entry.intact()?;
                for (seq, item) in (first..).zip(page::pairs(&page)) {
                    if seq >= from && found.len() < limit {
                        found.push(record(store, seq, item)?);
                    }
                }
            }
        }
        Ok(found)
    }
}

/// The tip of the log in `store`.
pub(super) fn tip(store: &Store) -> Result<Tip, LedgerError> {
    match store.get(keys::TIP)? {
        Some(row) => Ok(Tip::decode(&row).map_err(LedgerError::damaged("the tip of the log"))?.0),
        None => Ok(Tip::EMPTY),
    }
}

/// A record on its page: its head, and its body as stored. `None` where the page makes no sense.
pub(super) type Item<'p> = Option<page::Pair<'p>>;

fn record(store: &Store, seq: u64, item: Item<'_>) -> Result<Record, LedgerError> {
    let damaged = |problem: &str| LedgerError::damaged(format!("record {seq}"))(problem);
    let (bytes, body) = item.ok_or_else(|| damaged("its page is cut short"))?;
    let head = Head::decode(bytes).map_err(LedgerError::damaged(format!("record {seq}")))?;
    let body = match body::find(store, body, &head.body)? {
        Found::Whole(body) => Some(body),
        Found::Erased => None,
        Found::Forged(problem) => return Err(damaged(&format!("its body: {problem}"))),
    };
    Ok(Record { head, hash: chain::hash(bytes), body })
}
