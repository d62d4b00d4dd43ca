//! A plugin as it lies in a folder: its manifest, its component, and the digest of both together.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::InstallError;
use crate::model::{Bytes, Digest, Manifest};
use crate::registry::manifest;

/// The largest manifest.
const MANIFEST_MAX: Bytes = Bytes::kib(256);

/// A plugin's files in a folder, read once.
pub struct Artifact {
    /// The folder.
    pub dir: PathBuf,
    /// What the manifest declares.
    pub manifest: Manifest,
    /// SHA-256 of the component.
    pub component: Digest,
    /// SHA-256 of `plugin.toml`.
    pub manifest_digest: Digest,
}

impl Artifact {
    /// Reads the plugin in `dir`, whose component is at most `max_component` long. Blocks on the disk.
    ///
    /// # Errors
    /// A file is missing, too long or can't be read, or the manifest is broken.
    pub fn open(dir: &Path, max_component: Bytes) -> Result<Self, InstallError> {
        let path = dir.join("plugin.toml");
        let text = read(dir, "plugin.toml", MANIFEST_MAX)?;
        let unreadable =
            |_| InstallError::Unreadable { path: path.clone(), source: std::io::Error::other("it is not UTF-8 text") };
        let manifest = manifest::parse(&path, std::str::from_utf8(&text).map_err(unreadable)?)?;
        let component = read(dir, &format!("{}.wasm", manifest.name), max_component)?;
        let digest = |bytes: &[u8]| Digest(Sha256::digest(bytes).into());
        Ok(Self { dir: dir.to_owned(), component: digest(&component), manifest_digest: digest(&text), manifest })
    }

    /// One digest over all files.
    pub fn content(&self) -> Digest {
        let files = [("plugin.toml".to_owned(), self.manifest_digest), (format!("{}.wasm", self.manifest.name), self.component)];
        let files: BTreeMap<String, Digest> = files.into();
        let mut bytes = b"tidegate/content/1\0".to_vec();
        serde_json_canonicalizer::to_writer(&files, &mut bytes).expect("texts have a canonical form");
        Digest(Sha256::digest(bytes).into())
    }

    /// The files that there are.
    pub fn files(&self) -> Vec<PathBuf> {
        vec![self.dir.join("plugin.toml"), self.dir.join(format!("{}.wasm", self.manifest.name))]
    }
}

fn read(dir: &Path, name: &str, limit: Bytes) -> Result<Vec<u8>, InstallError> {
    let path = dir.join(name);
    let read = || {
        let mut bytes = Vec::new();
        File::open(&path)?.take(limit.0 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) if bytes.len() as u64 > limit.0 => Err(InstallError::TooLong { path, limit }),
        Ok(bytes) => Ok(bytes),
        Err(source) if matches!(std::io::Error::kind(&source), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(InstallError::NoPlugin { dir: dir.to_owned(), missing: name.to_owned() })
        }
        Err(source) => Err(InstallError::Unreadable { path, source }),
    }
}
