//! What can be seen of a file or a folder without opening it: enough to notice that it is another one, or was written.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::SystemTime;

/// A file: device, inode, size, and the times of its content and of its state.
pub type Stamp = [i64; 7];

/// What can be seen of a file; of what it stands for, if it is a link.
///
/// # Errors
/// It is not there, or can't be looked at.
pub fn stamp(path: &Path) -> std::io::Result<Stamp> {
    let file = std::fs::metadata(path)?;
    let [device, inode, size] = [file.dev(), file.ino(), file.size()].map(u64::cast_signed);
    Ok([device, inode, size, file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()])
}

/// Which folder it is: another one can take its name, and even its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
    made: Option<SystemTime>,
}

impl Identity {
    /// Of the folder of this name; `None` if there is none.
    pub fn of(folder: &Path) -> Option<Self> {
        let folder = std::fs::metadata(folder).ok().filter(std::fs::Metadata::is_dir)?;
        Some(Self { device: folder.dev(), inode: folder.ino(), made: folder.created().ok() })
    }
}
