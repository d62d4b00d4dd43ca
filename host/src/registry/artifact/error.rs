//! Why there is no plugin: what is wrong with its files, or with where they come from.

use std::io;
use std::path::{Path, PathBuf};

use crate::model::{Bytes, DocumentError};
use crate::outbound::DownloadError;

/// Why the files of a plugin can't be had.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// A file could not be read.
    #[error("can't read `{}`: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("can't write `{}`: {source}", .path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A link, a folder or a device where a file should be.
    #[error("`{}` is not a plain file; links don't count", .0.display())]
    NotAFile(PathBuf),
    /// A text that is none.
    #[error("`{}` is not UTF-8 text", .0.display())]
    NotText(PathBuf),
    /// A file is longer than it may be.
    #[error("`{}` is longer than the {limit} it may have", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: Bytes,
    },
    /// The manifest or the signatures are broken.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The component is missing.
    #[error("there is no component at `{}`; the component of plugin `{plugin}` has that name", .path.display())]
    NoComponent {
        /// The plugin's name.
        plugin: String,
        /// Where it should be.
        path: PathBuf,
    },
    /// The archive holds what no plugin has, or is damaged.
    #[error("`{archive}` is not the archive of a plugin: {problem}")]
    Archive {
        /// The file as the user named it.
        archive: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The registry holds something else there.
    #[error("`{place}` is not a plugin: {problem}")]
    NotAPlugin {
        /// Where it is.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
    /// What was given is no place where a plugin could be.
    #[error("{0}")]
    Source(String),
    /// It could not be fetched.
    #[error(transparent)]
    Download(#[from] DownloadError),
}

pub(super) fn unreadable(path: &Path, source: io::Error) -> ArtifactError {
    ArtifactError::Unreadable { path: path.to_owned(), source }
}

pub(super) fn unwritable(path: &Path, source: io::Error) -> ArtifactError {
    ArtifactError::Unwritable { path: path.to_owned(), source }
}
