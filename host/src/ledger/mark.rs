//! A mark outside the store of how far the log had got, so that a log which has lost its end does not go unnoticed.
//!
//! A damaged engine may open as if nothing were wrong, at an earlier state. The mark is written once a second, never ahead of
//! what is durable, and only ever a lower bound: it needs no sync of its own. It protects from accidents; against somebody who
//! rewrites files, tips have to be kept elsewhere.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::chain::Tip;
use super::{Ledger, LedgerError};

/// The file in the data folder: the sequence and the hash of a record, on one line.
fn path(dir: &Path) -> PathBuf {
    dir.join("ledger.mark")
}

/// Writes the mark. `tip` has to be durable.
pub(super) fn write(dir: &Path, tip: &Tip) -> io::Result<()> {
    let unfinished = dir.join("ledger.mark.new");
    fs::write(&unfinished, format!("{} {}\n", tip.seq, tip.hash))?;
    fail::fail_point!("mark::unnamed", |_| std::process::abort());
    fs::rename(unfinished, path(dir))
}

/// Checks that the log still leads through the marked record.
pub(super) fn check(ledger: &Ledger) -> Result<(), LedgerError> {
    let path = path(ledger.inner.store.dir());
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(LedgerError::damaged(format!("the mark `{}`", path.display()))(error)),
    };
    let Some((seq, hash)) = text.trim().split_once(' ').and_then(|(seq, hash)| Some((seq.parse::<u64>().ok()?, hash))) else {
        // A power cut can leave the file empty. It is a safety net, not a reason to refuse.
        tracing::warn!(path = %path.display(), "the mark of the log is unreadable and is ignored");
        return Ok(());
    };
    let reached = ledger.tip()?.seq;
    let found = ledger.records(seq, 1)?;
    if found.first().is_some_and(|record| record.head.seq == seq && record.hash.to_string() == hash) {
        return Ok(());
    }
    Err(LedgerError::RolledBack { marked: seq, reached, mark: path })
}
