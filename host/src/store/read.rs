//! Reading what was written: one value, or a range of them.

use std::sync::PoisonError;

use super::{Store, StoreError, record};

/// One stored value, in whatever state it was found.
#[derive(Debug)]
pub struct Entry {
    /// Its key.
    pub key: Vec<u8>,
    /// The payload, not to be believed before a look at `damage`.
    pub payload: Vec<u8>,
    /// That it is not what was written.
    pub damage: Option<StoreError>,
}

impl Entry {
    /// The payload, if it is what was written.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn intact(self) -> Result<Vec<u8>, StoreError> {
        self.damage.map_or(Ok(self.payload), Err)
    }

    fn of((key, value): (sled::IVec, sled::IVec)) -> Self {
        let (payload, problem) = record::inspect(&key, &value);
        let damage = problem.map(|problem| StoreError::damaged_value(&key, problem));
        Self { payload: payload.to_vec(), damage, key: key.to_vec() }
    }
}

impl Store {
    /// The value under `key`.
    ///
    /// # Errors
    /// If it is damaged, can't be read, or the store was closed.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|engine| engine.get(key)?.map(|value| record::unwrap(key, &value)).transpose())
    }

    /// The first `limit` entries with keys in `from..until`, ascending. Blocks on the disk when they are not in memory.
    ///
    /// # Errors
    /// If the engine can't read, or the store was closed. What is damaged is said in the entry.
    pub fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.read(|engine| engine.range(from..until).take(limit).map(|found| Ok(Entry::of(found?))).collect())
    }

    /// The last entry with a key in `from..until`.
    ///
    /// # Errors
    /// As [`Store::scan`].
    pub fn last(&self, from: &[u8], until: &[u8]) -> Result<Option<Entry>, StoreError> {
        self.read(|engine| engine.range(from..until).next_back().map(|found| Ok(Entry::of(found?))).transpose())
    }

    pub(super) fn read<T>(&self, look: impl FnOnce(&sled::Db) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let engine = self.shared().engine.read().unwrap_or_else(PoisonError::into_inner);
        look(engine.as_ref().ok_or_else(|| self.lost())?)
    }
}
