//! A plugin as files, wherever they come from: which files, how they are called by digest, who signed them, and how they travel.
//!
//! | file | what | at most |
//! |---|---|---|
//! | `plugin.toml` | the manifest | 256 KiB |
//! | `<name>.wasm` | the component | what the config says |
//! | `README.md` | for people; optional | 1 MiB |
//! | `plugin.sig` | who signed it; optional, no part of what is signed | 64 KiB |
//!
//! They travel as a `.tar.gz` with these files at its top and nothing else, or as one OCI artifact with a layer per file.

mod archive;
mod error;
mod fetch;
mod file;
mod key;
mod layout;
mod signatures;
mod source;
mod statement;
mod trust;
mod verify;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::manifest;
use crate::model::{Bytes, Digest, Manifest, PluginVersion};

pub use archive::pack;
pub use error::ArtifactError;
pub use fetch::{FetchLimits, Fetched, fetch};
pub use file::{Kind, MANIFEST, SIGNATURES};
pub use key::{PrivateKey, PublicKey};
pub use layout::push;
pub use signatures::{MAX_SIGNATURES, Signatures};
pub use source::Source;
pub use statement::{Statement, published};
pub use trust::{Standing, Trust, TrustError};
pub use verify::{Provenance, Refusal, Unsigned, Vouched, sign, verify};

/// A plugin's files in a folder, read once.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// The folder.
    pub dir: PathBuf,
    /// What the manifest declares.
    pub manifest: Manifest,
    /// SHA-256 of the component.
    pub component: Digest,
    /// SHA-256 of `plugin.toml`.
    pub manifest_digest: Digest,
    /// SHA-256 of `README.md`, if there is one.
    pub readme: Option<Digest>,
    /// The signatures that lie beside, not checked yet.
    pub signatures: Option<Signatures>,
}

impl Artifact {
    /// Reads the plugin in `dir`, whose component is at most `max_component` long. Files that are no part of a plugin don't count.
    ///
    /// # Errors
    /// A file is missing, too large, not a plain file, or broken.
    pub fn open(dir: &Path, max_component: Bytes) -> Result<Self, ArtifactError> {
        Self::open_unsigned(dir, max_component)?.with_signatures()
    }

    /// The same without its signatures, until [`Artifact::with_signatures`].
    ///
    /// # Errors
    /// Those of [`Artifact::open`].
    pub fn open_unsigned(dir: &Path, max_component: Bytes) -> Result<Self, ArtifactError> {
        let (manifest_digest, written) = text(dir, Kind::Manifest)?;
        let manifest = manifest::parse(&dir.join(Kind::Manifest.name("")), &written)?;
        let component = dir.join(Kind::Component.name(&manifest.name));
        if component.symlink_metadata().is_err() {
            return Err(ArtifactError::NoComponent { plugin: manifest.name, path: component });
        }
        let component = digest_and_text(&component, max_component)?.0;
        Ok(Self { dir: dir.to_owned(), manifest, component, manifest_digest, readme: readme(dir)?, signatures: None })
    }

    /// The plugin in `dir` of which this manifest and the component of that digest were read: they are not looked at again, as others
    /// may lie there by now. Without its signatures, until [`Artifact::with_signatures`].
    ///
    /// # Errors
    /// There is a README that can't be read.
    pub fn of_read(dir: &Path, manifest: &Manifest, read: &PluginVersion) -> Result<Self, ArtifactError> {
        let (component, manifest_digest, readme) = (read.component, read.manifest, readme(dir)?);
        Ok(Self { dir: dir.to_owned(), manifest: manifest.clone(), component, manifest_digest, readme, signatures: None })
    }

    /// The same with the signatures that lie beside.
    ///
    /// # Errors
    /// They can't be read, or are broken.
    pub fn with_signatures(self) -> Result<Self, ArtifactError> {
        Ok(Self { signatures: signatures(&self.dir)?, ..self })
    }

    /// What the plugin is called by wherever plugins are kept: one digest over all files but the signatures.
    pub fn content(&self) -> Digest {
        let mut files: BTreeMap<String, Digest> = BTreeMap::new();
        files.insert(Kind::Manifest.name(""), self.manifest_digest);
        files.insert(Kind::Component.name(&self.manifest.name), self.component);
        files.extend(self.readme.map(|digest| (Kind::Readme.name(""), digest)));
        statement::content(&files)
    }

    /// What signatures of this plugin are over, if its component tells what `published` is a digest of.
    pub fn statement(&self, published: Digest) -> Statement<'_> {
        Statement {
            name: &self.manifest.name,
            version: &self.manifest.version,
            component: self.component,
            manifest: self.manifest_digest,
            readme: self.readme,
            published,
        }
    }

    /// The files that there are, the manifest first.
    pub fn files(&self) -> Vec<(Kind, PathBuf)> {
        let mut kinds = vec![Kind::Manifest, Kind::Component];
        kinds.extend(self.readme.map(|_| Kind::Readme));
        kinds.extend(self.signatures.as_ref().map(|_| Kind::Signatures));
        kinds.into_iter().map(|kind| (kind, self.dir.join(kind.name(&self.manifest.name)))).collect()
    }
}

/// The digest of what there is for people to read, if there is something.
fn readme(dir: &Path) -> Result<Option<Digest>, ArtifactError> {
    match dir.join(Kind::Readme.name("")).symlink_metadata() {
        Ok(_) => Ok(Some(text(dir, Kind::Readme)?.0)),
        Err(_) => Ok(None),
    }
}

/// Who signed, if somebody did.
fn signatures(dir: &Path) -> Result<Option<Signatures>, ArtifactError> {
    let path = dir.join(SIGNATURES);
    match path.symlink_metadata() {
        Ok(_) => Ok(Some(Signatures::parse(&path, &text(dir, Kind::Signatures)?.1)?)),
        Err(_) => Ok(None),
    }
}

/// The digest and the text of a file of its own name.
fn text(dir: &Path, kind: Kind) -> Result<(Digest, String), ArtifactError> {
    let path = dir.join(kind.name(""));
    match digest_and_text(&path, kind.limit(Bytes(0)))? {
        (digest, Some(text)) => Ok((digest, text)),
        (_, None) => Err(ArtifactError::NotText(path)),
    }
}

/// The digest of a file, and its text if it is UTF-8.
fn digest_and_text(path: &Path, limit: Bytes) -> Result<(Digest, Option<String>), ArtifactError> {
    let mut bytes = Vec::new();
    file::open(path, limit)?.read_to_end(&mut bytes).map_err(|source| error::unreadable(path, source))?;
    if bytes.len() as u64 > limit.0 {
        return Err(ArtifactError::TooLarge { path: path.to_owned(), limit });
    }
    let digest = Digest(Sha256::digest(&bytes).into());
    Ok((digest, String::from_utf8(bytes).ok()))
}
