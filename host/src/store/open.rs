//! Opening a data folder: who owns it, which format it has, and what to do with a damaged one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::body::{create_folder, sync_folder, write_synced};
use super::{StoreConfig, StoreError};
use crate::model::Timestamp;

/// The format of the whole data folder. A change that an older version would misread raises it.
///
/// Format 3 has calls that wait, which an older version would leave waiting; format 4 has such that wait for answers, which an older
/// version would end.
const FORMAT: u32 = 4;

/// The oldest format that this version reads. What is written in it stands in the current one as well.
const OLDEST: u32 = 2;

/// Creates the data folder, or checks that this process may use it: it alone, and in a format it knows.
///
/// The returned file is the lock; it holds as long as the file is open.
pub(super) fn claim_folder(dir: &Path) -> Result<File, StoreError> {
    create_folder(dir)?;
    let lock = lock_folder(dir)?;
    check_format(dir)?;
    Ok(lock)
}

/// Opens the engine in `dir`. Blocks on the disk; a large log takes seconds.
///
/// A log that does not open is tried once more without its snapshots, which only speed up opening: they are written without
/// care for crashes and are the usual culprit. They are kept aside, in a folder named in the error if the second try fails too.
pub(super) fn open_engine(dir: &Path, config: &StoreConfig) -> Result<sled::Db, StoreError> {
    create_folder(dir)?;
    // The engine takes an unfinished snapshot for the newest one and then refuses to open.
    for unfinished in snapshots(dir)?.into_iter().filter(|path| path.to_string_lossy().ends_with(".generating")) {
        fs::remove_file(&unfinished).map_err(StoreError::io("remove the unfinished snapshot", &unfinished))?;
    }
    let problem = match try_open(dir, config) {
        Ok(db) => return Ok(db),
        Err(Failure::Refused(error)) => return Err(error),
        Err(Failure::Damaged(problem)) => problem,
    };
    let aside = dir.join(format!("damaged.{}", Timestamp::now().as_millis()));
    tracing::warn!(%problem, aside = %aside.display(), "the store did not open; trying once more without its snapshots");
    create_folder(&aside)?;
    for snapshot in snapshots(dir)? {
        let kept = aside.join(snapshot.file_name().expect("a listed file has a name"));
        fs::rename(&snapshot, kept).map_err(StoreError::io("set aside the snapshot", &snapshot))?;
    }
    try_open(dir, config).map_err(|failure| match failure {
        Failure::Refused(error) => error,
        Failure::Damaged(problem) => StoreError::Damaged {
            what: format!("the store in `{}`", dir.display()),
            problem: format!("{problem} (its snapshots are kept in `{}`)", aside.display()),
        },
    })
}

/// Why the engine did not open.
enum Failure {
    /// A reason that another try would meet again: permissions, a full disk.
    Refused(StoreError),
    /// The log or a snapshot makes no sense.
    Damaged(String),
}

fn try_open(dir: &Path, config: &StoreConfig) -> Result<sled::Db, Failure> {
    let engine = sled::Config::new()
        .path(dir)
        .cache_capacity(config.cache.0)
        // Durability is the writer's own flush and sync. This thread is kept because it alone reclaims space.
        .flush_every_ms(Some(500));
    // Some damage makes the engine panic instead of answering with an error.
    match catch_unwind(AssertUnwindSafe(|| engine.open())) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(error @ (sled::Error::Corruption { .. } | sled::Error::ReportableBug(_)))) => {
            Err(Failure::Damaged(error.to_string()))
        }
        Ok(Err(sled::Error::Io(error))) => Err(Failure::Refused(StoreError::io("open the store in", dir)(error))),
        Ok(Err(error)) => Err(Failure::Refused(error.into())),
        Err(_) => Err(Failure::Damaged("the storage engine panicked while opening it".to_owned())),
    }
}

fn snapshots(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let list = || {
        let mut paths = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("snap.") {
                paths.push(entry.path());
            }
        }
        Ok(paths)
    };
    list().map_err(StoreError::io("list the folder", dir))
}

fn lock_folder(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(StoreError::io("open the lock file", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // Only names the culprit; a lock file that cannot be read must not hide the real message.
            let _ = (&file).take(20).read_to_string(&mut pid);
            let pid = if pid.trim().is_empty() { "unknown" } else { pid.trim() };
            return Err(StoreError::InUse { dir: dir.to_owned(), pid: pid.to_owned() });
        }
        Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", &path)(error)),
    }
    let mut sign = || {
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        write!(file, "{}", std::process::id())
    };
    sign().map_err(StoreError::io("write the lock file", &path))?;
    Ok(file)
}

/// The format stands in a file of its own, so that it can be read whatever engine wrote the rest.
fn check_format(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join("format");
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse::<u32>() {
            Ok(FORMAT) => Ok(()),
            Ok(OLDEST..FORMAT) => write_format(dir, &path),
            Ok(found) if found < OLDEST => Err(StoreError::OlderFormat { dir: dir.to_owned(), found, known: FORMAT }),
            Ok(found) => Err(StoreError::NewerFormat { dir: dir.to_owned(), found, known: FORMAT }),
            Err(_) => {
                let what = format!("the file `{}`", path.display());
                Err(StoreError::Damaged { what, problem: "it does not hold a format number".to_owned() })
            }
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => write_format(dir, &path),
        Err(error) => Err(StoreError::io("read", &path)(error)),
    }
}

/// INVARIANT: durable before anything is written in this format.
fn write_format(dir: &Path, path: &Path) -> Result<(), StoreError> {
    let unfinished = dir.join("format.new");
    // Left by a crash at this very place; it holds nothing yet that matters.
    let _ = fs::remove_file(&unfinished);
    write_synced(&unfinished, format!("{FORMAT}\n").as_bytes())?;
    fs::rename(&unfinished, path).map_err(StoreError::io("create", path))?;
    sync_folder(dir)
}
