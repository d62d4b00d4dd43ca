//! A file as a sink: lines are appended whole and synced, and what a crash left of one is cut off.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::super::{Ledger, LedgerError, audit, chain};
use super::batch::{Batch, Format, Shape};
use super::run::{Failure, Target};
use super::tail::{Place, Tail};

/// The file of a sink.
pub(super) struct FileTarget {
    path: PathBuf,
    format: Format,
    open: Option<Open>,
}

/// The file as it was found or left.
struct Open {
    file: File,
    /// Device and number: whether the path still leads here.
    identity: (u64, u64),
    /// Its length: whether somebody else changed it.
    length: u64,
    /// The last record in it, or the last before it; not known of an empty file without a header.
    last: Option<u64>,
}

impl Open {
    fn is_current(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity && found.len() == self.length)
    }
}

impl FileTarget {
    pub fn new(path: PathBuf, format: Format) -> Self {
        Self { path, format, open: None }
    }

    /// Opens the file, cuts off what a crash left, and gives a new one its header, which begins at record `next`.
    fn open(&self, ledger: &Ledger, next: u64) -> Result<Open, Failure> {
        let is_new = !self.path.exists();
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&self.path);
        let mut file = file.map_err(|error| self.failed("open", &error))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| Failure::later(format!("another process writes to `{}`", self.path.display())))?;
        if is_new {
            let folder = self.path.parent().unwrap_or(Path::new("."));
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| self.failed("sync the folder of", &error))?;
        }
        let tail = Tail::read(&file).map_err(|error| self.failed("read", &error))?;
        // INVARIANT: nothing is cut off before it is clear that the file is one of ours.
        let last = self.place(ledger, &tail)?;
        let mut length = tail.whole;
        file.set_len(length).map_err(|error| self.failed("shorten", &error))?;
        let mut last = last.map(|place| place.seq);
        if self.format == Format::Jsonl && last.is_none() {
            let header = ledger.export_header(next)?;
            let header = serde_json::to_string(&header).expect("a header is JSON") + "\n";
            file.write_all(header.as_bytes()).map_err(|error| self.failed("write to", &error))?;
            length += header.len() as u64;
            last = Some(next - 1);
        }
        file.sync_all().map_err(|error| self.failed("sync", &error))?;
        let found = file.metadata().map_err(|error| self.failed("look at", &error))?;
        Ok(Open { file, identity: (found.dev(), found.ino()), length, last })
    }

    /// The record that the file ends with.
    fn place(&self, ledger: &Ledger, tail: &Tail) -> Result<Option<Place>, Failure> {
        let other = |what: &str| Failure::later(format!("`{}` {what}; move it away or name another one", self.path.display()));
        let Some((first, last)) = tail.first.as_deref().zip(tail.last.as_deref()) else {
            return if tail.is_foreign { Err(other("holds something else")) } else { Ok(None) };
        };
        let key = ledger.public_key();
        let place = self.format.place(first, last, (key.name(), &key.to_string()));
        let place = place.ok_or_else(|| other("does not end with a record of this log in this format"))?;
        let store = &ledger.inner.store;
        let dropped = super::super::base::start(store)?.tree.size();
        if place.seq > dropped {
            // A log that was set back to an earlier state goes on differently.
            let head = audit::heads(store, place.seq, 1)?;
            if head.first().is_none_or(|head| chain::hash(head) != place.hash) {
                return Err(other(&format!("ends with a record {} that is not the one of this log", place.seq)));
            }
        }
        Ok(Some(place))
    }

    fn failed(&self, what: &str, error: &io::Error) -> Failure {
        Failure::later(format!("can't {what} `{}`: {error}", self.path.display()))
    }
}

impl Target for FileTarget {
    fn shape(&self) -> Shape {
        Shape::Line(self.format)
    }

    fn next(&mut self, ledger: &Ledger, after: u64, lowest: u64) -> Result<u64, Failure> {
        // Rotated, removed, or cut: what is at the path now counts.
        self.open = self.open.take().filter(|open| open.is_current(&self.path));
        let next = lowest.max(after + 1);
        if self.open.is_none() {
            self.open = Some(self.open(ledger, next)?);
        }
        let last = self.open.as_ref().and_then(|open| open.last);
        match last {
            // The chain does not lead over what was skipped.
            Some(last) if self.format == Format::Jsonl && last + 1 < lowest => {
                let mut aside: OsString = self.path.clone().into_os_string();
                aside.push(format!(".until-{last}"));
                fs::rename(&self.path, &aside).map_err(|error| self.failed("set aside", &error))?;
                self.open = Some(self.open(ledger, next)?);
                Ok(next)
            }
            // The file itself knows best: a crash can come between it and the cursor.
            Some(last) => Ok(lowest.max(last + 1)),
            None => Ok(next),
        }
    }

    fn send(&mut self, batch: &Batch) -> Result<(), Failure> {
        let mut lines = batch.items.join("\n");
        lines.push('\n');
        let mut open = self.open.take().expect("`next` has opened it");
        let written = open.file.write_all(lines.as_bytes()).and_then(|()| open.file.sync_data());
        // Not put back after a failure: looked at again, what was written in part is cut off.
        written.map_err(|error| self.failed("write to", &error))?;
        open.length += lines.len() as u64;
        open.last = Some(batch.last);
        self.open = Some(open);
        Ok(())
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        Self::later(error.to_string())
    }
}
