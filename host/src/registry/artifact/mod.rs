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
use crate::model::{Bytes, Digest, Manifest};

pub use archive::pack;
pub use error::ArtifactError;
pub use fetch::{FetchLimits, Fetched, fetch};
pub use file::{Kind, MANIFEST, SIGNATURES};
pub use key::{PrivateKey, PublicKey};
pub use layout::push;
pub use signatures::Signatures;
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
        let text = |kind: Kind| text(dir, kind);
        let optional = |kind: Kind| dir.join(kind.name("")).symlink_metadata().is_ok().then_some(kind);
        let (manifest_digest, written) = text(Kind::Manifest)?;
        let manifest = manifest::parse(&dir.join(Kind::Manifest.name("")), &written)?;
        let component = dir.join(Kind::Component.name(&manifest.name));
        if component.symlink_metadata().is_err() {
            return Err(ArtifactError::NoComponent { plugin: manifest.name, path: component });
        }
        let component = digest_and_text(&component, max_component)?.0;
        let readme = readme(dir)?;
        let signatures = optional(Kind::Signatures).map(text).transpose()?;
        let signatures = signatures.map(|(_, text)| Signatures::parse(&dir.join(SIGNATURES), &text)).transpose()?;
        Ok(Self { dir: dir.to_owned(), manifest, component, manifest_digest, readme, signatures })
    }

    /// What the plugin is called by wherever plugins are kept: one digest over all files but the signatures.
    pub fn content(&self) -> Digest {
        content_of(&self.manifest.name, self.manifest_digest, self.component, self.readme)
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

/// What the plugin `name` in `dir` is called, of which a manifest and a component of these digests were read: they are not looked at
/// again, as others may lie there by now.
///
/// # Errors
/// There is a README that can't be read.
pub fn content(dir: &Path, name: &str, manifest: Digest, component: Digest) -> Result<Digest, ArtifactError> {
    Ok(content_of(name, manifest, component, readme(dir)?))
}

fn content_of(name: &str, manifest: Digest, component: Digest, readme: Option<Digest>) -> Digest {
    let mut files: BTreeMap<String, Digest> = BTreeMap::new();
    files.insert(Kind::Manifest.name(""), manifest);
    files.insert(Kind::Component.name(name), component);
    files.extend(readme.map(|digest| (Kind::Readme.name(""), digest)));
    statement::content(&files)
}

/// The digest of what there is for people to read, if there is something.
fn readme(dir: &Path) -> Result<Option<Digest>, ArtifactError> {
    match dir.join(Kind::Readme.name("")).symlink_metadata() {
        Ok(_) => Ok(Some(text(dir, Kind::Readme)?.0)),
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
