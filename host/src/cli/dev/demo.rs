//! Folders that plugins ship to be tried: `dev` serves a copy, so that nothing in a clone is changed.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::model::Bytes;
use crate::outbound::{BackendConfig, DirectoryConfig};

/// The name of the directory that a plugin is granted so.
const DIRECTORY: &str = "demo";
/// The most files and folders that are copied.
const MAX_ENTRIES: usize = 1000;
/// The most bytes that are copied.
const MAX_SIZE: Bytes = Bytes::mib(64);
/// How deep folders are looked into.
const MAX_DEPTH: usize = 16;

/// A backend of the files in `from`, as they are in `copy`: made the first time, and left alone from then on. Nothing but the host
/// makes anything at `copy`.
///
/// # Errors
/// They can't be copied, or are more than may be shipped so.
pub fn directories(from: &Path, copy: &Path) -> Result<BackendConfig> {
    match copy.symlink_metadata() {
        Ok(there) => ensure!(there.is_dir(), "`{}` is no folder; remove it", copy.display()),
        Err(_) => copy_folder(from, copy).with_context(|| format!("can't copy `{}` to `{}`", from.display(), copy.display()))?,
    }
    let path = copy.canonicalize().with_context(|| format!("can't find `{}`", copy.display()))?;
    let directory = DirectoryConfig { path, write: true };
    Ok(BackendConfig::of_directories(BTreeMap::from([(DIRECTORY.to_owned(), directory)])))
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    let above = to.parent().context("it lies in no folder")?;
    DirBuilder::new().recursive(true).mode(0o700).create(above)?;
    // Beside it first: one that was copied by half is no copy.
    let half = to.with_extension("copying");
    if half.symlink_metadata().is_ok() {
        std::fs::remove_dir_all(&half)?;
    }
    let mut left = Allowance { entries: MAX_ENTRIES, bytes: MAX_SIZE.0 };
    left.copy(from, &half, MAX_DEPTH)?;
    Ok(std::fs::rename(&half, to)?)
}

/// What may still be copied.
struct Allowance {
    entries: usize,
    bytes: u64,
}

impl Allowance {
    fn copy(&mut self, from: &Path, to: &Path, depth: usize) -> Result<()> {
        ensure!(depth > 0, "it is more than {MAX_DEPTH} folders deep");
        DirBuilder::new().mode(0o700).create(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            let (path, target) = (entry.path(), to.join(entry.file_name()));
            self.entries = self.entries.checked_sub(1).with_context(|| format!("it holds more than {MAX_ENTRIES} files"))?;
            match entry.file_type()? {
                kind if kind.is_dir() => self.copy(&path, &target, depth - 1)?,
                kind if kind.is_file() => self.copy_file(&path, &target)?,
                // A link leads to what the plugin's author can't know, and a pipe or a device nowhere.
                _ => eprintln!("`{}` is no file and no folder, and is not copied", path.display()),
            }
        }
        Ok(())
    }

    fn copy_file(&mut self, from: &Path, to: &Path) -> Result<()> {
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(i32::try_from(flags.bits())?).open(from)?;
        if !file.metadata()?.is_file() {
            bail!("`{}` was a file and is none any more", from.display());
        }
        // One byte more than may be: it may be growing.
        let copied = io::copy(&mut file.take(self.bytes.saturating_add(1)), &mut File::create_new(to)?)?;
        self.bytes = self.bytes.checked_sub(copied).with_context(|| format!("it holds more than {MAX_SIZE}"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied(fill: impl FnOnce(&Path)) -> (tempfile::TempDir, Result<BackendConfig>) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let shipped = folder.path().join("shipped");
        std::fs::create_dir_all(shipped.join("sub")).expect("made");
        std::fs::write(shipped.join("sub/a.txt"), "a").expect("written");
        fill(&shipped);
        let result = directories(&shipped, &folder.path().join("data/demo/plugin/files"));
        (folder, result)
    }

    #[test]
    fn files_are_copied_once_and_nothing_that_leads_elsewhere() {
        let (folder, result) = copied(|shipped| {
            std::fs::write(shipped.join("../secret"), "secret").expect("written");
            std::os::unix::fs::symlink("../secret", shipped.join("link")).expect("made");
            std::os::unix::fs::symlink("/dev/zero", shipped.join("zero")).expect("made");
            std::os::unix::fs::symlink("..", shipped.join("above")).expect("made");
        });
        result.expect("it is copied");
        let copy = folder.path().join("data/demo/plugin/files");
        let names: Vec<_> = std::fs::read_dir(&copy).expect("a folder").map(|entry| entry.expect("one").file_name()).collect();
        assert_eq!(names, ["sub"], "no link");
        std::fs::write(copy.join("sub/a.txt"), "edited").expect("written");
        directories(&folder.path().join("shipped"), &copy).expect("it is there");
        assert_eq!(std::fs::read_to_string(copy.join("sub/a.txt")).expect("a file"), "edited");
    }

    #[test]
    fn more_than_may_be_shipped_is_refused_and_leaves_no_copy() {
        let many = |shipped: &Path| {
            for n in 0..MAX_ENTRIES {
                std::fs::write(shipped.join(n.to_string()), "").expect("written");
            }
        };
        let large = |shipped: &Path| {
            File::create_new(shipped.join("large")).and_then(|file| file.set_len(MAX_SIZE.0 + 1)).expect("written");
        };
        for (folder, result) in [copied(many), copied(large)] {
            let said = format!("{:#}", result.expect_err("it is too much"));
            assert!(said.contains("it holds more than"), "{said}");
            assert!(!folder.path().join("data/demo/plugin/files").exists());
        }
    }
}
