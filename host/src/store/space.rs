//! How much the data folder's disk has left.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Shared, StoreError};
use crate::model::Bytes;

/// Watches the free space of the data folder's disk, asking the system at most once per second.
pub(super) struct Space {
    dir: PathBuf,
    min_free: Bytes,
    asked: Option<Instant>,
    low: Option<StoreError>,
}

impl Space {
    const INTERVAL: Duration = Duration::from_secs(1);

    pub fn new(shared: &Shared) -> Self {
        Self { dir: shared.dir.clone(), min_free: shared.config.min_free, asked: None, low: None }
    }

    /// The refusal to answer new work with, while space is low.
    ///
    /// While it is low every call asks again, so that work goes on at once when space is freed.
    pub fn check(&mut self) -> Option<StoreError> {
        let fresh = self.asked.is_some_and(|asked| asked.elapsed() < Self::INTERVAL);
        if fresh && self.low.is_none() {
            return None;
        }
        self.asked = Some(Instant::now());
        self.low = require(&self.dir, self.min_free).err();
        self.low.clone()
    }
}

/// That the disk of `dir` has `min_free` left.
pub(super) fn require(dir: &Path, min_free: Bytes) -> Result<(), StoreError> {
    // A system that does not tell is not a reason to refuse: a full disk still fails the write itself.
    let free = rustix::fs::statvfs(dir).map(|stat| Bytes(stat.f_bavail.saturating_mul(stat.f_frsize)));
    match free {
        Ok(free) if free < min_free => Err(StoreError::DiskLow { dir: dir.to_owned(), free, min_free }),
        _ => Ok(()),
    }
}
