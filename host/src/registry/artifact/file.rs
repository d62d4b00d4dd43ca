//! The files a plugin may consist of, and no others.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::error::{ArtifactError, unreadable};
use crate::model::Bytes;

/// The manifest's name.
pub const MANIFEST: &str = "plugin.toml";
/// The name of what people read.
pub const README: &str = "README.md";
/// The name of the signatures.
pub const SIGNATURES: &str = "plugin.sig";

/// What a file of a plugin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The manifest.
    Manifest,
    /// The component.
    Component,
    /// What people read.
    Readme,
    /// Who signed it.
    Signatures,
}

impl Kind {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Manifest, Self::Component, Self::Readme, Self::Signatures];

    /// The file's name in the folder of the plugin `plugin`.
    pub fn name(self, plugin: &str) -> String {
        match self {
            Self::Manifest => MANIFEST.to_owned(),
            Self::Component => format!("{plugin}.wasm"),
            Self::Readme => README.to_owned(),
            Self::Signatures => SIGNATURES.to_owned(),
        }
    }

    /// Which file of a plugin, whatever the plugin's name, is called `name`.
    pub fn of(name: &str) -> Option<Self> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        match name {
            MANIFEST => Some(Self::Manifest),
            README => Some(Self::Readme),
            SIGNATURES => Some(Self::Signatures),
            _ => {
                let plugin = name.strip_suffix(".wasm")?;
                (!plugin.is_empty() && plugin.len() <= 64 && plugin.chars().all(is_plain)).then_some(Self::Component)
            }
        }
    }

    /// How long the file may be.
    pub fn limit(self, max_component: Bytes) -> Bytes {
        match self {
            Self::Manifest => Bytes::kib(256),
            Self::Component => max_component,
            Self::Readme => Bytes::mib(1),
            Self::Signatures => Bytes::kib(64),
        }
    }
}

/// Opens a plain file, for at most `limit` bytes and one more, by which the reader can tell that there were more.
///
/// # Errors
/// It is not there, is a link or something else than a file, or is longer already.
pub(super) fn open(path: &Path, limit: Bytes) -> Result<io::Take<File>, ArtifactError> {
    // Neither through a link nor, if it is a pipe, waiting for its other end.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let file = match file {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(ArtifactError::NotAFile(path.to_owned()));
        }
        file => file.map_err(|source| unreadable(path, source))?,
    };
    let metadata = file.metadata().map_err(|source| unreadable(path, source))?;
    if !metadata.is_file() {
        return Err(ArtifactError::NotAFile(path.to_owned()));
    }
    if metadata.len() > limit.0 {
        return Err(ArtifactError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(file.take(limit.0.saturating_add(1)))
}
