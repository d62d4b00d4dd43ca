//! Backups: a folder with everything that a host's data folder holds for good, as it was at one moment, and back again.
//!
//! | in the backup | what |
//! |---|---|
//! | `rows` | every row of the store |
//! | `bodies/` | what is too long for a row, by digest |
//! | `keys/` | the secrets, but for the admin token and the keys of waiting calls: a backup is to be kept as safe as the host itself |
//! | `manifest.json` | digests of all that, and the tip of the log; written last, so without it the backup is not finished |

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::act::{self, Act};
use super::chain::TipRow;
use super::{Ledger, LedgerError, keys, queue};
use crate::model::{ADMIN_TOKEN_FILE, Digest, Timestamp};
use crate::store::{self, StoreConfig, Urgency};

/// The format of a backup. A change that an older version would misread raises it.
const FORMAT: u32 = 2;

const MANIFEST: &str = "manifest.json";
const ROWS: &str = "rows";
const BODIES: &str = "bodies";
const KEYS: &str = "keys";

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// When it was finished.
    pub taken_at_ms: Timestamp,
    /// The last record of the log.
    pub seq: u64,
    /// Its hash.
    pub tip: Digest,
    /// How many files there are, besides the manifest.
    pub files: usize,
    /// Their length, in bytes.
    pub bytes: u64,
    /// How long commits had to wait for it, in one piece, in microseconds.
    pub pause_us: u64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// What stands in a backup about itself.
#[derive(Serialize, Deserialize)]
struct Manifest {
    format: u32,
    tidegate: String,
    taken_at_ms: Timestamp,
    seq: u64,
    tip: Digest,
    files: Vec<Listed>,
}

/// One file of a backup.
#[derive(Serialize, Deserialize)]
struct Listed {
    path: String,
    bytes: u64,
    sha256: Digest,
}

impl Ledger {
    /// Takes a backup into `to`, a folder that is new or empty, while calls go on. What it holds is the ledger as it was at one
    /// moment before this returns. Durable on return. Blocks on the disk.
    ///
    /// That it was taken, and by whom, is a record before anything is copied: what is copied holds the host's keys.
    ///
    /// # Errors
    /// The folder is not empty or lies in the data folder, another backup is being taken, the store fails, or the system
    /// refuses. What was written by then is removed.
    pub fn backup(&self, to: &Path, by: &str) -> Result<Backup, LedgerError> {
        let begun = Instant::now();
        if !to.is_absolute() || to.starts_with(self.inner.store.dir()) {
            return refuse(format!("`{}` can't take a backup; name an absolute path outside the data folder", to.display()));
        }
        // INVARIANT: one at a time. Whoever fails clears the folder, and must not clear that of another one who found it empty too.
        let _alone = match self.inner.backing_up.try_lock() {
            Err(TryLockError::WouldBlock) => return refuse("another backup is being taken; wait for its end".to_owned()),
            Err(TryLockError::Poisoned(alone)) => alone.into_inner(),
            Ok(alone) => alone,
        };
        let was_there = to.is_dir();
        create_empty(to)?;
        let taken = self.record_backup(to, by).and_then(|()| self.back_up_into(to, begun));
        if taken.is_err() {
            // Half a backup only takes up room; if even this fails, it has no manifest and is known for what it is.
            for name in [ROWS, BODIES, KEYS] {
                let _ = fs::remove_dir_all(to.join(name)).or_else(|_| fs::remove_file(to.join(name)));
            }
            if !was_there {
                let _ = fs::remove_dir(to);
            }
        }
        taken
    }

    fn record_backup(&self, to: &Path, by: &str) -> Result<(), LedgerError> {
        let (inner, dir, by) = (Arc::clone(&self.inner), to.display().to_string(), by.to_owned());
        self.inner.store.commit_blocking(Urgency::Now, move |tx| {
            act::record(tx, &inner, None, &Act::Backup { by: &by, dir: &dir })?;
            Ok(())
        })
    }

    fn back_up_into(&self, to: &Path, begun: Instant) -> Result<Backup, LedgerError> {
        // INVARIANT: from before the moment that the rows are of until the keys are copied none is destroyed. The record that
        // accounts for it would not be among the rows, and the backup could not be told from one that was tampered with.
        let staying = self.inner.keys_stay.lock().unwrap_or_else(PoisonError::into_inner);
        let copied = self.inner.store.copy(&to.join(ROWS), &to.join(BODIES), keys::TIP)?;
        fail::fail_point!("backup::copied");
        let mut files = vec![Listed { path: ROWS.to_owned(), bytes: copied.bytes, sha256: copied.rows }];
        let bodies = copied.bodies.iter();
        files.extend(bodies.map(|(name, bytes)| Listed { path: format!("{BODIES}/{name}"), bytes: *bytes, sha256: *name }));
        // After the rows: a key is there before the first row that needs it.
        copy_keys(&self.inner.keys, &to.join(KEYS), Path::new(KEYS), &mut files)?;
        drop(staying);
        let row = copied.landmark.map_or_else(|| Ok(TipRow::empty()), |row| TipRow::decode(&row));
        let tip = row.map_err(LedgerError::damaged("the tip of the log"))?.tip;
        let manifest = Manifest {
            format: FORMAT,
            tidegate: env!("CARGO_PKG_VERSION").to_owned(),
            taken_at_ms: Timestamp::now(),
            seq: tip.seq,
            tip: tip.hash,
            files,
        };
        sync(to)?;
        let text = serde_json::to_vec_pretty(&manifest).expect("a manifest is texts and numbers");
        write(&to.join(MANIFEST), &text)?;
        sync(to)?;
        Ok(Backup { pause_us: micros(copied.pause), took_ms: micros(begun.elapsed()) / 1000, ..Backup::of(&manifest) })
    }
}

impl Backup {
    fn of(manifest: &Manifest) -> Self {
        Self {
            taken_at_ms: manifest.taken_at_ms,
            seq: manifest.seq,
            tip: manifest.tip,
            files: manifest.files.len(),
            bytes: manifest.files.iter().map(|file| file.bytes).sum(),
            pause_us: 0,
            took_ms: 0,
        }
    }
}

/// Makes the data folder `data`, which must not exist or be empty, out of the backup `from`. Durable on return. Blocks on the
/// disk.
///
/// Everything is checked first, and put together beside `data`: that is there as a whole, or not at all.
///
/// # Errors
/// The backup is not finished, or not what was written; `data` is not empty; or the system refuses.
pub fn restore(from: &Path, data: &Path, config: &StoreConfig) -> Result<Backup, LedgerError> {
    let begun = Instant::now();
    let manifest = check(from)?;
    let mut unfinished = data.as_os_str().to_owned();
    unfinished.push(".restoring");
    let unfinished = PathBuf::from(unfinished);
    if !is_absent_or_empty(data)? {
        return refuse(format!("`{}` is not empty; name a new folder, so that nothing is overwritten", data.display()));
    }
    match fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return failed("clear", &unfinished)(error),
        _ => {}
    }
    let landmark = store::load(&unfinished, config, &from.join(ROWS), &from.join(BODIES), keys::TIP)?;
    let row = landmark.map_or_else(|| Ok(TipRow::empty()), |row| TipRow::decode(&row));
    let tip = row.map_err(LedgerError::damaged("the tip of the log"))?.tip;
    if (tip.seq, tip.hash) != (manifest.seq, manifest.tip) {
        return refuse(format!("`{}` leads to record {}, not to record {} as it says", from.display(), tip.seq, manifest.seq));
    }
    copy_keys(&from.join(KEYS), &unfinished.join(KEYS), Path::new(KEYS), &mut Vec::new())?;
    sync(&unfinished)?;
    fs::rename(&unfinished, data).or_else(failed("put in its place", data))?;
    let parent = data.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync(parent)?;
    Ok(Backup { took_ms: micros(begun.elapsed()) / 1000, ..Backup::of(&manifest) })
}

/// Reads the manifest of a backup and holds every file against it.
fn check(from: &Path) -> Result<Manifest, LedgerError> {
    let path = from.join(MANIFEST);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return refuse(format!("`{}` is no backup, or one that was not finished: it has no `{MANIFEST}`", from.display()));
        }
        Err(error) => return failed("read", &path)(error),
    };
    let manifest: Manifest = match serde_json::from_slice(&text) {
        Ok(manifest) => manifest,
        Err(error) => return refuse(format!("`{}` makes no sense: {error}; take another backup", path.display())),
    };
    if manifest.format > FORMAT {
        let found = manifest.format;
        return refuse(format!(
            "`{}` has format {found}, this version reads up to {FORMAT}; use the version that wrote it",
            from.display()
        ));
    }
    for listed in &manifest.files {
        let path = from.join(&listed.path);
        let mut hash = Sha256::new();
        let bytes = File::open(&path).and_then(|mut file| io::copy(&mut file, &mut HashSink(&mut hash)));
        let bytes = bytes.or_else(failed("read", &path))?;
        if (bytes, hash.finalize().as_slice()) != (listed.bytes, &listed.sha256.0[..]) {
            return refuse(format!(
                "`{}` is not what was written when the backup was taken; take another backup",
                path.display()
            ));
        }
    }
    Ok(manifest)
}

/// Copies a folder of secrets, for the owner's eyes only.
fn copy_keys(from: &Path, to: &Path, name: &Path, files: &mut Vec<Listed>) -> Result<(), LedgerError> {
    fs::DirBuilder::new().mode(0o700).create(to).or_else(failed("create", to))?;
    for entry in fs::read_dir(from).or_else(failed("list", from))? {
        let entry = entry.or_else(failed("list", from))?;
        let (path, target, name) = (entry.path(), to.join(entry.file_name()), name.join(entry.file_name()));
        // INVARIANT: what waits when a backup is taken may have run by the time it is restored, and must not run twice; and what it
        // was asked to do must not stay readable in a backup. Such keys also go at any moment.
        if entry.file_name() == queue::EPOCHS_FOLDER {
            continue;
        }
        // Nothing is sealed with the admin token: who holds a backup needs none to read it, and must not get into the host with it.
        // A host makes itself another. The same goes for one that is half made, or about to take its place.
        if entry.file_name().to_string_lossy().starts_with(ADMIN_TOKEN_FILE) {
            continue;
        }
        if path.is_dir() {
            copy_keys(&path, &target, &name, files)?;
            continue;
        }
        let content = zeroize::Zeroizing::new(fs::read(&path).or_else(failed("read", &path))?);
        write(&target, &content)?;
        let sha256 = Digest(Sha256::digest(&content).into());
        files.push(Listed { path: name.to_string_lossy().into_owned(), bytes: content.len() as u64, sha256 });
    }
    Ok(())
}

fn create_empty(dir: &Path) -> Result<(), LedgerError> {
    if !is_absent_or_empty(dir)? {
        return refuse(format!("`{}` is not empty; name a new folder for the backup", dir.display()));
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).or_else(failed("create", dir))
}

fn is_absent_or_empty(dir: &Path) -> Result<bool, LedgerError> {
    match fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => failed("look into", dir)(error),
    }
}

fn write(path: &Path, content: &[u8]) -> Result<(), LedgerError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().or_else(failed("write", path))
}

/// Makes all that was written in a folder's file system durable.
fn sync(dir: &Path) -> Result<(), LedgerError> {
    File::open(dir).and_then(|folder| Ok(rustix::fs::syncfs(folder)?)).or_else(failed("sync", dir))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn refuse<T>(why: String) -> Result<T, LedgerError> {
    Err(LedgerError::Backup(why))
}

/// For `or_else`: what could not be done with a file or folder.
fn failed<T>(what: &str, path: &Path) -> impl FnOnce(io::Error) -> Result<T, LedgerError> {
    move |error| refuse(format!("cannot {what} `{}`: {error}", path.display()))
}

/// Feeds what is written to it into a hash.
struct HashSink<'h>(&'h mut Sha256);

impl io::Write for HashSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
