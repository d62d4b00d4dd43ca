//! A folder that is open: whatever is named from here on is a name in it, and never a path.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, Access, AtFlags, CWD, Dir, FileType, Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;

use super::place::Place;
use super::reply::Refusal;

/// Never followed, never left open to programs, never a terminal of ours.
const ALWAYS: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::NOCTTY);

/// An open folder.
pub(super) struct Folder(OwnedFd);

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// A file with content.
    File,
    /// A folder.
    Folder,
    /// A symbolic link, which is not followed.
    Link,
    /// A pipe, a socket or a device, which is not opened.
    Other,
}

impl Folder {
    /// The operator's own path, links in it included.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(fs::openat(CWD, path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// The folder that these names lead to, one by one.
    pub(super) fn walk(mut self, names: &[String], place: &Place) -> Result<Self, Refusal> {
        for name in names {
            self = self.folder(name).map_err(|error| self.refusal(error, name, place))?;
        }
        Ok(self)
    }

    /// A folder in this one.
    pub(super) fn folder(&self, name: &str) -> Result<Self, Errno> {
        fs::openat(&self.0, name, ALWAYS | OFlags::DIRECTORY, Mode::empty()).map(Self)
    }

    /// A file in this one, to be read. A pipe does not make anybody wait, and whatever has no content is refused.
    pub(super) fn file(&self, name: &str, place: &Place) -> Result<File, Refusal> {
        let refused = |error| self.refusal(error, name, place);
        // Looked at before it is opened: opening alone has effects on some devices.
        check_file(self.stat(name).map_err(refused)?, place)?;
        let file = fs::openat(&self.0, name, ALWAYS | OFlags::NONBLOCK, Mode::empty()).map_err(refused)?;
        let opened = fs::statx(&file, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).map_err(refused)?;
        check_file(kind(&opened), place)?;
        Ok(File::from(file))
    }

    /// What a name stands for.
    pub(super) fn stat(&self, name: &str) -> Result<Kind, Errno> {
        self.info(name).map(|info| kind(&info))
    }

    /// All there is to know of what a name stands for.
    pub(super) fn info(&self, name: &str) -> Result<Statx, Errno> {
        fs::statx(&self.0, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS | StatxFlags::BTIME)
    }

    /// All there is to know of the folder itself.
    pub(super) fn own_info(&self) -> Result<Statx, Errno> {
        fs::statx(&self.0, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | StatxFlags::BTIME)
    }

    /// The names in it, in no order, as far as `most` entries tell; and whether there are more. Names that are no text are left out: no
    /// request could have one.
    pub(super) fn names(&self, most: usize) -> io::Result<(Vec<String>, bool)> {
        let (mut names, mut looked) = (Vec::new(), 0);
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            if looked == most {
                return Ok((names, true));
            }
            looked += 1;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if !super::write::is_reserved(name) {
                names.push(name.to_owned());
            }
        }
        Ok((names, false))
    }

    /// Whether this process may make files in it.
    pub(super) fn is_writable(&self) -> bool {
        fs::accessat(&self.0, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok()
    }

    /// Why something could not be done with a name in it, in words.
    pub(super) fn refusal(&self, error: Errno, name: &str, place: &Place) -> Refusal {
        // What is no folder may be a link to one; the system says the same of both.
        if matches!(error, Errno::NOTDIR | Errno::LOOP) && self.stat(name) == Ok(Kind::Link) {
            return Refusal::link(place);
        }
        Refusal::of(error, place)
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What a file's mode says it is.
pub(super) fn kind(info: &Statx) -> Kind {
    match FileType::from_raw_mode(info.stx_mode.into()) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Folder,
        FileType::Symlink => Kind::Link,
        _ => Kind::Other,
    }
}

/// Whether it can be read or replaced as a file.
pub(super) fn check_file(kind: Kind, place: &Place) -> Result<(), Refusal> {
    match kind {
        Kind::File => Ok(()),
        Kind::Folder => Err(Refusal::conflict(&format!("`{}` is a folder", place.shown()))),
        Kind::Link => Err(Refusal::link(place)),
        Kind::Other => {
            Err(Refusal::forbidden(&format!("`{}` is a pipe, a socket or a device, and is not opened", place.shown())))
        }
    }
}
