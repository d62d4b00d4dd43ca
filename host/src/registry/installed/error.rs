//! What can go wrong with installed plugins, in words for the operator.

use std::path::{Path, PathBuf};

use crate::model::Digest;
use crate::registry::artifact::{ArtifactError, Refusal, TrustError};
use crate::store::StoreError;

/// Why plugins could not be installed, found or put in force. What was in force stays so.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The disk, or the operating system.
    #[error(transparent)]
    Disk(#[from] StoreError),
    /// A file could not be read.
    #[error("can't read `{}`: {source}", .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The files are not those of a plugin.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// Contents that are not what they were when they were installed.
    #[error(
        "`{}` was changed after it was installed: its digest is sha256:{found}; install `{plugin}` again, or go back to another version \
         of it with `tidegate plugin rollback {plugin} --to VERSION`",
        .dir.display()
    )]
    Tampered {
        /// The plugin.
        plugin: String,
        /// The folder, named by the digest it should have.
        dir: PathBuf,
        /// The digest it has.
        found: Digest,
    },
    /// A plugin that is not the one that the config pins.
    #[error(
        "`[plugins.pins]` pins `{plugin}` to sha256:{pinned}, but `{}` is sha256:{found}; put the pinned one there, or change the pin",
        .dir.display()
    )]
    Pinned {
        /// The plugin.
        plugin: String,
        /// The digest that the config wants.
        pinned: Digest,
        /// The folder it lies in.
        dir: PathBuf,
        /// The digest found.
        found: Digest,
    },
    /// Contents that were signed again and again.
    #[error(
        "plugin `{plugin}` would have more than the {most} signatures that are looked at; to start over, take it out with `tidegate \
         plugin remove {plugin}`, and install it again"
    )]
    Crowded {
        /// The plugin.
        plugin: String,
        /// How many are looked at.
        most: usize,
    },
    /// Nobody vouches for a plugin who would have to, or nobody does any more.
    #[error("plugin `{plugin}` in `{}`: {refusal}; {way_out}", .dir.display())]
    Unvouched {
        /// The plugin.
        plugin: String,
        /// The folder it lies in.
        dir: PathBuf,
        /// Why nobody does.
        refusal: Box<Refusal>,
        /// What can be done about it.
        way_out: String,
    },
    /// Whose signatures count can't be told.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The file that says what is in force makes no sense.
    #[error("`{}` is damaged: {problem}; restore it from a backup, or move it away and install the plugins again", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// No such plugin, or no such version of it.
    #[error("{0}")]
    Unknown(String),
}

impl InstallError {
    /// The folder of the plugin that nobody vouches for, if it is that.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Unvouched { dir, .. } => Some(dir),
            _ => None,
        }
    }
}
