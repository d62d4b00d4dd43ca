//! Where a plugin is to come from, as people write it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::ArtifactError;
use crate::outbound::{OciReference, WebAddress};

/// A place that holds a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A folder, or a `.tar.gz`, of this machine.
    Path(PathBuf),
    /// A `.tar.gz` behind a URL.
    Web(WebAddress),
    /// An artifact in a registry.
    Oci(OciReference),
}

impl FromStr for Source {
    type Err = ArtifactError;

    fn from_str(text: &str) -> Result<Self, ArtifactError> {
        if text.starts_with("oci://") {
            return Ok(Self::Oci(text.parse().map_err(ArtifactError::Source)?));
        }
        if text.starts_with("https://") || text.starts_with("http://") {
            return Ok(Self::Web(text.parse().map_err(ArtifactError::Source)?));
        }
        match text.split_once("://") {
            Some((scheme, _)) => Err(ArtifactError::Source(format!(
                "`{scheme}://` is no way to get a plugin; it may be a folder, a `.tar.gz`, `https://…` or `oci://…`"
            ))),
            None => Ok(Self::Path(Path::new(text).to_owned())),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Web(address) => address.fmt(f),
            Self::Oci(reference) => reference.fmt(f),
        }
    }
}
