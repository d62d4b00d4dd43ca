//! Which contents a plugin must have: the ones it was installed with, and the ones that the config pins.

use std::collections::BTreeMap;
use std::path::Path;

use super::{InstallError, Shelf};
use crate::model::{Digest, PluginVersion};
use crate::registry::artifact;

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
    pub fn hold(&self, dir: &Path, read: &PluginVersion) -> Result<(), InstallError> {
        let laid_down = self.shelf.as_ref().and_then(|shelf| shelf.promised(dir));
        let pinned = self.pins.get(&read.plugin).copied();
        if laid_down.is_none() && pinned.is_none() {
            return Ok(());
        }
        // Of the bytes that run, not of those that lie there a moment later.
        let found = artifact::content(dir, &read.plugin, read.manifest, read.component)?;
        let (plugin, dir) = (read.plugin.clone(), dir.to_owned());
        match (laid_down, pinned) {
            (Some(digest), _) if digest != found => Err(InstallError::Tampered { plugin, dir, found }),
            (_, Some(pinned)) if pinned != found => Err(InstallError::Pinned { plugin, pinned, dir, found }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::model::Bytes;
    use crate::registry::artifact::Artifact;

    #[test]
    fn what_is_held_to_a_promise_are_the_bytes_that_were_read_whatever_lies_there_now() {
        let data = tempfile::tempdir().expect("a temporary folder");
        let shelf = Shelf::of(data.path());
        let staged = shelf.stage().expect("staged");
        let text = "name = \"demo\"\nversion = \"1\"\ncontract = \"0.1\"\n[[tool]]\nname = \"t\"\neffect = \"read\"\nscopes = [\"use:t\"]\n";
        fs::write(staged.dir().join("plugin.toml"), text).expect("writable");
        fs::write(staged.dir().join("demo.wasm"), b"one").expect("writable");
        fs::write(staged.dir().join("README.md"), b"For people.").expect("writable");
        let Artifact { dir, component, manifest_digest, .. } = shelf.lay_down(staged, Bytes::kib(1)).expect("laid down");
        let promises = Promises { shelf: Some(shelf), pins: BTreeMap::new() };
        let read = PluginVersion { plugin: "demo".into(), version: "1".into(), component, manifest: manifest_digest };
        assert!(promises.hold(&dir, &read).is_ok());
        // Others were read, and whole ones were put back before anybody looked again.
        let other = PluginVersion { component: Digest(Sha256::digest(b"two").into()), ..read.clone() };
        assert!(matches!(promises.hold(&dir, &other), Err(InstallError::Tampered { .. })));
        let other = PluginVersion { manifest: Digest(Sha256::digest(b"two").into()), ..read.clone() };
        assert!(matches!(promises.hold(&dir, &other), Err(InstallError::Tampered { .. })));
        // The right ones were read, and others were put there since: those don't run.
        fs::remove_file(dir.join("demo.wasm")).expect("the folder is ours");
        fs::write(dir.join("demo.wasm"), b"two").expect("writable");
        assert!(promises.hold(&dir, &read).is_ok());
    }
}
