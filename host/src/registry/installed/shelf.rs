//! The folder of installed plugins: contents are laid down whole, and what is in force changes by one rename.

use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{Anew, InstallError, InstalledSet, LaidDown};
use crate::model::{Bytes, Digest};
use crate::registry::artifact::{Artifact, SIGNATURES};
use crate::store::{StoreError, create_folder, sync_folder, write_synced};

/// The folder in the data folder.
const FOLDER: &str = "plugins";

/// The file that says what is in force.
const SET: &str = "installed.json";

/// The longest such file.
const SET_MAX: Bytes = Bytes::mib(16);

/// Where installed plugins lie.
#[derive(Clone, Debug)]
pub struct Shelf {
    root: PathBuf,
}

/// A folder to be filled, gone when dropped.
pub struct Staged {
    dir: PathBuf,
}

impl Shelf {
    /// The shelf of a data folder. Touches nothing.
    pub fn of(data: &Path) -> Self {
        Self { root: data.join(FOLDER) }
    }

    /// What is installed; nothing if nothing ever was. Blocks on the disk.
    ///
    /// # Errors
    /// It can't be read, or makes no sense: then nothing is taken for installed rather than less than there was.
    pub fn read(&self) -> Result<InstalledSet, InstallError> {
        let path = self.root.join(SET);
        match fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(InstalledSet::default()),
            Ok(file) if file.len() > SET_MAX.0 => {
                return Err(InstallError::Damaged { path, problem: format!("it is longer than {SET_MAX}") });
            }
            _ => {}
        }
        let bytes = fs::read(&path).map_err(|source| InstallError::Unreadable { path: path.clone(), source })?;
        InstalledSet::from_bytes(&bytes).map_err(|problem| InstallError::Damaged { path, problem })
    }

    /// The folder of contents with this digest.
    pub fn dir(&self, digest: Digest) -> PathBuf {
        self.contents().join(digest.to_string())
    }

    /// The folders of what is in force in `set`, in name order of the plugins.
    pub fn dirs(&self, set: &InstalledSet) -> Vec<PathBuf> {
        set.active().map(|(_, digest)| self.dir(digest)).collect()
    }

    /// The digest that contents in `dir` must have, if that is a folder of this shelf.
    pub fn promised(&self, dir: &Path) -> Option<Digest> {
        (dir.parent() == Some(&self.contents())).then(|| dir.file_name()?.to_str()?.parse().ok()).flatten()
    }

    /// A new folder to be filled. Blocks on the disk.
    ///
    /// # Errors
    /// It can't be made.
    pub fn stage(&self) -> Result<Staged, InstallError> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).expect("the operating system's random source is available");
        let dir = self.staging().join(format!("{:016x}", u64::from_be_bytes(random)));
        create_folder(&dir)?;
        Ok(Staged { dir })
    }

    /// Puts what was staged under its digest, read-only and durable. Contents that lie there already are left, if they are whole; and
    /// whoever signed those stays the one who did: what came with them this time is handed back, for [`Shelf::sign`]. Blocks on the
    /// disk.
    ///
    /// # Errors
    /// It can't be written, or is no plugin; nothing is under its digest then, or what was.
    pub fn lay_down(&self, staged: Staged, max_component: Bytes) -> Result<LaidDown, InstallError> {
        let mut artifact = Artifact::open(&staged.dir, max_component)?;
        let (dir, contents) = (self.dir(artifact.content()), self.contents());
        let is_there = dir.exists();
        let mut brought = None;
        if is_there {
            // Those that can't be read are as good as none.
            let there = Artifact { dir: dir.clone(), ..artifact.clone() }.with_signatures().ok();
            brought = std::mem::replace(&mut artifact.signatures, there.and_then(|there| there.signatures));
            if Artifact::open_unsigned(&dir, max_component).is_ok_and(|there| there.content() == artifact.content()) {
                return Ok(LaidDown { artifact: Artifact { dir, ..artifact }, brought });
            }
            let path = staged.dir.join(SIGNATURES);
            let put = match &artifact.signatures {
                Some(signatures) => fs::write(&path, signatures.to_toml()),
                None if brought.is_some() => fs::remove_file(&path),
                None => Ok(()),
            };
            put.map_err(StoreError::io("write", &path))?;
        }
        for (_, path) in artifact.files() {
            let protect = || {
                fs::set_permissions(&path, Permissions::from_mode(0o400))?;
                File::open(&path)?.sync_all()
            };
            protect().map_err(StoreError::io("protect", &path))?;
        }
        sync_folder(&staged.dir)?;
        fail::fail_point!("install::staged", |_| std::process::abort());
        create_folder(&contents)?;
        // Contents that somebody has changed make room for the ones that were meant, without a moment in between.
        let renamed = match is_there {
            true => renameat_with(CWD, &staged.dir, CWD, &dir, RenameFlags::EXCHANGE).map_err(std::io::Error::from),
            false => fs::rename(&staged.dir, &dir),
        };
        renamed.map_err(StoreError::io("put in place", &dir))?;
        sync_folder(&contents)?;
        sync_folder(&self.root)?;
        fail::fail_point!("install::laid_down", |_| std::process::abort());
        Ok(LaidDown { artifact: Artifact { dir, ..artifact }, brought })
    }

    /// Puts signatures beside the contents they are of, in the place of those that lie there, by one rename; durable on return. Blocks
    /// on the disk.
    ///
    /// # Errors
    /// They can't be written; those that lie there stay, then.
    pub fn sign(&self, anew: &Anew) -> Result<(), InstallError> {
        let (dir, staged) = (self.dir(anew.contents), self.stage()?);
        let (path, place) = (staged.dir.join(SIGNATURES), dir.join(SIGNATURES));
        write_synced(&path, anew.signatures.to_toml().as_bytes())?;
        fs::set_permissions(&path, Permissions::from_mode(0o400)).map_err(StoreError::io("protect", &path))?;
        fs::rename(&path, &place).map_err(StoreError::io("replace", &place))?;
        sync_folder(&dir)?;
        Ok(())
    }

    /// Puts `set` in force, whole; durable on return, unless the disk fails at the very last: then it is in force all the same, and
    /// the host's log says that a crash might bring back what was before. What it names must lie here already. Blocks on the disk.
    ///
    /// # Errors
    /// It can't be written; what was in force stays so.
    pub fn commit(&self, set: &InstalledSet) -> Result<(), InstallError> {
        let (path, unfinished) = (self.root.join(SET), self.unfinished());
        create_folder(&self.root)?;
        // Left by a crash at this very place.
        let _ = fs::remove_file(&unfinished);
        write_synced(&unfinished, &set.to_bytes())?;
        fail::fail_point!("install::written", |_| std::process::abort());
        fs::rename(&unfinished, &path).map_err(StoreError::io("replace", &path))?;
        // From here on it is in force, and nobody may say that it is not.
        if let Err(error) = self.settle() {
            tracing::error!(%error, "what is installed has changed, but a crash might undo it: the disk could not be synced");
        }
        fail::fail_point!("install::committed", |_| std::process::abort());
        Ok(())
    }

    /// Makes the names in the folder durable.
    fn settle(&self) -> Result<(), StoreError> {
        fail::fail_point!("install::unsynced", |_| Err(StoreError::io("sync", &self.root)(std::io::Error::other(
            "a failing disk"
        ))));
        sync_folder(&self.root)
    }

    /// Removes what whoever died had not finished writing, as far as it lets itself be removed: what resists is in nobody's way, and
    /// told in the log. For whoever owns the data folder. Blocks on the disk.
    pub fn sweep_unfinished(&self) {
        let unfinished = self.unfinished();
        let unfinished = unfinished.symlink_metadata().is_ok().then_some(unfinished);
        list(&self.staging()).into_iter().chain(unfinished).for_each(|path| remove(&path));
    }

    /// The same, and contents that `set` does not keep.
    pub fn sweep(&self, set: &InstalledSet) {
        self.sweep_unfinished();
        let kept = set.kept();
        let is_spare = |path: &PathBuf| {
            let digest = path.file_name().and_then(|name| name.to_str()?.parse::<Digest>().ok());
            digest.is_some_and(|digest| !kept.contains(&digest))
        };
        list(&self.contents()).into_iter().filter(is_spare).for_each(|path| remove(&path));
    }

    fn contents(&self) -> PathBuf {
        self.root.join("sha256")
    }

    /// Where the next list of what is installed is written.
    fn unfinished(&self) -> PathBuf {
        self.root.join(format!("{SET}.new"))
    }

    fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }
}

impl Staged {
    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // What is left is swept by whoever comes next.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn list(dir: &Path) -> Vec<PathBuf> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(error) => {
            if error.kind() != ErrorKind::NotFound {
                tracing::warn!(%error, folder = %dir.display(), "what is left over from installations can't be looked for");
            }
            Vec::new()
        }
    }
}

fn remove(path: &Path) {
    let is_folder = path.symlink_metadata().is_ok_and(|file| file.is_dir());
    let removed = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    if let Err(error) = removed {
        tracing::warn!(%error, path = %path.display(), "what is left over from an installation can't be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;
    use crate::registry::artifact::{PrivateKey, sign};
    use crate::registry::installed::Version;

    const MOST: Bytes = Bytes(100);

    fn staged(shelf: &Shelf, component: &[u8]) -> Staged {
        let text = "name = \"demo\"\nversion = \"1\"\ncontract = \"0.1\"\n[[tool]]\nname = \"t\"\neffect = \"read\"\nscopes = [\"use:t\"]\n";
        let staged = shelf.stage().expect("staged");
        fs::write(staged.dir().join("plugin.toml"), text).expect("writable");
        fs::write(staged.dir().join("demo.wasm"), component).expect("writable");
        staged
    }

    /// The digest of the only contents there are.
    fn digest(shelf: &Shelf) -> Digest {
        shelf.promised(&list(&shelf.contents())[0]).expect("contents")
    }

    fn set(artifact: &Artifact) -> InstalledSet {
        let version = Version {
            digest: artifact.content(),
            version: "1".into(),
            component: artifact.component,
            source: "somewhere".into(),
            signed_by: None,
            by: "root (uid 0)".into(),
            installed_ms: Timestamp(1),
            active_ms: Timestamp(1),
            replaced: None,
        };
        let mut set = InstalledSet::default();
        set.install("demo", version);
        set
    }

    #[test]
    fn contents_are_laid_down_once_read_only_and_mended_if_somebody_changed_them() {
        let data = tempfile::tempdir().expect("a temporary folder");
        let shelf = Shelf::of(data.path());
        let artifact = shelf.lay_down(staged(&shelf, b"one"), MOST).expect("laid down").artifact;
        assert_eq!(shelf.promised(&artifact.dir), Some(artifact.content()));
        let component = artifact.dir.join("demo.wasm");
        assert_eq!(fs::metadata(&component).expect("there").permissions().mode() & 0o777, 0o400);
        fs::remove_file(&component).expect("the folder is ours");
        fs::write(&component, b"two").expect("writable");
        shelf.lay_down(staged(&shelf, b"one"), MOST).expect("laid down again");
        assert_eq!(fs::read(&component).expect("readable"), b"one");
        shelf.lay_down(staged(&shelf, b"one"), MOST).expect("there already");
        assert_eq!(fs::read_dir(shelf.staging()).expect("there").count(), 0);
    }

    #[test]
    fn signatures_join_the_contents_they_are_of_and_none_is_lost() {
        let data = tempfile::tempdir().expect("a temporary folder");
        let shelf = Shelf::of(data.path());
        let key = |name: &str| PrivateKey::create(&data.path().join(name)).expect("a new key");
        let (acme, other) = (key("acme"), key("other"));
        let lay_down = |keys: &[&PrivateKey]| {
            let staged = staged(&shelf, b"one");
            for key in keys {
                let signatures = sign(&Artifact::open(staged.dir(), MOST).expect("a plugin"), Digest([3; 32]), key);
                fs::write(staged.dir().join(SIGNATURES), signatures.expect("signed").to_toml()).expect("writable");
            }
            let laid_down = shelf.lay_down(staged, Bytes::kib(1)).expect("laid down");
            let beside = || Artifact::open(&laid_down.artifact.dir, MOST).expect("there").signatures;
            assert_eq!(beside(), laid_down.artifact.signatures, "nothing is there that was not there, or came with it at first");
            let anew = laid_down.anew(false).expect("few enough");
            if let Some(anew) = &anew {
                shelf.sign(anew).expect("signed");
                assert_eq!(beside().as_ref(), Some(&anew.signatures));
            }
            let signed = beside().map_or(Vec::new(), |there| there.signed);
            (anew.is_some(), signed.into_iter().map(|(key, _)| key).collect::<Vec<_>>())
        };
        assert_eq!(lay_down(&[]), (false, vec![]));
        assert_eq!(lay_down(&[&acme]), (true, vec![acme.public()]));
        assert_eq!(lay_down(&[&other]), (true, vec![acme.public(), other.public()]));
        for known in [&[][..], &[&acme], &[&other], &[&other, &acme]] {
            assert_eq!(lay_down(known), (false, vec![acme.public(), other.public()]));
        }
        // Contents that somebody changed are mended, and whoever signed them stays the one who did.
        let component = shelf.dir(digest(&shelf)).join("demo.wasm");
        fs::remove_file(&component).expect("the folder is ours");
        assert_eq!(lay_down(&[]), (false, vec![acme.public(), other.public()]));
        assert_eq!(fs::read(&component).expect("mended"), b"one");
        assert_eq!(fs::read_dir(shelf.staging()).expect("there").count(), 0);
    }

    #[test]
    fn what_nobody_keeps_is_swept_and_the_rest_stays() {
        let data = tempfile::tempdir().expect("a temporary folder");
        let shelf = Shelf::of(data.path());
        assert_eq!(shelf.read().expect("nothing is wrong"), InstalledSet::default());
        let kept = shelf.lay_down(staged(&shelf, b"one"), MOST).expect("laid down").artifact;
        let stray = shelf.lay_down(staged(&shelf, b"two"), MOST).expect("laid down").artifact;
        let set = set(&kept);
        std::mem::forget(shelf.stage().expect("staged"));
        shelf.commit(&set).expect("committed");
        assert_eq!(shelf.read().expect("readable"), set);
        // Something that nobody here made, where folders are expected.
        fs::write(shelf.staging().join("stray"), "x").expect("writable");
        fs::write(shelf.dir(Digest([7; 32])), "x").expect("writable");
        fs::write(shelf.unfinished(), "{").expect("writable");
        shelf.sweep_unfinished();
        assert!(stray.dir.exists() && !shelf.unfinished().exists(), "whole contents are no part of that");
        shelf.sweep(&set);
        assert!(kept.dir.exists() && !stray.dir.exists() && !shelf.dir(Digest([7; 32])).exists());
        assert_eq!(fs::read_dir(shelf.staging()).expect("there").count(), 0);
        assert_eq!(shelf.dirs(&set), [kept.dir]);
    }

    #[test]
    fn a_set_that_makes_no_sense_is_refused_in_words() {
        let data = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(data.path().join(FOLDER)).expect("writable");
        fs::write(data.path().join(FOLDER).join(SET), "{").expect("writable");
        let refused = Shelf::of(data.path()).read().expect_err("damaged").to_string();
        assert!(refused.contains("installed.json` is damaged") && refused.contains("install the plugins again"), "{refused}");
    }
}
