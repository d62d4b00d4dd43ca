//! Where plugins and policies come from: folders on disk, looked at anew each time.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::artifact::MANIFEST;
use super::error::LoadError;
use super::installed::{Shelf, installed_and};

/// The most plugins a host serves.
const MAX_PLUGINS: usize = 1000;

/// The most entries of a folder that are looked at.
const MAX_ENTRIES: usize = 100_000;

/// The places a host loads from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// A folder of plugin folders, or one plugin folder.
    pub plugins: PathBuf,
    /// Where installed plugins lie.
    pub shelf: Shelf,
    /// The folder of the admin's policies, if there is one.
    pub policies: Option<PathBuf>,
    /// Whether that folder need not be there, and counts from when it comes.
    pub awaits_policies: bool,
    /// The trust file, which says whose plugins are let in.
    pub trust: Option<PathBuf>,
}

impl Sources {
    /// The plugin folders there are now: those of the folder, in name order, and those that are installed.
    ///
    /// # Errors
    /// A folder can't be read, or holds no plugin, or too many.
    pub fn dirs(&self) -> Result<Vec<PathBuf>, LoadError> {
        installed_and(&self.plugins, self.shelf.dirs(&self.shelf.read()?))
    }

    /// The folder of policies to read now; one that is awaited and is not there holds none.
    pub fn policy_folder(&self) -> Option<&Path> {
        let is_absent = |folder: &Path| folder.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound);
        self.policies.as_deref().filter(|folder| !(self.awaits_policies && is_absent(folder)))
    }
}

/// The folders under `root` that hold a `plugin.toml`, in name order; `root` itself if it is one.
///
/// # Errors
/// The folder can't be read, or holds no plugin, or too many.
pub fn plugin_dirs(root: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let is_plugin = |path: &Path| path.join(MANIFEST).exists();
    if is_plugin(root) {
        return Ok(vec![root.to_owned()]);
    }
    let unreadable = |source| LoadError::Unreadable { path: root.to_owned(), source };
    let mut dirs = Vec::new();
    for entry in std::fs::read_dir(root).map_err(unreadable)?.take(MAX_ENTRIES) {
        let path = entry.map_err(unreadable)?.path();
        // What begins with a dot is on its way to or from here.
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && is_plugin(&path) {
            dirs.push(path);
        }
    }
    dirs.sort();
    match dirs.len() {
        0 => Err(LoadError::NoPlugins(root.to_owned())),
        1..=MAX_PLUGINS => Ok(dirs),
        _ => Err(LoadError::TooMany { path: root.to_owned(), limit: MAX_PLUGINS }),
    }
}
