//! Which contents a plugin must have, and who must vouch for them: what it was installed with, what the config pins, and whose
//! signatures count.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Anew, InstallError, InstalledSet, Shelf, Version};
use crate::model::Digest;
use crate::registry::artifact::{self, Artifact, Refusal, Trust, Vouched};
use crate::registry::folder::PluginFolder;

/// What was promised of plugins.
#[derive(Clone, Debug, Default)]
pub struct Promises {
    /// Where installed plugins lie: under their digests.
    pub shelf: Option<Shelf>,
    /// `[plugins.pins]`: the digests of plugins, wherever they lie, by name.
    pub pins: BTreeMap<String, Digest>,
    /// The trust file: whose signatures count. Nobody's without one.
    pub trust: Option<PathBuf>,
    /// Whether nothing is loaded, wherever it lies, that nobody vouches for whose signature counts.
    pub require_signatures: bool,
}

/// The same as it stands at one moment, for all plugins of a generation.
pub struct Promised {
    promises: Promises,
    trust: Trust,
    /// Every version that is kept.
    installed: BTreeMap<Digest, Version>,
    /// Signatures that count in place of those that lie there.
    anew: Option<Anew>,
    now: SystemTime,
}

impl Promises {
    /// What was promised, with the trust file and the list of what is installed as they are at this moment. Blocks on the disk.
    ///
    /// # Errors
    /// One of the two can't be read, or makes no sense: then nobody is taken for trusted, and no key for one that was not revoked.
    pub fn now(&self) -> Result<Promised, InstallError> {
        let set = self.shelf.as_ref().map_or_else(|| Ok(InstalledSet::default()), Shelf::read)?;
        let versions = set.plugins.into_values().flat_map(|history| history.versions);
        let installed: BTreeMap<_, _> = versions.map(|version| (version.digest, version)).collect();
        let trust = match &self.trust {
            Some(path) if self.require_signatures || !installed.is_empty() => Trust::open(path)?,
            // Nothing is held to it.
            _ => Trust::default(),
        };
        Ok(Promised { promises: self.clone(), trust, installed, anew: None, now: SystemTime::now() })
    }
}

impl Promised {
    /// The same once these signatures lie beside the contents they are of.
    #[must_use]
    pub fn signed(self, anew: Option<Anew>) -> Self {
        Self { anew, ..self }
    }

    /// Whether the plugin that was read from `folder` is the one that was promised; and who vouches for it, if somebody has to: what
    /// its component tells is to be held to that, with [`Promised::compare`]. Blocks on the disk.
    ///
    /// # Errors
    /// It is another one, or nobody vouches for it who would have to; which one, and what can be done, is told.
    pub fn hold(&self, folder: &PluginFolder) -> Result<Option<Vouched>, InstallError> {
        let PluginFolder { dir, real, manifest, version: read, .. } = folder;
        let Promises { shelf, pins, trust, require_signatures } = &self.promises;
        let laid_down = shelf.as_ref().and_then(|shelf| shelf.promised(dir));
        let pinned = pins.get(&read.plugin).copied();
        if laid_down.is_none() && pinned.is_none() && !require_signatures {
            return Ok(None);
        }
        // Of the bytes that run, not of those that lie there a moment later.
        let artifact = Artifact::of_read(real, manifest, read)?;
        let found = artifact.content();
        let (plugin, lies_in) = (read.plugin.clone(), dir.clone());
        match (laid_down, pinned) {
            (Some(digest), _) if digest != found => Err(InstallError::Tampered { plugin, dir: lies_in, found }),
            (_, Some(pinned)) if pinned != found => Err(InstallError::Pinned { plugin, pinned, dir: lies_in, found }),
            (None, _) if !require_signatures => Ok(None),
            // Nothing says whose signatures count or were revoked.
            _ if !require_signatures && trust.is_none() => Ok(None),
            _ => {
                let anew = self.anew.as_ref().filter(|anew| Some(anew.contents) == laid_down);
                let artifact = match anew {
                    Some(anew) => Artifact { signatures: Some(anew.signatures.clone()), ..artifact },
                    // Damage there is this plugin's, and must not keep others from being put right.
                    None => artifact
                        .with_signatures()
                        .map_err(|damage| self.unvouched(dir, &plugin, Refusal::Damaged(damage.to_string())))?,
                };
                self.vouched(dir, &artifact, laid_down)
            }
        }
    }

    /// Whether the component of the plugin in `dir` tells of its tools what those have signed who vouch for it.
    ///
    /// # Errors
    /// It tells something else.
    pub fn compare(&self, dir: &Path, plugin: &str, vouched: Option<Vouched>, told: Digest) -> Result<(), InstallError> {
        let compared = vouched.map_or(Ok(()), |vouched| vouched.telling(told).map(drop));
        compared.map_err(|refusal| self.unvouched(dir, plugin, refusal))
    }

    /// Who vouches for a plugin that is installed, or has to be signed. What somebody vouched for when it was installed is not served
    /// any more once that was revoked, whether signatures are demanded or not.
    fn vouched(&self, dir: &Path, artifact: &Artifact, laid_down: Option<Digest>) -> Result<Option<Vouched>, InstallError> {
        let is_demanded = self.promises.require_signatures;
        let came = laid_down.and_then(|digest| self.installed.get(&digest));
        // A key that counts for a while only still counts, when that is over, for what came before: this host wrote down when.
        let at = came.map_or(self.now, Version::came);
        let is_lost = artifact.signatures.is_none() && came.is_some_and(|came| came.signed_by.is_some());
        match artifact::verify(artifact, &self.trust, at) {
            Ok(vouched) => Ok(is_demanded.then_some(vouched)),
            // Strangers were let in knowingly.
            Err(refusal) if refusal.is_of_a_stranger() && !is_demanded && !is_lost => Ok(None),
            Err(refusal) => Err(self.unvouched(dir, &artifact.manifest.name, refusal)),
        }
    }

    fn unvouched(&self, dir: &Path, plugin: &str, refusal: Refusal) -> InstallError {
        let Promises { shelf, trust, .. } = &self.promises;
        let trust = trust.as_ref().map_or_else(|| "the trust file".to_owned(), |path| format!("`{}`", path.display()));
        let way_out = match shelf.as_ref().and_then(|shelf| shelf.promised(dir)) {
            Some(_) => format!(
                "go back to a version whose signature counts with `tidegate plugin rollback {plugin}`, take it out with `tidegate \
                 plugin remove {plugin}`, or install it once more, signed with a key that {trust} names and has not revoked"
            ),
            None => format!(
                "`[plugins] require_signatures` demands a signature: make one with `tidegate plugin sign {} --key FILE`, with a key \
                 that {trust} names under `[keys]` and has not revoked",
                dir.display()
            ),
        };
        InstallError::Unvouched { plugin: plugin.to_owned(), dir: dir.to_owned(), refusal: Box::new(refusal), way_out }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::model::{Bytes, PluginVersion, Timestamp};
    use crate::registry::artifact::{PrivateKey, sign};

    const MOST: Bytes = Bytes::kib(1);

    /// A shelf with a plugin on it, signed by `key` if there is one, and the plugin as it is read.
    fn laid_down(data: &Path, key: Option<&PrivateKey>) -> (Shelf, PluginFolder) {
        let shelf = Shelf::of(data);
        let staged = shelf.stage().expect("staged");
        let text = "name = \"demo\"\nversion = \"1\"\ncontract = \"0.1\"\n[[tool]]\nname = \"t\"\neffect = \"read\"\nscopes = [\"use:t\"]\n";
        fs::write(staged.dir().join("plugin.toml"), text).expect("writable");
        fs::write(staged.dir().join("demo.wasm"), b"one").expect("writable");
        fs::write(staged.dir().join("README.md"), b"For people.").expect("writable");
        if let Some(key) = key {
            let signatures = sign(&Artifact::open(staged.dir(), MOST).expect("a plugin"), TOLD, key).expect("signed");
            fs::write(staged.dir().join("plugin.sig"), signatures.to_toml()).expect("writable");
        }
        let dir = shelf.lay_down(staged, MOST).expect("laid down").artifact.dir;
        (shelf, PluginFolder::read(&dir, MOST).expect("a plugin"))
    }

    /// What its component is said to tell.
    const TOLD: Digest = Digest([3; 32]);

    /// As `folder` was read, but with this version.
    fn read(folder: &PluginFolder, version: PluginVersion) -> PluginFolder {
        let PluginFolder { dir, real, manifest, path, .. } = folder;
        let (dir, real, manifest, path) = (dir.clone(), real.clone(), manifest.clone(), path.clone());
        PluginFolder { dir, real, manifest, version, path, wasm: Vec::new() }
    }

    #[test]
    fn what_is_held_to_a_promise_are_the_bytes_that_were_read_whatever_lies_there_now() {
        let data = tempfile::tempdir().expect("a temporary folder");
        let (shelf, folder) = laid_down(data.path(), None);
        let promised = Promises { shelf: Some(shelf), ..Promises::default() }.now().expect("readable");
        assert!(promised.hold(&folder).is_ok());
        // Others were read, and whole ones were put back before anybody looked again.
        let other = Digest(Sha256::digest(b"two").into());
        let component = read(&folder, PluginVersion { component: other, ..folder.version.clone() });
        assert!(matches!(promised.hold(&component), Err(InstallError::Tampered { .. })));
        let manifest = read(&folder, PluginVersion { manifest: other, ..folder.version.clone() });
        assert!(matches!(promised.hold(&manifest), Err(InstallError::Tampered { .. })));
        // The right ones were read, and others were put there since: those don't run.
        fs::remove_file(folder.dir.join("demo.wasm")).expect("the folder is ours");
        fs::write(folder.dir.join("demo.wasm"), b"two").expect("writable");
        assert!(promised.hold(&folder).is_ok());
    }

    #[test]
    fn what_was_installed_by_a_signature_stays_as_long_as_nobody_revokes_it_or_takes_it_away() {
        let data = tempfile::tempdir().expect("a temporary folder");
        let key = PrivateKey::create(&data.path().join("key")).expect("a new key");
        let (shelf, folder) = laid_down(data.path(), Some(&key));
        let version = Version {
            digest: shelf.promised(&folder.dir).expect("it is on the shelf"),
            version: "1".into(),
            component: folder.version.component,
            source: "somewhere".into(),
            signed_by: Some("acme".into()),
            by: "root (uid 0)".into(),
            // 2020-09-13
            installed_ms: Timestamp(1_600_000_000_000),
            active_ms: Timestamp(1_600_000_000_000),
            replaced: None,
        };
        let mut set = InstalledSet::default();
        set.install("demo", version);
        shelf.commit(&set).expect("committed");
        let trust = data.path().join("trust.toml");
        let held = |toml: &str, require_signatures: bool| {
            fs::write(&trust, toml).expect("writable");
            let (shelf, trust) = (Some(shelf.clone()), Some(trust.clone()));
            let promised = Promises { shelf, trust, require_signatures, ..Promises::default() }.now().expect("readable");
            let vouched = promised.hold(&folder).map_err(|error| error.to_string())?;
            assert_eq!(vouched.is_some(), require_signatures);
            promised.compare(&folder.dir, "demo", vouched, TOLD).map_err(|error| error.to_string())
        };
        let trusted = format!("[keys.acme]\nkey = \"{}\"\n", key.public());
        for toml in [&trusted, &format!("{trusted}until = 2020-12-31\n")] {
            assert_eq!((held(toml, false), held(toml, true)), (Ok(()), Ok(())), "{toml}");
        }
        // Over already when it came; meant for others; not named any more: it counts no longer where it has to.
        for toml in [
            &format!("{trusted}until = 2020-01-31\n"),
            &format!("{trusted}plugins = [\"other\"]\n"),
            &"revoked = []\n".to_owned(),
        ] {
            assert!(held(toml, true).is_err(), "{toml}");
        }
        assert_eq!(held("revoked = []\n", false), Ok(()), "to name a key no longer is not to revoke it");
        for require_signatures in [false, true] {
            let revoked = held(&format!("revoked = [\"acme\"]\n{trusted}"), require_signatures).expect_err("revoked");
            for said in ["plugin `demo`", "the key `acme`", "was revoked", "rollback demo", "remove demo", "trust.toml"] {
                assert!(revoked.contains(said), "`{said}`: {revoked}");
            }
        }
        fs::remove_file(folder.dir.join("plugin.sig")).expect("the folder is ours");
        assert!(held(&trusted, false).expect_err("it was signed").contains("it is not signed"));
        // A trust file that is gone says nothing of what was revoked.
        fs::remove_file(&trust).expect("it is there");
        let promises = Promises { shelf: Some(shelf.clone()), trust: Some(trust.clone()), ..Promises::default() };
        assert!(promises.now().err().expect("it is gone").to_string().contains("can't read the trust file"));
    }
}
