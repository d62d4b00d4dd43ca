//! Plugins that were installed: contents named by their digests, and one small file that says which of them are in force.
//!
//! ```text
//! <data>/plugins/
//!   installed.json                        which digest of each plugin is in force, and which ones it can go back to
//!   sha256/<digest>/plugin.toml           contents: written once, read-only, checked whenever they are loaded
//!   sha256/<digest>/<name>.wasm
//!   staging/                              what is being written; swept by whoever comes next
//! ```
//!
//! INVARIANT: `installed.json` is replaced whole, by a rename, and names only contents that are durable. Whatever dies at whatever
//! moment leaves either what was in force before, or what is in force after.
//!
//! Only the process that owns the data folder writes here; anybody may read.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::error::LoadError;
use super::sources::plugin_dirs;

mod anew;
mod error;
mod promise;
mod set;
mod shelf;

pub use anew::{Anew, LaidDown};
pub use error::InstallError;
pub use promise::{Promised, Promises};
pub use set::{History, InstalledSet, Version, read_digest};
pub use shelf::Shelf;

/// The plugin folders in `folder`, and those that are installed. With some installed, the folder may be empty, and the one that counts
/// if none is named need not be there; one that was named and is gone may be a lost volume.
///
/// # Errors
/// The folder can't be read, or there is no plugin at all.
pub fn installed_and(folder: &Path, installed: Vec<PathBuf>) -> Result<Vec<PathBuf>, LoadError> {
    let found = match plugin_dirs(folder) {
        Err(LoadError::NoPlugins(_)) if !installed.is_empty() => Vec::new(),
        Err(LoadError::Unreadable { source, .. })
            if source.kind() == ErrorKind::NotFound && !installed.is_empty() && folder == Path::new(DEFAULT_FOLDER) =>
        {
            Vec::new()
        }
        found => found?,
    };
    Ok(found.into_iter().chain(installed).collect())
}

/// The folder of plugins that counts if none is named.
pub const DEFAULT_FOLDER: &str = "plugins";
