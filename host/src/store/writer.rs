//! The writer thread: it alone changes the store, one group of commits at a time.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use metrics::Histogram;

use super::queue::{Completion, Queued, Turn};
use super::space::Space;
use super::{Shared, StoreError, Tx};

/// What the writer thread owns.
pub(super) struct Writer {
    pub shared: Arc<Shared>,
    /// `None` while it is out of order, or in use.
    pub engine: Option<sled::Db>,
    /// The thread on which an engine that failed comes to its end.
    pub farewell: Option<JoinHandle<()>>,
    /// What the mender's landmark was when it was last known to be durable.
    pub landmark: Option<Vec<u8>>,
    /// How many bytes all rows have.
    pub live: u64,
    /// The data folder, open: `syncfs` wants a descriptor on its file system.
    pub folder: File,
    /// The lock on the data folder, given up last.
    pub lock: File,
    instruments: Instruments,
}

/// What `/metrics` tells of commits.
struct Instruments {
    seconds: Histogram,
    jobs: Histogram,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, db: sled::Db, live: u64, folder: File, lock: File) -> Self {
        let instruments = Instruments {
            seconds: metrics::histogram!("tidegate_commit_seconds"),
            jobs: metrics::histogram!("tidegate_commit_jobs"),
        };
        Self { shared, engine: Some(db), farewell: None, landmark: None, live, folder, lock, instruments }
    }

    /// Writes groups until the store is closed, then closes the engine and gives up the folder.
    pub fn run(mut self) {
        let mut space = Space::new(&self.shared);
        // INVARIANT: there is one handle on the engine besides the readers', so that parting with both is parting with it.
        while let Some(db) = self.ready_engine() {
            let Some(group) = self.shared.queue.next_group() else {
                self.engine = Some(db);
                break;
            };
            self.commit(db, group, &mut space);
        }
        self.refuse(self.shared.queue.close());
        let Self { shared, engine, farewell, folder, lock, .. } = self;
        // INVARIANT: the last handle on the engine is dropped here, on this thread: dropping it blocks on the disk.
        let reader = shared.engine.write().unwrap_or_else(PoisonError::into_inner).take();
        drop((reader, engine));
        if shared.gate.is_open()
            && let Err(error) = sync(&folder)
        {
            shared.gate.shut(&format!("closing the store failed: {error}"));
        }
        shared.gate.close();
        if let Some(farewell) = farewell.filter(JoinHandle::is_finished) {
            let _ = farewell.join();
        }
        drop(lock);
        shared.finished.send_replace(true);
    }

    fn commit(&mut self, db: sled::Db, group: Vec<Queued>, space: &mut Space) {
        let landmark = self.shared.mender.get().map(|mender| mender.landmark);
        if let (Some(key), None) = (landmark, &self.landmark) {
            // All that is applied is durable at this moment.
            self.landmark = db.get(key).ok().flatten().map(|value| value.to_vec());
        }
        let low = space.check();
        let mut tx = Tx::new(&db);
        let mut completions: Vec<Completion> = Vec::with_capacity(group.len());
        let mut slots = Vec::with_capacity(group.len());
        let mut unwritten = Vec::new();
        for queued in group {
            if tx.is_poisoned() {
                unwritten.push(queued);
                continue;
            }
            slots.push(queued.slot);
            let turn = match &low {
                Some(low) if !queued.essential => Turn::Refused(low.clone()),
                _ => Turn::Run(&mut tx),
            };
            completions.extend((queued.job)(turn));
        }
        let moved = landmark.and_then(|key| tx.wrapped(key));
        let changed = self.shared.copying.changed_by(&tx);
        let started = Instant::now();
        let written = match tx.is_poisoned() {
            true => Err("a commit panicked, which is a bug in tidegate".to_owned()),
            false => make_durable(&db, tx, self.live, &self.folder),
        };
        match &written {
            Ok(live) => {
                self.instruments.seconds.record(started.elapsed());
                self.instruments.jobs.record(completions.len() as f64);
                self.live = *live;
                self.shared.copying.note(changed);
                self.landmark = moved.or(self.landmark.take());
                self.engine = Some(db);
            }
            Err(why) => self.fail(db, why, unwritten),
        }
        // Free the queue before the callers wake: they come straight back with their next commit.
        drop(slots);
        let told = written.map(drop).map_err(|_| self.shared.gate.refusal());
        for complete in completions {
            complete(told.clone());
        }
    }

    /// Puts the engine out of order.
    ///
    /// INVARIANT: it is out of everybody's sight before anybody is told of the failure. What it shows may not be on the disk,
    /// and whoever was told that a call is over may look at once.
    fn fail(&mut self, db: sled::Db, why: &str, unwritten: Vec<Queued>) {
        self.shared.gate.shut(&format!("{why}; it is opened anew as soon as that works"));
        tracing::error!(why, "the store failed and takes no writes until its engine is opened anew");
        metrics::counter!("tidegate_store_failures_total").increment(1);
        self.shared.copying.give_up();
        let reader = self.shared.engine.write().unwrap_or_else(PoisonError::into_inner).take();
        self.part_with(db, reader);
        self.refuse(self.shared.queue.hold(unwritten));
    }

    /// Refuses jobs that had their chance.
    pub fn refuse(&self, jobs: Vec<Queued>) {
        for Queued { job, slot, .. } in jobs {
            let none = job(Turn::Refused(self.shared.gate.refusal()));
            debug_assert!(none.is_none(), "a refused job has nothing to wait for");
            drop(slot);
        }
    }
}

/// Makes a group durable: applied, flushed to the file, and the file system synced. Answers how many bytes all rows have with
/// it, `live` before; or says in words what failed.
///
/// INVARIANT: the engine's own flush only starts the write-out on Linux; without the sync after it, a power cut loses
/// what callers were told is safe.
pub(super) fn make_durable(db: &sled::Db, tx: Tx<'_>, live: u64, folder: &File) -> Result<u64, String> {
    let attempt = catch_unwind(AssertUnwindSafe(|| {
        let writing = |error: StoreError| format!("writing failed: {error}");
        let Some((batch, live)) = tx.into_batch(live).map_err(writing)? else { return Ok(live) };
        db.apply_batch(batch).map_err(|error| writing(error.into()))?;
        fail::fail_point!("store::applied", |_| std::process::abort());
        db.flush().map_err(|error| format!("flushing failed: {error}"))?;
        fail::fail_point!("store::flushed", |_| std::process::abort());
        sync(folder).map_err(|error| format!("syncing failed: {error}"))?;
        fail::fail_point!("store::synced", |_| std::process::abort());
        Ok(live)
    }));
    attempt.unwrap_or_else(|_| Err("the storage engine panicked".to_owned()))
}

pub(super) fn sync(folder: &File) -> io::Result<()> {
    // Left out, it has to be missed: else the tests with power cuts prove nothing.
    fail::fail_point!("store::sync", |how| match how {
        Some(_) => Ok(()),
        None => Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())),
    });
    Ok(rustix::fs::syncfs(folder)?)
}
