//! The writer thread: it alone changes the store, one group of commits at a time.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::queue::{Completion, Queued, Turn};
use super::{Shared, StoreError, Tx};
use crate::model::Bytes;

/// Whether the store still takes writes.
///
/// INVARIANT: once shut it stays shut until the store is opened anew. After a failed sync the kernel may have dropped what it
/// could not write, so a later sync that succeeds proves nothing.
#[derive(Debug, Default)]
pub(super) struct Gate {
    shut: AtomicBool,
    why: OnceLock<Arc<str>>,
}

impl Gate {
    pub fn is_open(&self) -> bool {
        !self.shut.load(Ordering::Acquire)
    }

    /// The failure that shut it.
    pub fn failure(&self) -> Option<Arc<str>> {
        self.why.get().cloned()
    }

    /// The refusal to answer with, if it is shut.
    pub fn check(&self) -> Result<(), StoreError> {
        if self.is_open() {
            return Ok(());
        }
        Err(StoreError::closed(self.failure().unwrap_or_else(|| "it was shut down".into())))
    }

    fn shut(&self, why: &str) {
        if self.why.set(why.into()).is_ok() {
            tracing::error!(why, "the store takes no more writes");
        }
        self.shut.store(true, Ordering::Release);
    }
}

/// What the writer thread owns.
pub(super) struct Writer {
    pub shared: Arc<Shared>,
    pub db: sled::Db,
    /// The data folder, open: `syncfs` wants a descriptor on its file system.
    pub folder: File,
    /// The lock on the data folder, given up last.
    pub lock: File,
}

impl Writer {
    /// Writes groups until the store is closed, then closes the engine and gives up the folder.
    pub fn run(self) {
        let mut space = Space::new(&self.shared);
        while let Some(group) = self.shared.queue.next_group() {
            self.commit(group, &mut space);
        }
        let Self { shared, db, folder, lock } = self;
        // INVARIANT: the last handle on the engine is dropped here, on this thread: dropping it blocks on the disk.
        let reader = shared.engine.write().unwrap_or_else(PoisonError::into_inner).take();
        drop((reader, db));
        let synced = if shared.gate.is_open() { sync(&folder) } else { shared.gate.check().map_err(io::Error::other) };
        if let Err(error) = &synced {
            shared.gate.shut(&format!("closing the store failed: {error}"));
        }
        shared.gate.shut.store(true, Ordering::Release);
        drop(lock);
        shared.finished.send_replace(true);
    }

    fn commit(&self, group: Vec<Queued>, space: &mut Space) {
        let low = space.check();
        let mut tx = Tx::new(&self.db);
        let mut completions: Vec<Completion> = Vec::with_capacity(group.len());
        let mut slots = Vec::with_capacity(group.len());
        for queued in group {
            slots.push(queued.slot);
            let turn = match (self.shared.gate.check(), &low) {
                (Err(closed), _) => Turn::Refused(closed),
                (Ok(()), Some(low)) if !queued.essential => Turn::Refused(low.clone()),
                _ => Turn::Run(&mut tx),
            };
            // A commit that panics may have left half of its thoughts in the caller's own state: nothing is safe after it.
            match catch_unwind(AssertUnwindSafe(|| (queued.job)(turn))) {
                Ok(completion) => completions.extend(completion),
                Err(_) => self.shared.gate.shut("a commit panicked; this is a bug in tidegate"),
            }
        }
        let written = self.shared.gate.check().and_then(|()| match tx.into_batch() {
            Some(batch) => self.write(batch),
            None => Ok(()),
        });
        // Free the queue before the callers wake: they come straight back with their next commit.
        drop(slots);
        for complete in completions {
            complete(written.clone());
        }
    }

    /// Makes a batch durable: applied, flushed to the file, and the file system synced.
    ///
    /// INVARIANT: the engine's own flush only starts the write-out on Linux; without the sync after it, a power cut loses
    /// what callers were told is safe.
    fn write(&self, batch: sled::Batch) -> Result<(), StoreError> {
        let attempt = catch_unwind(AssertUnwindSafe(|| {
            self.db.apply_batch(batch).map_err(|error| format!("writing failed: {error}"))?;
            fail::fail_point!("store::applied", |_| std::process::abort());
            self.db.flush().map_err(|error| format!("flushing failed: {error}"))?;
            fail::fail_point!("store::flushed", |_| std::process::abort());
            sync(&self.folder).map_err(|error| format!("syncing failed: {error}"))
        }));
        let why = match attempt {
            Ok(Ok(())) => {
                fail::fail_point!("store::synced", |_| std::process::abort());
                return Ok(());
            }
            Ok(Err(why)) => why,
            Err(_) => "the storage engine panicked".to_owned(),
        };
        self.shared.gate.shut(&format!("{why}; restart once the cause is removed"));
        self.shared.gate.check()
    }
}

fn sync(folder: &File) -> io::Result<()> {
    // Left out, it has to be missed: else the tests with power cuts prove nothing.
    fail::fail_point!("store::sync", |how| if how.is_some() { Ok(()) } else { Err(io::Error::other("a failpoint")) });
    Ok(rustix::fs::syncfs(folder)?)
}

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
        // A system that does not tell is not a reason to refuse: a full disk still fails the write itself.
        let free = rustix::fs::statvfs(&self.dir).map(|stat| Bytes(stat.f_bavail.saturating_mul(stat.f_frsize)));
        self.low = match free {
            Ok(free) if free < self.min_free => {
                Some(StoreError::DiskLow { dir: self.dir.clone(), free, min_free: self.min_free })
            }
            _ => None,
        };
        self.low.clone()
    }
}
