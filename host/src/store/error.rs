//! What can go wrong with the store, in words for the person who has to mend it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::model::Bytes;

/// Why the store could not be opened, read or written.
///
/// Cloneable, because one failed sync is the answer to everyone whose commit was in that group.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process owns the folder.
    #[error("the data folder `{}` is in use by process {pid}; stop that process, or choose another folder with `--data`", dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
        /// The process that holds the lock, as it wrote itself down.
        pid: String,
    },
    /// The folder was written by a later version.
    #[error(
        "the data folder `{}` has format {found}, this version reads up to {known}; \
         run the version of tidegate that wrote it, or choose another folder with `--data`",
        dir.display()
    )]
    NewerFormat {
        /// The folder.
        dir: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format this version reads.
        known: u32,
    },
    /// The folder was written by an earlier version, in a way that this one does not read.
    #[error(
        "the data folder `{}` has format {found}, this version reads {known}; keep it for the version of tidegate that wrote it, and \
         name an empty folder with `--data`",
        dir.display()
    )]
    OlderFormat {
        /// The folder.
        dir: PathBuf,
        /// The format found.
        found: u32,
        /// The format this version reads.
        known: u32,
    },
    /// What is stored is not what was written.
    #[error(
        "{what} is damaged: {problem}; restore a backup (`tidegate audit restore`), or move the data folder away to start empty"
    )]
    Damaged {
        /// The file or value.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The operating system refused.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried, such as `create the folder`.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why it failed.
        source: Arc<io::Error>,
    },
    /// The storage engine failed to read.
    #[error("the storage engine failed: {0}")]
    Engine(Arc<sled::Error>),
    /// The store takes no writes.
    #[error("the store takes no writes: {why}")]
    Closed {
        /// The failure that shut it and what is being done about it, or that it was shut down.
        why: Arc<str>,
    },
    /// The disk is so full that new work is refused, while what already runs can still be written down.
    #[error("the disk of `{}` has {free} left, less than the {min_free} that `min_free` demands; free some space", dir.display())]
    DiskLow {
        /// The data folder.
        dir: PathBuf,
        /// Space left for this process.
        free: Bytes,
        /// The configured reserve.
        min_free: Bytes,
    },
    /// The commit took longer than callers wait. It may still come to stand; see [`Store::commit_in`](super::Store::commit_in).
    #[error("the store did not answer within {after:?}; its disk is too slow or stuck")]
    Timeout {
        /// The configured wait.
        after: Duration,
    },
    /// A copy could not be taken or loaded.
    #[error("{0}")]
    Copy(String),
    /// A value is longer than one value may be.
    #[error("a value of {bytes} bytes is longer than the {max} bytes the store takes")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The most that is taken.
        max: usize,
    },
}

impl StoreError {
    pub(super) fn closed(why: impl Into<Arc<str>>) -> Self {
        Self::Closed { why: why.into() }
    }

    pub(super) fn damaged_value(key: &[u8], problem: &str) -> Self {
        let name = key.iter().flat_map(|byte| std::ascii::escape_default(*byte)).map(char::from).collect::<String>();
        Self::Damaged { what: format!("the stored value `{name}`"), problem: problem.to_owned() }
    }

    /// For `map_err`: an I/O error and what it interrupted.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source: Arc::new(source) }
    }
}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> Self {
        Self::Engine(Arc::new(error))
    }
}
