//! What is left of writes whose host died before the file took its place: hidden files, which go when a host starts.

use std::io;
use std::sync::Arc;

use rustix::fs::{self, AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::Inner;
use super::folder::Folder;
use super::write::is_part;

/// The most entries of one directory that are looked at, with all folders in it.
const MAX_LOOKED: usize = 1_000_000;

/// How many folders deep one looks.
const MAX_DEPTH: usize = 64;

/// Removes what is left in the directories that can be written to, on a thread of its own: a disk that hangs keeps nobody from starting.
pub(super) fn start(inner: &Arc<Inner>) {
    let inner = Arc::clone(inner);
    let thread = std::thread::Builder::new().name("directory-sweep".to_owned());
    if let Err(error) = thread.spawn(move || sweep(&inner)) {
        tracing::warn!(%error, "what is left of writes that were cut short is not looked for: there is no room for a thread");
    }
}

fn sweep(inner: &Inner) {
    for directory in inner.by_name.values().filter(|directory| directory.is_writable) {
        let (mut left, mut gone) = (MAX_LOOKED, 0);
        // Whoever writes in it waits for as long as it takes to remove one file, and not for the whole look.
        let remove = |folder: &Folder, name: &str| {
            let _alone = directory.changing.blocking_lock();
            remove(folder, name)
        };
        let swept = Folder::open(&directory.path).and_then(|root| below(&root, MAX_DEPTH, &mut left, &remove, &mut gone));
        let path = directory.path.display();
        match swept {
            Ok(()) if gone > 0 => tracing::info!(%path, gone, "removed what was left of writes that were cut short"),
            Ok(()) => {}
            Err(error) => tracing::warn!(%path, %error, gone, "what is left of writes that were cut short can't be looked for"),
        }
    }
}

/// Looks at a folder and at those in it. What can't be looked at by this user was not written by it.
fn below(
    folder: &Folder,
    depth: usize,
    left: &mut usize,
    remove: &impl Fn(&Folder, &str) -> Result<(), Errno>,
    gone: &mut usize,
) -> io::Result<()> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if matches!(name, "." | "..") {
            continue;
        }
        if *left == 0 {
            return Ok(());
        }
        *left -= 1;
        if is_part(name) {
            *gone += usize::from(remove(folder, name).is_ok());
        } else if depth > 1 && matches!(entry.file_type(), FileType::Directory | FileType::Unknown) {
            // No link is followed, and what is no folder is none.
            let Ok(next) = folder.folder(name) else { continue };
            let _ = below(&next, depth - 1, left, remove, gone);
        }
    }
    Ok(())
}

/// Removes a file that nobody is writing: who does holds a lock on it, of this host or another.
fn remove(folder: &Folder, name: &str) -> Result<(), Errno> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = fs::openat(folder, name, flags, Mode::empty())?;
    if FileType::from_raw_mode(fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    fs::unlinkat(folder, name, AtFlags::empty())
}

#[cfg(test)]
mod tests {
    use std::fs as files;

    use super::*;

    #[test]
    fn what_nobody_writes_any_more_goes_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| dir.path().join(name);
        files::create_dir_all(at("a/b")).expect("writable");
        let parts = [".tidegate-0123456789abcdef.part", "a/b/.tidegate-fedcba9876543210.part"];
        let others = [
            ".tidegate-0123456789abcde.part",
            ".tidegate-0123456789ABCDEF.part",
            ".tidegate-notes.part",
            "a/.tidegate-0123456789abcdef.parts",
            "a/b/c.txt",
        ];
        for name in parts.iter().chain(&others) {
            files::write(at(name), "x").expect("writable");
        }
        files::create_dir(at("a/.tidegate-aaaaaaaaaaaaaaaa.part")).expect("writable");
        std::os::unix::fs::symlink(at("a/b/c.txt"), at("a/.tidegate-bbbbbbbbbbbbbbbb.part")).expect("writable");
        let busy = at("a/.tidegate-cccccccccccccccc.part");
        files::write(&busy, "x").expect("writable");
        let writer = files::File::open(&busy).expect("there");
        fs::flock(&writer, FlockOperation::NonBlockingLockExclusive).expect("nobody else has it");
        let swept = || {
            let (mut left, mut gone) = (MAX_LOOKED, 0);
            let root = Folder::open(dir.path()).expect("there");
            below(&root, MAX_DEPTH, &mut left, &remove, &mut gone).expect("readable");
            gone
        };
        assert_eq!(swept(), parts.len());
        assert!(parts.iter().all(|name| !at(name).exists()) && others.iter().all(|name| at(name).exists()));
        assert!(at("a/.tidegate-aaaaaaaaaaaaaaaa.part").is_dir() && at("a/.tidegate-bbbbbbbbbbbbbbbb.part").is_symlink());
        assert!(busy.exists(), "somebody writes it");
        drop(writer);
        assert_eq!((swept(), busy.exists()), (1, false));
    }
}
