//! After a failure: waiting until the cause is gone, and opening the engine anew from what the disk really has.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::body::write_synced;
use super::writer::{Writer, make_durable, sync};
use super::{StoreError, Tx, compact, open, record, space};
use crate::model::Bytes;

/// The first pause before an attempt; each further one is twice as long, up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause before an attempt.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// How often it is tried again, [`FIRST_PAUSE`] apart, once the store is to be closed.
const LAST_ATTEMPTS: u32 = 8;

/// What the disk must have left: the engine writes a few segments and a snapshot while it opens.
const MIN_FREE: Bytes = Bytes::mib(8);

/// How much is written to find out whether the folder can be written.
const PROBE: usize = 64 << 10;

/// Looks a reopened engine through before anybody else uses it, on behalf of whoever owns the data.
pub struct Mender {
    /// The key whose value tells how far the data has come. What it was when last known to be durable is kept in memory.
    pub landmark: &'static [u8],
    /// Puts right, in the given commit, what the failure has cut off; gets the landmark that was durable before.
    pub mend: Mend,
}

/// See [`Mender::mend`].
pub type Mend = Box<dyn Fn(&mut Tx<'_>, Option<&[u8]>) -> Result<Mended, Unmended> + Send + Sync>;

/// What is to happen once what was put right is durable.
pub type Mended = Box<dyn FnOnce()>;

/// Why a reopened engine can't be used.
#[derive(Debug)]
pub enum Unmended {
    /// It may work later: the disk could not be read, for example.
    Later(String),
    /// What was durable is gone. Only a person can decide what to do.
    Never(String),
}

impl From<StoreError> for Unmended {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Damaged { .. } => Self::Never(error.to_string()),
            error => Self::Later(error.to_string()),
        }
    }
}

impl Writer {
    /// The engine; if it is out of order, waits until it has been opened anew. `None` if it can't be, and the store is to be
    /// closed.
    pub fn ready_engine(&mut self) -> Option<sled::Db> {
        self.engine.take().or_else(|| self.engine_opened_anew())
    }

    fn engine_opened_anew(&mut self) -> Option<sled::Db> {
        let failed = Instant::now();
        let why = self.shared.gate.failure().unwrap_or_default();
        let mut pause = FIRST_PAUSE;
        let mut last_attempts = LAST_ATTEMPTS;
        loop {
            let closing = self.shared.queue.wait_for_close(Some(pause));
            match self.reopen() {
                Ok(db) => {
                    *self.shared.engine.write().unwrap_or_else(PoisonError::into_inner) = Some(db.clone());
                    self.shared.gate.open();
                    self.shared.queue.resume();
                    tracing::info!(after = ?failed.elapsed(), "the store's engine was opened anew; it takes writes again");
                    metrics::counter!("tidegate_store_reopenings_total").increment(1);
                    return Some(db);
                }
                Err(Unmended::Later(_)) if closing && last_attempts > 0 => {
                    last_attempts -= 1;
                    std::thread::sleep(FIRST_PAUSE);
                }
                // What is left in the queue is refused.
                Err(_) if closing => return None,
                Err(Unmended::Later(obstacle)) => {
                    tracing::warn!(%obstacle, "the store's engine could not be opened anew yet");
                    self.shared.gate.shut(&format!("{why}; the last attempt failed: {obstacle}"));
                }
                Err(Unmended::Never(obstacle)) => {
                    tracing::error!(%obstacle, "the store stays shut");
                    self.shared.gate.shut(&format!("{obstacle}; it stays shut, stop the host before you mend it"));
                    self.refuse(self.shared.queue.bar());
                    self.shared.queue.wait_for_close(None);
                    return None;
                }
            }
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    fn reopen(&mut self) -> Result<sled::Db, Unmended> {
        // The engine's own lock would tell as well, but not what to do.
        if self.farewell.as_ref().is_some_and(|farewell| !farewell.is_finished()) {
            return Err(Unmended::Later(
                "the engine that failed holds on to its files; if it does not let go, restart".to_owned(),
            ));
        }
        self.farewell = None;
        let dir = self.shared.dir.clone();
        if !is_same_file(&self.lock, &dir.join("lock")) {
            return Err(Unmended::Never(format!("the data folder `{}` was moved away or replaced", dir.display())));
        }
        if let Err(StoreError::DiskLow { free, .. }) = space::require(&dir, MIN_FREE) {
            let problem = format!("the disk of `{}` has {free} left, too little to work on ({MIN_FREE})", dir.display());
            return Err(Unmended::Later(problem));
        }
        probe(&dir)?;
        // What is still in memory only goes to the disk, or fails again; then what memory holds is forgotten.
        sync(&self.folder).map_err(|error| Unmended::Later(format!("syncing failed: {error}")))?;
        let engine_folder = dir.join("store");
        forget_cached(&engine_folder).map_err(StoreError::io("forget what is cached of", &engine_folder))?;
        let db = open::open_engine(&engine_folder, &self.shared.config)?;
        match self.mend(&db) {
            Ok(()) => Ok(db),
            Err(unmended) => {
                self.part_with(db, None);
                Err(unmended)
            }
        }
    }

    /// Has the engine looked through, and makes durable what was put right.
    fn mend(&mut self, db: &sled::Db) -> Result<(), Unmended> {
        self.live = compact::live_bytes(db)?;
        let Some(mender) = self.shared.mender.get() else { return Ok(()) };
        let landmark = self.landmark.as_deref().map(|value| record::unwrap(mender.landmark, value));
        let landmark = landmark.transpose()?;
        let mut tx = Tx::new(db);
        let mended = catch_unwind(AssertUnwindSafe(|| (mender.mend)(&mut tx, landmark.as_deref())));
        let mended = mended.unwrap_or_else(|_| Err(Unmended::Later("looking it through panicked".to_owned())))?;
        let moved = tx.wrapped(mender.landmark);
        self.live = make_durable(db, tx, self.live, &self.folder).map_err(Unmended::Later)?;
        self.landmark = moved.or(self.landmark.take());
        mended();
        Ok(())
    }

    /// Drops an engine that failed, on a thread of its own: dropping waits for the engine's threads, and for one of them that
    /// has died it would wait for ever.
    pub fn part_with(&mut self, db: sled::Db, reader: Option<sled::Db>) {
        let farewell = std::thread::Builder::new().name("store-farewell".to_owned()).spawn(move || drop((reader, db)));
        match farewell {
            Ok(farewell) => self.farewell = Some(farewell),
            // What was to be moved into the thread is dropped by now.
            Err(error) => tracing::warn!(%error, "no thread for dropping the failed engine"),
        }
    }
}

/// Whether `path` still leads to the open `file`.
fn is_same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(found)) => (open.dev(), open.ino()) == (found.dev(), found.ino()),
        _ => false,
    }
}

/// Finds out whether the folder can be written durably.
fn probe(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join("probe");
    // Left by an attempt that was cut off.
    let _ = fs::remove_file(&path);
    write_synced(&path, &[0; PROBE])?;
    fs::remove_file(&path).map_err(StoreError::io("remove", &path))
}

/// Makes the kernel forget what it has cached of the files in `dir`, so that what is read next is what the disk has.
///
/// After a failed write-out the kernel may keep showing pages that it has given up writing.
fn forget_cached(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let file = File::open(entry.path())?;
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        }
    }
    Ok(())
}
