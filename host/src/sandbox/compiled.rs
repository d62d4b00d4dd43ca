//! Compiled components kept between loads and starts: machine code, so only what this very host wrote is ever read back.
//!
//! A file is named by what it depends on: the engine's version and settings, and the component's bytes. Its content stands behind a
//! MAC under a key that only the host knows. Whatever is not as it was written is compiled anew.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{Hash as _, Hasher};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::error::SandboxError;
use crate::model::{Bytes, Digest};

/// What the MAC says besides name and content: that this is what they are.
const LABEL: &[u8] = b"tidegate/compiled/1";

/// The length of the MAC, which stands first.
const TAG: usize = 32;

/// What files are called that are not whole yet.
const UNFINISHED: &str = ".new";

/// A folder of compiled components.
pub(super) struct Compiled {
    folder: PathBuf,
    key: Hmac<Sha256>,
    limit: u64,
    /// Of the engine: its version, and all settings that code depends on.
    engine: Digest,
    /// How many files were begun: each is written under a name of its own.
    begun: AtomicU64,
}

impl Compiled {
    /// The folder `folder`, which is made if need be, for the code of `engine` under `key`, of `limit` at most.
    ///
    /// # Errors
    /// The folder can't be made, or is not ours alone.
    pub fn open(folder: &Path, key: &[u8; 32], limit: Bytes, engine: &Engine) -> Result<Self, SandboxError> {
        let unusable = |reason: String| SandboxError::Cache { path: folder.to_owned(), reason };
        prepare(folder).map_err(|error| unusable(error.to_string()))?;
        let key = Hmac::new_from_slice(key).expect("HMAC takes keys of any length");
        let mut hashed = Hashed(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hashed);
        let engine = Digest(hashed.0.finalize().into());
        Ok(Self { folder: folder.to_owned(), key, limit: limit.0, engine, begun: AtomicU64::new(0) })
    }

    /// The component of this digest, if it was compiled before. Blocks on the disk.
    pub fn get(&self, engine: &Engine, component: &Digest) -> Option<Component> {
        let name = self.name(component);
        let bytes = match self.read(&name) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(folder = %self.folder.display(), %name, %error, "a compiled component is not used, and made anew");
                return None;
            }
        };
        // SAFETY: the MAC says that these bytes are what `Component::serialize` gave to this host, whole, for an engine of the same
        // version and settings. They are in memory that nobody else writes to.
        let component = unsafe { Component::deserialize(engine, &bytes[TAG..]) };
        component
            .inspect_err(|error| tracing::warn!(%name, error = %format!("{error:#}"), "a compiled component does not load, and is made anew"))
            .ok()
    }

    /// Keeps a component. That it can't be kept is no reason not to use it. Blocks on the disk.
    pub fn keep(&self, digest: &Digest, component: &Component) {
        let name = self.name(digest);
        let code = component.serialize().map_err(|error| io::Error::other(format!("{error:#}")));
        let kept = code.and_then(|code| self.write(&name, &code));
        if let Err(error) = kept.and_then(|()| self.make_room(&name)) {
            tracing::warn!(folder = %self.folder.display(), %error, "a compiled component could not be kept");
        }
    }

    fn name(&self, component: &Digest) -> String {
        Digest(Sha256::new().chain_update(self.engine.0).chain_update(component.0).finalize().into()).to_string()
    }

    fn mac(&self, name: &str, code: &[u8]) -> Hmac<Sha256> {
        // A name has one length, so where it ends needs no telling.
        self.key.clone().chain_update(LABEL).chain_update(name).chain_update(code)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let mut file = OpenOptions::new().read(true).custom_flags(flags).open(self.folder.join(name))?;
        let about = file.metadata()?;
        if about.uid() != rustix::process::geteuid().as_raw() || about.permissions().mode() & 0o022 != 0 {
            return Err(io::Error::other("others may write to it"));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(about.len().min(self.limit)).unwrap_or(0));
        (&mut file).take(self.limit).read_to_end(&mut bytes)?;
        let (tag, code) = bytes.split_at_checked(TAG).ok_or_else(|| io::Error::other("it is cut off"))?;
        self.mac(name, code).verify_slice(tag).map_err(|_| io::Error::other("it is not as this host wrote it"))?;
        // What is used stays; if that can't be noted, it goes a little earlier.
        let _ = file.set_modified(SystemTime::now());
        Ok(bytes)
    }

    fn write(&self, name: &str, code: &[u8]) -> io::Result<()> {
        if (code.len() + TAG) as u64 > self.limit {
            return Err(io::Error::other(format!("it is larger than the {} of `sandbox.cache`", Bytes(self.limit))));
        }
        let begun = self.begun.fetch_add(1, Ordering::Relaxed);
        let aside = self.folder.join(format!("{begun}{UNFINISHED}"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        let written = file
            .write_all(&self.mac(name, code).finalize().into_bytes())
            .and_then(|()| file.write_all(code))
            .and_then(|()| fs::rename(&aside, self.folder.join(name)));
        // No sync: what a power cut leaves half written has no valid MAC.
        written.inspect_err(|_| drop(fs::remove_file(&aside)))
    }

    /// Removes what was not used for longest, until the rest is within the limit. What was just written stays.
    fn make_room(&self, just_written: &str) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            // Another load may have removed it.
            let Ok(about) = entry.metadata() else { continue };
            entries.push((entry.file_name() == just_written, about.modified()?, about.len(), entry.path()));
        }
        entries.sort();
        let mut total: u64 = entries.iter().map(|(.., size, _)| size).sum();
        for (.., size, path) in entries.iter().filter(|(is_new, ..)| !is_new) {
            if total <= self.limit {
                break;
            }
            fs::remove_file(path)?;
            total -= size;
        }
        Ok(())
    }
}

/// Makes the folder ours alone, and clears what an earlier process did not finish.
fn prepare(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let about = fs::symlink_metadata(folder)?;
    if !about.is_dir() {
        return Err(io::Error::other("it is no folder"));
    }
    if about.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("it belongs to another user"));
    }
    File::open(folder)?.set_permissions(fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(UNFINISHED) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Collects what is hashed into a digest that means the same in another process.
struct Hashed(Sha256);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        unreachable!("the digest is taken whole")
    }
}
