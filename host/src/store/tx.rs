//! What one group of commits is going to change: writes are collected here and seen by the reads that follow.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::ops::Bound;

use super::{MAX_PAYLOAD, StoreError, compact, record};

/// A value about to be put, or `None` for a deletion.
type Write = Option<Vec<u8>>;

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// The view a commit works on: the stored state, plus whatever earlier commits of the same group have put or deleted.
///
/// Nothing is written until the whole group is; a commit that answers with an error leaves nothing behind.
pub struct Tx<'a> {
    tree: &'a sled::Tree,
    /// Payloads without their envelope: a value put several times in one group is wrapped once.
    writes: BTreeMap<Vec<u8>, Write>,
    /// What the current commit replaced in `writes`, oldest first, to undo it.
    replaced: Vec<(Vec<u8>, Option<Write>)>,
    /// A commit of the group panicked.
    poisoned: bool,
}

impl<'a> Tx<'a> {
    pub(super) fn new(tree: &'a sled::Tree) -> Self {
        Self { tree, writes: BTreeMap::new(), replaced: Vec::new(), poisoned: false }
    }

    /// The value under `key`, as this group leaves it.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.writes.get(key) {
            Some(written) => Ok(written.clone()),
            None => self.tree.get(key)?.map(|value| record::unwrap(key, &value)).transpose(),
        }
    }

    /// Puts a value of at most [`MAX_PAYLOAD`] bytes.
    pub fn put(&mut self, key: Vec<u8>, payload: Vec<u8>) -> Result<(), StoreError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(StoreError::TooLong { bytes: payload.len(), max: MAX_PAYLOAD });
        }
        self.write(key, Some(payload));
        Ok(())
    }

    /// Deletes a value, if there is one.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.write(key, None);
    }

    /// The first `limit` keys in `from..until`, ascending, with their values.
    pub fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        let bounds = (Bound::Included(from), Bound::Excluded(until));
        let mut overlay = self.writes.range::<[u8], _>(bounds).peekable();
        let mut stored = self.tree.range(from..until);
        let mut next_stored = stored.next().transpose()?;
        let mut found = Vec::new();
        while found.len() < limit {
            // Merge two ascending sequences; on equal keys the group's own write hides the stored value.
            let take_overlay = match (overlay.peek(), &next_stored) {
                (None, None) => break,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (Some((written, _)), Some((key, _))) => written.as_slice() <= key.as_ref(),
            };
            if take_overlay {
                let (key, payload) = overlay.next().expect("peeked above");
                if next_stored.as_ref().is_some_and(|(stored_key, _)| stored_key.as_ref() == key.as_slice()) {
                    next_stored = stored.next().transpose()?;
                }
                if let Some(payload) = payload {
                    found.push((key.clone(), payload.clone()));
                }
            } else if let Some((key, value)) = next_stored.take() {
                found.push((key.to_vec(), record::unwrap(&key, &value)?));
                next_stored = stored.next().transpose()?;
            }
        }
        Ok(found)
    }

    fn write(&mut self, key: Vec<u8>, payload: Write) {
        let before = match self.writes.entry(key.clone()) {
            Slot::Occupied(mut slot) => Some(slot.insert(payload)),
            Slot::Vacant(slot) => {
                slot.insert(payload);
                None
            }
        };
        self.replaced.push((key, before));
    }

    /// Marks the group as one that must not be written.
    pub(super) fn poison(&mut self) {
        self.poisoned = true;
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// The keys that the group puts or deletes.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.writes.keys()
    }

    /// What the group puts under `key`, as it is going to be stored.
    pub(super) fn wrapped(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.writes.get(key)?.as_ref().map(|payload| record::wrap(key, payload))
    }

    /// Makes the current commit's writes part of the group.
    pub(super) fn keep(&mut self) {
        self.replaced.clear();
    }

    /// Takes the current commit's writes back, newest first.
    pub(super) fn undo(&mut self) {
        while let Some((key, before)) = self.replaced.pop() {
            match before {
                Some(payload) => self.writes.insert(key, payload),
                None => self.writes.remove(&key),
            };
        }
    }

    /// The whole group as one atomic batch, and how many bytes all rows have with it, `live` before; `None` if nothing changed.
    pub(super) fn into_batch(self, live: u64) -> Result<Option<(sled::Batch, u64)>, StoreError> {
        if self.writes.is_empty() {
            return Ok(None);
        }
        let (mut batch, mut live) = (sled::Batch::default(), live);
        for (key, payload) in self.writes {
            if let Some(old) = self.tree.get(&key)? {
                live = live.saturating_sub(compact::row_bytes(&key, &old));
            }
            match payload {
                Some(payload) => {
                    let value = record::wrap(&key, &payload);
                    live += compact::row_bytes(&key, &value);
                    batch.insert(key, value);
                }
                None => batch.remove(key),
            }
        }
        batch.insert(compact::LIVE, record::wrap(compact::LIVE, &live.to_be_bytes()));
        Ok(Some((batch, live)))
    }
}
