//! Taking a consistent copy while commits go on.
//!
//! All rows are read in the order of their keys, a few at a time, while the writer thread goes on and notes which keys it has
//! changed meanwhile; those are read again, and again, until few are left. The last ones are read *on* the writer thread, between
//! two groups: what the file then leads to is the store as it was at that moment, all of it durable. Commits wait for those few.
//!
//! The file: a line that names its format; then frames, each a kind (1 put, 2 delete), a key and, for a put, the value as
//! it is stored, both behind their length (4 bytes, big-endian); at the end kind 3 and how many frames there were (8 bytes). A
//! later frame replaces an earlier one with the same key.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::body::create_folder;
use super::{Shared, Store, StoreError, Tx, Urgency, compact, record};
use crate::model::Digest;

/// The first line of a file of rows.
pub(super) const HEADER: &[u8] = b"tidegate-rows-1\n";
pub(super) const PUT: u8 = 1;
pub(super) const DELETE: u8 = 2;
pub(super) const END: u8 = 3;

/// How many rows are read at a time.
const BATCH: usize = 256;

/// With so few changed keys left, they are read on the writer thread.
const FEW: usize = 256;

/// So many changed keys are read again before the first reading is through, which bounds the memory they take.
const MANY: usize = 8192;

/// How often what has changed is read again, at most: under heavy load it never becomes little.
const ROUNDS: usize = 12;

/// A row as the engine holds it; without a value if it is not there.
type Raw = (Vec<u8>, Option<Vec<u8>>);

/// What changed while a copy is being taken; nothing is noted when none is.
#[derive(Default)]
pub(super) struct Copying(Mutex<Option<BTreeSet<Vec<u8>>>>);

impl Copying {
    /// The keys that a group is about to change, for [`note`](Self::note); none while no copy is being taken.
    pub fn changed_by(&self, tx: &Tx<'_>) -> Vec<Vec<u8>> {
        match *self.lock() {
            Some(_) => tx.keys().cloned().chain([compact::LIVE.to_vec()]).collect(),
            None => Vec::new(),
        }
    }

    /// Notes which keys a group has changed.
    ///
    /// INVARIANT: on the writer thread, once the group's batch is applied and before the next group's commits. Noted any
    /// sooner, a key could be read again before it has changed, and would not be noted once it has.
    pub fn note(&self, keys: Vec<Vec<u8>>) {
        if let Some(changed) = &mut *self.lock() {
            changed.extend(keys);
        }
    }

    /// Ends a copy that can't come to a good end: the engine failed, and what of the last group came to stand is not known.
    pub fn give_up(&self) {
        *self.lock() = None;
    }

    /// Takes what was noted; an error if the copy was given up.
    pub(super) fn take(&self) -> Result<BTreeSet<Vec<u8>>, StoreError> {
        let failed = || StoreError::Copy("the store failed while the copy was being taken; try again".to_owned());
        Ok(std::mem::take(self.lock().as_mut().ok_or_else(failed)?))
    }

    fn count(&self) -> usize {
        self.lock().as_ref().map_or(0, BTreeSet::len)
    }

    fn lock(&self) -> MutexGuard<'_, Option<BTreeSet<Vec<u8>>>> {
        // Each change keeps the set whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A copy of a store.
#[derive(Debug)]
pub struct Copied {
    /// The SHA-256 of the file of rows.
    pub rows: Digest,
    /// The length of that file, in bytes.
    pub bytes: u64,
    /// The landmark as the copy has it.
    pub landmark: Option<Vec<u8>>,
    /// The bodies, and their lengths in bytes.
    pub bodies: Vec<(Digest, u64)>,
    /// How long commits had to wait for the copy, in one piece.
    pub pause: Duration,
}

/// What the writer thread reads at the moment that the copy stands for.
pub(super) struct Cut {
    pub(super) rows: Vec<Raw>,
    landmark: Option<Vec<u8>>,
    pause: Duration,
}

impl Store {
    /// Copies the store into the new file `rows` and the new folder `bodies`, as it is at one moment before this returns;
    /// commits go on meanwhile. Not synced. Blocks on the disk, for as long as reading everything takes.
    ///
    /// Damaged values are copied as they are.
    ///
    /// # Errors
    /// A copy is being taken already, the store fails meanwhile, or the system refuses.
    pub fn copy(&self, rows: &Path, bodies: &Path, landmark: &'static [u8]) -> Result<Copied, StoreError> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(rows);
        let file = file.map_err(StoreError::io("create", rows))?;
        let noting = self.begin_copy()?;
        let mut frames = Frames::new(file);
        let failed = |error| StoreError::io("write", rows)(error);
        frames.out.write_all(HEADER).map_err(failed)?;

        let mut cursor: Option<Vec<u8>> = None;
        loop {
            let batch = self.rows_after(cursor.as_deref())?;
            let Some((last, _)) = batch.last() else { break };
            cursor = Some(last.clone());
            batch.iter().try_for_each(|row| frames.write(row)).map_err(failed)?;
            if self.shared().copying.count() >= MANY {
                // What lies ahead will be read anyway.
                let mut changed = self.shared().copying.take()?;
                changed.retain(|key| Some(key) <= cursor.as_ref());
                self.read_again(changed, |row| frames.write(row).map_err(failed))?;
            }
        }
        for _ in 0..ROUNDS {
            if self.shared().copying.count() <= FEW {
                break;
            }
            let changed = self.shared().copying.take()?;
            self.read_again(changed, |row| frames.write(row).map_err(failed))?;
        }

        // INVARIANT: from before the cut until all bodies have second names none is removed: the rows of the cut name them.
        let staying = self.shared().bodies.keep_all();
        let cut = self.cut(landmark)?;
        drop(noting);
        let staged = self.shared().bodies.stage()?;
        drop(staying);
        cut.rows.iter().try_for_each(|row| frames.write(row)).map_err(failed)?;
        let (digest, bytes) = frames.end().map_err(failed)?;

        create_folder(bodies)?;
        let mut copied = Vec::with_capacity(staged.files.len());
        for (name, path) in &staged.files {
            let body = fs::read(path).map_err(StoreError::io("read the body", path))?;
            if Sha256::digest(&body).as_slice() != name.0 {
                return Err(StoreError::Copy(format!("the body {name} is damaged: its content does not match its name")));
            }
            let name_there = bodies.join(name.to_string());
            let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&name_there);
            written.and_then(|mut file| file.write_all(&body)).map_err(StoreError::io("write", &name_there))?;
            copied.push((*name, body.len() as u64));
        }
        Ok(Copied { rows: digest, bytes, landmark: cut.landmark, bodies: copied, pause: cut.pause })
    }

    /// Has the writer thread note what it changes, until the answer is dropped, also if nobody is there to take it any more.
    pub(super) fn begin_copy(&self) -> Result<Noting, StoreError> {
        let shared = Arc::clone(self.shared());
        self.commit_blocking(Urgency::Now, move |_| {
            let mut copying = shared.copying.lock();
            if copying.is_some() {
                return Err(StoreError::Copy("a copy is being taken already; wait for its end".to_owned()));
            }
            *copying = Some(BTreeSet::new());
            drop(copying);
            Ok(Noting(shared))
        })
    }

    fn rows_after(&self, cursor: Option<&[u8]>) -> Result<Vec<Raw>, StoreError> {
        let from = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        self.read(|engine| {
            let rows = engine.range::<&[u8], _>((from, Bound::Unbounded)).take(BATCH);
            rows.map(|row| row.map(|(key, value)| (key.to_vec(), Some(value.to_vec()))).map_err(StoreError::from)).collect()
        })
    }

    fn read_again(
        &self,
        keys: BTreeSet<Vec<u8>>,
        mut write: impl FnMut(&Raw) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for key in keys {
            let value = self.read(|engine| Ok(engine.get(&key)?))?;
            write(&(key, value.map(|value| value.to_vec())))?;
        }
        Ok(())
    }

    /// Reads what is left to read on the writer thread, where nothing changes meanwhile.
    ///
    /// INVARIANT: the engine itself is read, past the writes of the group this commit is in, which are not durable yet.
    pub(super) fn cut(&self, landmark: &'static [u8]) -> Result<Cut, StoreError> {
        let shared = Arc::clone(self.shared());
        self.commit_blocking(Urgency::Now, move |_| {
            let begun = Instant::now();
            let engine = shared.engine.read().unwrap_or_else(PoisonError::into_inner);
            let engine = engine.as_ref().ok_or_else(|| shared.gate.refusal())?;
            let mut rows = Vec::new();
            for key in shared.copying.take()? {
                let value = engine.get(&key)?.map(|value| value.to_vec());
                rows.push((key, value));
            }
            let landmark = engine.get(landmark)?.map(|value| record::unwrap(landmark, &value)).transpose()?;
            Ok(Cut { rows, landmark, pause: begun.elapsed() })
        })
    }
}

/// Ends the noting of changes when dropped.
pub(super) struct Noting(Arc<Shared>);

impl Drop for Noting {
    fn drop(&mut self) {
        self.0.copying.give_up();
    }
}

/// Writes frames, counting and hashing.
struct Frames {
    out: BufWriter<Hashed>,
    count: u64,
}

impl Frames {
    fn new(file: File) -> Self {
        Self { out: BufWriter::with_capacity(1 << 20, Hashed { file, hash: Sha256::new(), bytes: 0 }), count: 0 }
    }

    fn write(&mut self, (key, value): &Raw) -> io::Result<()> {
        self.out.write_all(&[if value.is_some() { PUT } else { DELETE }])?;
        for part in [Some(key), value.as_ref()].into_iter().flatten() {
            let length = u32::try_from(part.len()).map_err(io::Error::other)?;
            self.out.write_all(&length.to_be_bytes())?;
            self.out.write_all(part)?;
        }
        self.count += 1;
        Ok(())
    }

    fn end(mut self) -> io::Result<(Digest, u64)> {
        self.out.write_all(&[END])?;
        self.out.write_all(&self.count.to_be_bytes())?;
        let Hashed { hash, bytes, .. } = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok((Digest(hash.finalize().into()), bytes))
    }
}

/// A file, and the hash of what was written to it.
struct Hashed {
    file: File,
    hash: Sha256,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
