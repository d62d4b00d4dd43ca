//! Which contents a plugin must have: the ones it was installed with, and the ones that the config pins.

use std::collections::BTreeMap;
use std::path::Path;

use super::{InstallError, Shelf};
use crate::model::{Bytes, Digest, PluginVersion};
use crate::registry::artifact::Artifact;

/// What was promised of plugins.
#[derive(Clone, Debug, Default)]
pub struct Promises {
    /// Where installed plugins lie: under their digests.
    pub shelf: Option<Shelf>,
    /// `[plugins.pins]`: the digests of plugins, wherever they lie, by name.
    pub pins: BTreeMap<String, Digest>,
}

impl Promises {
    /// Whether the plugin in `dir`, of which `read` was read, is the one that was promised. Blocks on the disk.
    ///
    /// # Errors
    /// It is another one; both digests are told.
    pub fn hold(&self, dir: &Path, read: &PluginVersion, max_component: Bytes) -> Result<(), InstallError> {
        let laid_down = self.shelf.as_ref().and_then(|shelf| shelf.promised(dir));
        let pinned = self.pins.get(&read.plugin).copied();
        if laid_down.is_none() && pinned.is_none() {
            return Ok(());
        }
        let artifact = Artifact::open(dir, max_component)?;
        let (plugin, dir, found) = (read.plugin.clone(), dir.to_owned(), artifact.content());
        // Of the bytes that run, not of those that lie there a moment later.
        let is_same = artifact.component == read.component && artifact.manifest_digest == read.manifest;
        match (laid_down, pinned) {
            (Some(digest), _) if digest != found || !is_same => Err(InstallError::Tampered { plugin, dir, found }),
            (_, Some(pinned)) if pinned != found || !is_same => Err(InstallError::Pinned { plugin, pinned, dir, found }),
            _ => Ok(()),
        }
    }
}
