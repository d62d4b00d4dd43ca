//! Folders that plugins ship to be tried: `dev` serves a copy, so that nothing in a clone is changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::outbound::{BackendConfig, DirectoryConfig};

/// The name of the directory that a plugin is granted so.
const DIRECTORY: &str = "demo";

/// A backend of the files in `from`, as they are in `copy`: made the first time, and left alone from then on.
pub fn directories(from: &Path, copy: &Path) -> Result<BackendConfig> {
    if !copy.exists() {
        copy_folder(from, copy)?;
    }
    let path = copy.canonicalize().with_context(|| format!("can't find `{}`", copy.display()))?;
    let directory = DirectoryConfig { path, write: true };
    Ok(BackendConfig::of_directories(BTreeMap::from([(DIRECTORY.to_owned(), directory)])))
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    // Beside it first: one that was copied by half is no copy.
    let half: PathBuf = to.with_extension("copying");
    let copied = copy_entries(from, &half).and_then(|()| std::fs::rename(&half, to));
    copied.with_context(|| format!("can't copy `{}` to `{}`", from.display(), to.display()))
}

fn copy_entries(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_entries(&entry.path(), &target)?,
            false => {
                std::fs::copy(entry.path(), target)?;
            }
        }
    }
    Ok(())
}
