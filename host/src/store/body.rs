//! Bodies too long for one value: one file each, named by the SHA-256 of its content, durable before anything names it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};

use sha2::{Digest as _, Sha256};

use super::StoreError;
use crate::model::Digest;

/// The folder of body files: `<aa>/<sha256 in hex>`, where `<aa>` are the first two digits, and `tmp/` for unfinished ones.
#[derive(Debug)]
pub(super) struct Bodies {
    dir: PathBuf,
    /// Held alone by whoever needs all bodies to stay, shared by those who remove one.
    removals: RwLock<()>,
}

impl Bodies {
    /// Opens the folder, creating it if need be, and removes what a crash left unfinished.
    pub fn open(dir: PathBuf) -> Result<Self, StoreError> {
        let tmp = dir.join("tmp");
        if let Err(error) = fs::remove_dir_all(&tmp)
            && error.kind() != ErrorKind::NotFound
        {
            return Err(StoreError::io("clear the folder", &tmp)(error));
        }
        create_folder(&tmp)?;
        Ok(Self { dir, removals: RwLock::default() })
    }

    /// Writes a body and returns its name. Durable on return: file, folder entry, and the entry of a new folder.
    ///
    /// Blocks on the disk. A body that is already there is not written again.
    pub fn write(&self, body: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest(Sha256::digest(body).into());
        let path = self.path(&digest);
        let folder = path.parent().expect("a body's path has a folder");
        if !folder.exists() {
            create_folder(folder)?;
            sync_folder(&self.dir)?;
        }
        // The final name appears only once its content is synced, so what is there is whole.
        if !path.exists() {
            let unfinished = self.unfinished_path();
            write_synced(&unfinished, body)?;
            fail::fail_point!("body::unnamed", |_| std::process::abort());
            fs::rename(&unfinished, &path).map_err(StoreError::io("finish the body", &path))?;
        }
        sync_folder(folder)?;
        fail::fail_point!("body::named", |_| std::process::abort());
        Ok(digest)
    }

    /// Reads a body; `None` if it was removed. Fails if the content is not what the name says.
    pub fn read(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(digest);
        let body = match fs::read(&path) {
            Ok(body) => body,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("read the body", &path)(error)),
        };
        if Sha256::digest(&body).as_slice() != digest.0 {
            let what = format!("the body `{}`", path.display());
            return Err(StoreError::Damaged { what, problem: "its content does not match its name".to_owned() });
        }
        Ok(Some(body))
    }

    /// Removes a body, if it is there. Waits while all are to stay.
    pub fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        let _turn = self.removals.read().unwrap_or_else(PoisonError::into_inner);
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(StoreError::io("remove the body", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Keeps every body where it is, as long as the answer lives.
    pub fn keep_all(&self) -> RwLockWriteGuard<'_, ()> {
        self.removals.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives every body a second name, so that it can be read whatever becomes of the first. The next start removes what is
    /// not removed by dropping the answer.
    pub fn stage(&self) -> Result<Staged, StoreError> {
        let mut staged = Staged { dir: self.unfinished_path(), files: Vec::new() };
        create_folder(&staged.dir)?;
        let list = |dir: &Path| -> Result<Vec<PathBuf>, StoreError> {
            let entries = fs::read_dir(dir).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
            entries.map_err(StoreError::io("list the folder", dir))
        };
        for folder in list(&self.dir)?.into_iter().filter(|folder| !folder.ends_with("tmp")) {
            for body in list(&folder)? {
                let Some(digest) = body.file_name().and_then(|name| name.to_str()?.parse::<Digest>().ok()) else { continue };
                let second = staged.dir.join(digest.to_string());
                // Where a file has one name only, it is copied.
                fs::hard_link(&body, &second)
                    .or_else(|_| fs::copy(&body, &second).map(drop))
                    .map_err(StoreError::io("give a second name to", &body))?;
                staged.files.push((digest, second));
            }
        }
        Ok(staged)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.dir.join(&name[..2]).join(name)
    }

    fn unfinished_path(&self) -> PathBuf {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the operating system's random source is available");
        self.dir.join("tmp").join(format!("{:032x}", u128::from_be_bytes(bytes)))
    }
}

/// All bodies of a moment, under second names.
pub(super) struct Staged {
    dir: PathBuf,
    pub files: Vec<(Digest, PathBuf)>,
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            tracing::warn!(dir = %self.dir.display(), %error, "second names of bodies stay until the next start");
        }
    }
}

/// Writes a new file that only the owner may read, and syncs it.
///
/// # Errors
/// It can't be written, and is gone then, or was there.
pub fn write_synced(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(|error| {
        // Half a file helps nobody; if even removing fails, the next start clears the folder.
        let _ = fs::remove_file(path);
        StoreError::io("write", path)(error)
    })
}

/// Makes the names in a folder durable.
///
/// # Errors
/// The operating system refuses.
pub fn sync_folder(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(StoreError::io("sync the folder", path))
}

/// Creates a folder, and those above it, that only the owner may enter.
///
/// # Errors
/// The operating system refuses.
pub fn create_folder(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(StoreError::io("create the folder", path))
}
