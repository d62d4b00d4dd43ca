//! The embedded store: ordered keys and small values, written in groups by one thread, durable before anyone is answered.
//!
//! The only place that names the storage engine. What the keys and values mean is the ledger's business.
//!
//! - **Writing.** [`Store::commit_in`] hands a closure to the writer thread. It decides and writes there, alone, on a view that
//!   shows what earlier closures of the same group wrote. The group becomes one atomic batch, is flushed and synced, and only
//!   then is everyone answered. After any failure of that the store is shut, and by itself opens the engine anew from what the
//!   disk really has, as soon as the cause is gone; whoever owns the data looks it through first ([`Store::mend_with`]).
//! - **Reading.** [`Store::get`] and [`Store::scan`] look at what has been applied, which may be a moment before it is durable.
//!   They mostly find it in memory, but may touch the disk, and wait while a batch is being applied (well under a millisecond
//!   as a rule): fine for a key or two on an async thread; scans belong off it.

mod body;
mod commit;
mod compact;
mod config;
mod copy;
mod error;
mod gate;
mod load;
mod open;
mod queue;
mod read;
mod record;
mod reopen;
mod space;
#[cfg(test)]
pub(crate) mod tests;
mod tx;
mod writer;

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::timeout;

use crate::model::Digest;
use body::Bodies;
use commit::run;
use copy::Copying;
use gate::Gate;
use queue::{Queue, Queued, Turn};
use space::Space;
use writer::Writer;

pub use body::{create_folder, sync_folder, write_synced};
pub use commit::Receipt;
pub use config::StoreConfig;
pub use error::StoreError;
pub use load::load;
pub use queue::{Slot, Urgency};
pub use record::MAX_PAYLOAD;
pub use reopen::{Mended, Mender, Unmended};
pub use tx::Tx;

/// A handle on the open store; clones share it.
///
/// Dropping the last handle lets the writer thread finish and close the store by itself; [`Store::close`] waits for that.
#[derive(Clone)]
pub struct Store(Arc<Handle>);

/// What all clones share; its end is the signal to close.
struct Handle(Arc<Shared>);

/// What the handles and the writer thread share.
struct Shared {
    dir: PathBuf,
    config: StoreConfig,
    queue: Queue,
    gate: Gate,
    slots: Arc<Semaphore>,
    /// Looks a reopened engine through before it is used.
    mender: OnceLock<Mender>,
    /// For reading; taken away by the writer thread when it closes the engine or no longer trusts it.
    engine: RwLock<Option<sled::Db>>,
    bodies: Bodies,
    /// What changes while a copy is being taken.
    copying: Copying,
    /// Bounds the threads that write body files at a time.
    body_writers: Semaphore,
    finished: watch::Sender<bool>,
}

/// The most body files being written at a time.
const MAX_BODY_WRITERS: usize = 16;

impl Store {
    /// Opens the store in the data folder `dir`, creating it if need be, and starts its writer thread.
    ///
    /// Blocks on the disk: call it off the async runtime.
    ///
    /// # Errors
    /// If another process uses the folder, a later version wrote it, it is damaged beyond what can be mended here, or the
    /// system refuses; the message says what to do.
    pub fn open(dir: &Path, config: &StoreConfig) -> Result<Self, StoreError> {
        let lock = open::claim_folder(dir)?;
        let bodies = Bodies::open(dir.join("bodies"))?;
        compact::clean_up(dir)?;
        let db = compact::compact(dir, config, open::open_engine(&dir.join("store"), config)?)?;
        let live = compact::live_bytes(&db)?;
        let folder = File::open(dir).map_err(StoreError::io("open the folder", dir))?;
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            config: config.clone(),
            queue: Queue::new(config.linger.duration()),
            gate: Gate::default(),
            slots: Arc::new(Semaphore::new(config.max_commits as usize)),
            mender: OnceLock::new(),
            engine: RwLock::new(Some(db.clone())),
            bodies,
            copying: Copying::default(),
            body_writers: Semaphore::new(MAX_BODY_WRITERS),
            finished: watch::Sender::new(false),
        });
        let writer = Writer::new(Arc::clone(&shared), db, live, folder, lock);
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(StoreError::io("start the writer thread for", dir))?;
        Ok(Self(Arc::new(Handle(shared))))
    }

    /// The data folder.
    pub fn dir(&self) -> &Path {
        &self.shared().dir
    }

    /// How long a commit is waited for.
    pub fn commit_wait(&self) -> Duration {
        self.shared().config.commit_wait.duration()
    }

    /// Has `mender` look a reopened engine through before anybody uses it. Only the first one registered is asked.
    pub fn mend_with(&self, mender: Mender) {
        let _ = self.shared().mender.set(mender);
    }

    /// Whether the store takes writes.
    pub fn is_open(&self) -> bool {
        self.shared().gate.is_open()
    }

    /// That the store takes writes.
    ///
    /// # Errors
    /// [`StoreError::Closed`], with the reason.
    pub fn check(&self) -> Result<(), StoreError> {
        self.shared().gate.check()
    }

    /// That the disk has the configured reserve of free space, which every commit of new work is checked for anyway.
    ///
    /// # Errors
    /// [`StoreError::DiskLow`].
    pub fn check_space(&self) -> Result<(), StoreError> {
        Space::new(self.shared()).check().map_or(Ok(()), Err)
    }

    /// The failure that shut the store, if one did.
    #[cfg(test)]
    pub fn failure(&self) -> Option<Arc<str>> {
        self.shared().gate.failure()
    }

    /// Like [`Store::commit_in`], in room of its own.
    #[cfg(test)]
    pub async fn commit<T, E, F>(&self, decide: F) -> Result<T, E>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let slot = self.reserve().await?;
        self.commit_in(slot, decide).await
    }

    /// Runs `decide` on the writer thread, in room reserved before, and answers once its writes are durable.
    ///
    /// If `decide` answers with an error, nothing of it is written. If this future is dropped before `decide` had its turn,
    /// it never runs.
    ///
    /// # Errors
    /// [`StoreError::DiskLow`]: nothing was written. [`StoreError::Closed`]: nothing was written, or `decide` had run and nobody
    /// knows whether its writes came to stand. [`StoreError::Timeout`]: `decide` either never runs, or had already run and its
    /// writes still come to stand. Whenever it had run, its answer is dropped on the writer thread, after the writes are durable
    /// or the engine that failed is gone from sight; so an answer that must not get lost can act in its `Drop`.
    pub async fn commit_in<T, E, F>(&self, slot: Slot, decide: F) -> Result<T, E>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, receipt) = oneshot::channel();
        let job = move |turn: Turn<'_, '_>| {
            if answer.is_closed() {
                return None;
            }
            // A failed send drops the answer here, which is what the contract above promises.
            run(decide, turn, move |result| drop(answer.send(result)))
        };
        self.push(Queued { job: Box::new(job), urgency: Urgency::Now, essential: false, slot: Some(slot) });
        Receipt { store: self.clone(), answer: receipt }.durable().await
    }

    /// Hands in a commit that finishes something already begun: it runs even if nobody waits for it, while the disk is low,
    /// and while the store shuts down. Handed in while the store is shut, it waits until the store is open again.
    ///
    /// The receipt tells when it is durable; without it the commit goes its way alone, and failing, is logged.
    pub fn submit<T, E, F>(&self, slot: Option<Slot>, urgency: Urgency, decide: F) -> Receipt<T, E>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + fmt::Display + Send + 'static,
    {
        let (answer, receipt) = oneshot::channel();
        let job = move |turn: Turn<'_, '_>| {
            run(decide, turn, move |result| {
                if let Err(Err(error)) = answer.send(result) {
                    tracing::error!(%error, "a record that nobody waits for could not be written");
                }
            })
        };
        self.push(Queued { job: Box::new(job), urgency, essential: true, slot });
        Receipt { store: self.clone(), answer: receipt }
    }

    /// Like [`Store::commit_in`], but blocks the thread. For threads of the host's own, never for async code.
    ///
    /// # Errors
    /// As [`Store::commit_in`].
    pub fn commit_blocking<T, E, F>(&self, urgency: Urgency, decide: F) -> Result<T, E>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, receipt) = std::sync::mpsc::sync_channel(1);
        let job = move |turn: Turn<'_, '_>| run(decide, turn, move |result| drop(answer.send(result)));
        self.push(Queued { job: Box::new(job), urgency, essential: true, slot: None });
        let wait = self.commit_wait();
        match receipt.recv_timeout(wait) {
            Ok(result) => result,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => Err(StoreError::Timeout { after: wait }.into()),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => Err(self.lost().into()),
        }
    }

    /// Reserves room for one commit, waiting for it if the store is behind.
    ///
    /// # Errors
    /// If the store is shut, or no room was found within the configured wait.
    pub async fn reserve(&self) -> Result<Slot, StoreError> {
        self.reserve_many(1).await.map(Slot::new)
    }

    /// Reserves room for two commits at once: for what is begun by one and must be ended by another.
    ///
    /// # Errors
    /// As [`Store::reserve`].
    pub async fn reserve_pair(&self) -> Result<(Slot, Slot), StoreError> {
        let mut both = self.reserve_many(2).await?;
        let one = both.split(1).expect("two were reserved");
        Ok((Slot::new(one), Slot::new(both)))
    }

    async fn reserve_many(&self, count: u32) -> Result<tokio::sync::OwnedSemaphorePermit, StoreError> {
        let shared = self.shared();
        shared.gate.check()?;
        let slots = Arc::clone(&shared.slots);
        // The usual case needs no timer.
        if let Ok(slot) = Arc::clone(&slots).try_acquire_many_owned(count) {
            return Ok(slot);
        }
        let wait = self.commit_wait();
        let slot = timeout(wait, slots.acquire_many_owned(count)).await.map_err(|_| StoreError::Timeout { after: wait })?;
        Ok(slot.expect("the semaphore is never closed"))
    }

    /// Writes a body that is too long for a value into a file named by its SHA-256. Durable on return, so that a record may
    /// name it.
    ///
    /// The reserve of free space is not looked at, because what already runs may be written down in any case; before new work,
    /// call [`Store::check_space`].
    ///
    /// # Errors
    /// If the store is shut, or the system refuses.
    pub async fn write_body(&self, body: Vec<u8>) -> Result<Digest, StoreError> {
        let shared = Arc::clone(self.shared());
        shared.gate.check()?;
        let _turn = self.shared().body_writers.acquire().await.expect("the semaphore is never closed");
        tokio::task::spawn_blocking(move || shared.bodies.write(&body))
            .await
            .unwrap_or_else(|_| Err(StoreError::closed("writing a body panicked")))
    }

    /// [`Store::write_body`] for those who may block.
    ///
    /// # Errors
    /// As [`Store::write_body`].
    pub fn write_body_blocking(&self, body: &[u8]) -> Result<Digest, StoreError> {
        self.shared().gate.check()?;
        self.shared().bodies.write(body)
    }

    /// Reads a body; `None` if it was removed. Blocks on the disk.
    ///
    /// # Errors
    /// If it is damaged or can't be read.
    pub fn read_body(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        self.shared().bodies.read(digest)
    }

    /// Removes a body, if it is there. Blocks on the disk.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn remove_body(&self, digest: &Digest) -> Result<(), StoreError> {
        self.shared().bodies.remove(digest)
    }

    /// Writes down what is queued, closes the store and gives up the data folder. Other handles find it closed.
    ///
    /// # Errors
    /// If the last sync failed, or an earlier failure keeps the store shut.
    pub async fn close(&self) -> Result<(), StoreError> {
        let shared = self.shared();
        shared.queue.drain();
        let mut finished = shared.finished.subscribe();
        finished.wait_for(|finished| *finished).await.expect("this handle keeps the sender");
        match shared.gate.failure() {
            Some(why) => Err(StoreError::closed(why)),
            None => Ok(()),
        }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }

    fn push(&self, queued: Queued) {
        if let Err(refused) = self.shared().queue.push(queued) {
            let closed = self.lost();
            let none = (refused.job)(Turn::Refused(closed));
            debug_assert!(none.is_none(), "a refused job has nothing to wait for");
        }
    }

    /// Why a commit was not answered.
    fn lost(&self) -> StoreError {
        self.shared().gate.refusal()
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("dir", &self.dir()).field("open", &self.is_open()).finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Only a signal: the engine is flushed and dropped by the writer thread, never by an async one.
        self.0.queue.drain();
    }
}
