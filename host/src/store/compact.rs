//! Giving space back: the engine reuses what was deleted and never gives it back, so a store that has lost most of what it held is
//! written anew when it is opened.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::body::sync_folder;
use super::{StoreConfig, StoreError, open, record, space};
use crate::model::Bytes;

/// The row that tells how many bytes all rows have together, keys and values as they are stored, itself not counted. Changed in
/// the same batch as they are. It sorts behind every row of the ledger.
pub(super) const LIVE: &[u8] = b"~live";

/// The folder beside the engine's own in which it is written anew, and which holds the old one afterwards.
const ASIDE: &str = "store.compact";

/// The file in the data folder that tells how large the engine's files and its rows were when it was last written anew.
const REACHED: &str = "store.compacted";

/// Below this the engine's files are not worth the work.
fn worth() -> Bytes {
    fail::fail_point!("compact::worth", |_| Bytes(0));
    Bytes::mib(64)
}

/// How many times as large as the rows the engine's files may be.
const RATIO: u64 = 2;

/// How long an engine that was closed may hold on to its lock.
const LET_GO: Duration = Duration::from_secs(5);

/// How many rows are written at a time.
const BATCH: usize = 256;

/// How many bytes all rows have; counted, which takes its time, in a store that does not know.
pub(super) fn live_bytes(db: &sled::Db) -> Result<u64, StoreError> {
    if let Some(row) = db.get(LIVE)? {
        let number = record::unwrap(LIVE, &row)?;
        return Ok(u64::from_be_bytes(number.try_into().map_err(|_| StoreError::damaged_value(LIVE, "it is no number"))?));
    }
    db.iter().try_fold(0, |sum, row| row.map(|(key, value)| sum + row_bytes(&key, &value)).map_err(StoreError::from))
}

pub(super) fn row_bytes(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

/// Removes what a compaction left that was cut off, or had just finished.
pub(super) fn clean_up(dir: &Path) -> Result<(), StoreError> {
    let aside = dir.join(ASIDE);
    match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(StoreError::io("remove the folder", &aside)(error)),
        _ => Ok(()),
    }
}

/// Writes the engine in `dir` anew if its files are far larger than what it holds, and answers the one to use.
///
/// INVARIANT: `store` is a whole engine at every moment. The new one is durable before the two folders change names, which is one
/// step; a crash before it leaves the old one, a crash after it the new one.
pub(super) fn compact(dir: &Path, config: &StoreConfig, db: sled::Db) -> Result<sled::Db, StoreError> {
    let (engine, aside) = (dir.join("store"), dir.join(ASIDE));
    let on_disk = bytes_on_disk(&engine).map_err(StoreError::io("measure the folder", &engine))?;
    if on_disk <= worth().0 {
        return Ok(db);
    }
    let live = live_bytes(&db)?;
    if on_disk <= ratio(dir) * live {
        return Ok(db);
    }
    if let Err(low) = space::require(dir, Bytes(RATIO * live + worth().0)) {
        tracing::warn!(%low, "the store could give space back, but there is too little to write it anew");
        return Ok(db);
    }
    let begun = Instant::now();
    tracing::info!(on_disk = %Bytes(on_disk), live = %Bytes(live), "writing the store anew, to give space back");
    write_anew(&db, &aside, config)?;
    drop(db);
    let sync = || File::open(dir).and_then(|folder| Ok(rustix::fs::syncfs(folder)?));
    sync().map_err(StoreError::io("sync the folder", dir))?;
    fail::fail_point!("compact::written", |_| std::process::abort());
    match renameat_with(CWD, &aside, CWD, &engine, RenameFlags::EXCHANGE) {
        Ok(()) => sync_folder(dir)?,
        // A file system that can't.
        Err(error) => tracing::warn!(%error, "the store written anew can't take the place of the old one, which stays"),
    }
    fail::fail_point!("compact::exchanged", |_| std::process::abort());
    clean_up(dir)?;
    let db = open_again(&engine, config)?;
    let after = bytes_on_disk(&engine).map_err(StoreError::io("measure the folder", &engine))?;
    // Only a hint: without it the next start may do the same again.
    let _ = fs::write(dir.join(REACHED), format!("{after} {live}\n"));
    tracing::info!(took = ?begun.elapsed(), on_disk = %Bytes(after), "the store was written anew");
    Ok(db)
}

/// How many times as large as the rows the engine's files may be: at least [`RATIO`], and well above what writing them anew has
/// reached. Many small rows take more than their length.
fn ratio(dir: &Path) -> u64 {
    let reached = fs::read_to_string(dir.join(REACHED)).ok().and_then(|text| {
        let (on_disk, live) = text.trim().split_once(' ')?;
        on_disk.parse::<u64>().ok()?.checked_div(live.parse().ok()?)
    });
    reached.map_or(RATIO, |reached| RATIO.max(reached + 2))
}

/// Opens an engine that this process had open a moment ago: its threads may hold on to its lock for another moment.
fn open_again(dir: &Path, config: &StoreConfig) -> Result<sled::Db, StoreError> {
    let until = Instant::now() + LET_GO;
    loop {
        match open::open_engine(dir, config) {
            Err(StoreError::Io { .. }) if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
            opened => return opened,
        }
    }
}

fn write_anew(from: &sled::Db, to: &Path, config: &StoreConfig) -> Result<(), StoreError> {
    let new = open::open_engine(to, config)?;
    let (mut batch, mut rows) = (sled::Batch::default(), 0_u64);
    for row in from.iter() {
        let (key, value) = row?;
        batch.insert(key, value);
        rows += 1;
        if rows.is_multiple_of(BATCH as u64) {
            new.apply_batch(std::mem::take(&mut batch))?;
            // What the engine replaces while it grows can be reused at once if it is flushed.
            new.flush()?;
        }
    }
    new.apply_batch(batch)?;
    new.flush()?;
    if new.len() as u64 != rows {
        return Err(StoreError::Copy(format!(
            "`{}` does not hold what was written to it; its disk may be failing",
            to.display()
        )));
    }
    Ok(())
}

/// What the files in a folder take up.
pub(super) fn bytes_on_disk(dir: &Path) -> std::io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        sum += match entry.file_type()?.is_dir() {
            true => bytes_on_disk(&entry.path())?,
            false => entry.metadata()?.blocks() * 512,
        };
    }
    Ok(sum)
}
