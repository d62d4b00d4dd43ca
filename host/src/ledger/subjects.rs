//! The keys of subjects: what is written about a person can be read as long as the person's key exists.
//!
//! A key is 32 random bytes under a random id; records carry the id, which tells nobody whose it is. Keys live in files of
//! their own, not in the engine, whose log keeps old versions around. To erase a person is to overwrite the keys with zeros:
//! the records stay, the chain over them stays valid, and what they say is gone.

use std::collections::{BTreeSet, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use quick_cache::sync::Cache;
use zeroize::Zeroizing;

use super::LedgerError;
use super::cipher::{Cipher, KEY};
use crate::model::Digest;

/// The name of a subject's key.
pub(super) type KeyId = [u8; 16];

/// The folder of the key files, in the folder of secrets.
const FOLDER: &str = "subjects";

/// How many keys are remembered. The rest is read from a file again when it is needed.
const REMEMBERED: usize = 65_536;

/// One key of one subject.
pub(super) struct SubjectKey {
    pub id: KeyId,
    /// Whose it is: a keyed hash, see [`Secret::subject`](super::secret::Secret::subject).
    pub tag: Digest,
    cipher: Cipher,
}

impl SubjectKey {
    /// [`Cipher::seal`].
    pub fn seal(&self, context: &[u8], text: &[u8]) -> Vec<u8> {
        self.cipher.seal(context, text)
    }

    /// [`Cipher::unseal`].
    pub fn unseal(&self, context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        self.cipher.unseal(context, sealed)
    }
}

/// The keys of all subjects, in a folder.
pub(super) struct Subjects {
    dir: PathBuf,
    by_tag: Cache<Digest, Arc<SubjectKey>>,
    /// Also knows of ids that have no key any more.
    by_id: Cache<KeyId, Option<Arc<SubjectKey>>>,
    /// Held while a file is changed.
    change: Mutex<()>,
    /// Keys that nothing is to be sealed with any more, because a record says that they are destroyed. One for each that was
    /// erased since the start. Changed on the writer thread alone.
    retired: RwLock<HashSet<KeyId>>,
    /// Held while a key is destroyed, and shared while one is looked up in its file.
    destroying: RwLock<()>,
}

impl Subjects {
    /// The keys in the folder of secrets `keys`; `is_new` if there can't be any yet.
    ///
    /// # Errors
    /// There should be keys and there is no folder, or it can't be made.
    pub fn open(keys: &Path, is_new: bool) -> Result<Self, LedgerError> {
        let dir = keys.join(FOLDER);
        if !is_new && !dir.is_dir() {
            let problem = "is missing, and with it the keys to what the log says of people; restore it from a backup";
            return Err(LedgerError::Secret { path: dir, problem: problem.to_owned() });
        }
        let create = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        // All of it: a host that was killed may have left a key that was written and not synced.
        create.and_then(|()| Ok(rustix::fs::syncfs(File::open(keys)?)?)).map_err(failed(&dir, "cannot be made"))?;
        Ok(Self {
            dir,
            by_tag: Cache::new(REMEMBERED),
            by_id: Cache::new(REMEMBERED),
            change: Mutex::default(),
            retired: RwLock::default(),
            destroying: RwLock::default(),
        })
    }

    /// The key of the subject with this tag, if it is at hand without a look at the disk.
    pub fn at_hand(&self, tag: &Digest) -> Option<Arc<SubjectKey>> {
        self.by_tag.get(tag)
    }

    /// The key of the subject with this tag; a new one, durable on return, if there is none. Blocks on the disk.
    pub fn key(&self, tag: &Digest) -> Result<Arc<SubjectKey>, LedgerError> {
        if let Some(key) = self.by_tag.get(tag) {
            return Ok(key);
        }
        let keys = self.keys(BTreeSet::from([*tag]))?;
        Ok(keys.into_iter().next().expect("one was asked for"))
    }

    /// The keys of the subjects with these tags, new ones where there are none; durable on return, with one sync for all. Blocks on
    /// the disk.
    pub fn keys(&self, tags: BTreeSet<Digest>) -> Result<Vec<Arc<SubjectKey>>, LedgerError> {
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut found, mut made) = (Vec::new(), Vec::new());
        if let Err(error) = self.find_or_make(tags, &mut found, &mut made) {
            // Nobody may find, and use, a key that a power cut could take away.
            for (_, path, place) in made {
                let file = OpenOptions::new().write(true).open(path);
                drop(file.and_then(|file| file.write_all_at(&[0; ENTRY], (place * ENTRY) as u64)));
            }
            return Err(error);
        }
        fail::fail_point!("subjects::found");
        let keys = found.into_iter().chain(made.into_iter().map(|(key, ..)| key)).map(Arc::new);
        let remember = |key: &Arc<SubjectKey>| {
            self.by_tag.insert(key.tag, Arc::clone(key));
            // INVARIANT: looked at behind the insertion, as `retire` removes behind its own: whichever comes first, it does not stay.
            if self.is_retired(&key.id) {
                self.by_tag.remove(&key.tag);
            }
            self.by_id.insert(key.id, Some(Arc::clone(key)));
        };
        Ok(keys.inspect(remember).collect())
    }

    /// The keys of these tags, and those that had to be made, with their places; durable on return.
    fn find_or_make(&self, tags: BTreeSet<Digest>, found: &mut Vec<SubjectKey>, made: &mut Vec<Made>) -> Result<(), LedgerError> {
        // In order, so those of one file stand together.
        let tags: Vec<_> = tags.into_iter().collect();
        for tags in tags.chunk_by(|one, other| one.0[0] == other.0[0]) {
            let path = self.file(tags[0].0[0]);
            let mut entries = read(&path).map_err(failed(&path, "cannot be read"))?;
            for tag in tags {
                match entries.iter().filter_map(parse).find(|key| key.tag == *tag && !self.is_retired(&key.id)) {
                    Some(key) => found.push(key),
                    None => {
                        let place = entries.iter().position(|entry| entry.iter().all(|byte| *byte == 0)).unwrap_or(entries.len());
                        let entry = fresh(tag);
                        made.push((parse(&entry).expect("what was just made"), path.clone(), place));
                        write(&path, place, &entry).map_err(failed(&path, "cannot be written"))?;
                        match entries.get_mut(place) {
                            Some(free) => *free = entry,
                            None => entries.push(entry),
                        }
                    }
                }
            }
        }
        if made.is_empty() {
            return Ok(());
        }
        File::open(&self.dir).and_then(|dir| Ok(rustix::fs::syncfs(dir)?)).map_err(failed(&self.dir, "cannot be synced"))
    }

    /// The key with this id; `None` if it was destroyed. May block on the disk.
    pub fn by_id(&self, id: &KeyId) -> Result<Option<Arc<SubjectKey>>, LedgerError> {
        if let Some(known) = self.by_id.get(id) {
            return Ok(known);
        }
        // INVARIANT: read and remembered in one go, or a key could be remembered that was destroyed in between.
        let _destroying = self.destroying.read().unwrap_or_else(PoisonError::into_inner);
        let path = self.file(id[0]);
        let entries = read(&path).map_err(failed(&path, "cannot be read"))?;
        let found = entries.iter().filter_map(parse).find(|key| key.id == *id).map(Arc::new);
        self.by_id.insert(*id, found.clone());
        Ok(found)
    }

    /// The ids of the keys that the subject with this tag has: one at most, but for what an interrupted erasure left.
    pub fn ids(&self, tag: &Digest) -> Result<Vec<KeyId>, LedgerError> {
        let path = self.file(tag.0[0]);
        let entries = read(&path).map_err(failed(&path, "cannot be read"))?;
        Ok(entries.iter().filter_map(parse).filter(|key| key.tag == *tag).map(|key| key.id).collect())
    }

    /// Has nothing sealed with the key with this id from now on, as far as [`is_retired`](Self::is_retired) is asked: its subject gets
    /// another one. What was sealed with it can be read until it is destroyed.
    ///
    /// Waits for nobody who is at a file: it is called on the writer thread, where every commit would wait with it.
    pub fn retire(&self, id: &KeyId, tag: &Digest) {
        // In this order: whoever looks for a key at this moment and puts it back sees that it must not stay.
        self.retired.write().unwrap_or_else(PoisonError::into_inner).insert(*id);
        self.by_tag.remove(tag);
    }

    /// Whether the key with this id is retired.
    pub fn is_retired(&self, id: &KeyId) -> bool {
        self.retired.read().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    /// Those of the retired keys that exist and that `is_doomed` does not know of: nothing says any more that they are destroyed.
    /// May block on the disk.
    pub fn retired_in_vain(&self, is_doomed: impl Fn(&KeyId) -> Result<bool, LedgerError>) -> Result<Vec<KeyId>, LedgerError> {
        let retired: Vec<_> = self.retired.read().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        let mut in_vain = Vec::new();
        for id in retired {
            if !is_doomed(&id)? && self.by_id(&id)?.is_some() {
                in_vain.push(id);
            }
        }
        Ok(in_vain)
    }

    /// Takes back that these keys were retired.
    pub fn reinstate(&self, ids: &[KeyId]) {
        let mut retired = self.retired.write().unwrap_or_else(PoisonError::into_inner);
        retired.retain(|id| !ids.contains(id));
    }

    /// Destroys the key with this id, if it exists. Durable on return.
    pub fn destroy(&self, id: &KeyId) -> Result<(), LedgerError> {
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let _destroying = self.destroying.write().unwrap_or_else(PoisonError::into_inner);
        let path = self.file(id[0]);
        let overwrite = || {
            let entries = read(&path)?;
            let Some(place) = entries.iter().position(|entry| entry[TAG..TAG + ID] == *id) else { return Ok(None) };
            let file = OpenOptions::new().write(true).open(&path)?;
            file.write_all_at(&[0; ENTRY], (place * ENTRY) as u64)?;
            file.sync_all()?;
            Ok(entries[place].first_chunk::<TAG>().map(|tag| Digest(*tag)))
        };
        let tag = overwrite().map_err(failed(&path, "cannot be overwritten"))?;
        self.by_id.insert(*id, None);
        // Whether or not the id is still remembered: what the person does from now on must not be sealed with a key that is gone.
        if let Some(tag) = tag {
            self.by_tag.remove(&tag);
        }
        Ok(())
    }

    /// An id shares its first byte with the tag, so both lead to the same file.
    fn file(&self, first: u8) -> PathBuf {
        self.dir.join(format!("{first:02x}"))
    }
}

const TAG: usize = 32;
const ID: usize = 16;
/// Tag, id, key, checksum.
const ENTRY: usize = TAG + ID + KEY + 4;

type Entry = Zeroizing<[u8; ENTRY]>;

/// A key that was just made, and the place of its entry.
type Made = (SubjectKey, PathBuf, usize);

/// The entries of a file, whole ones only: a crash may have left the last one unfinished, and nothing was sealed with it.
fn read(path: &Path) -> io::Result<Vec<Entry>> {
    let mut bytes = Zeroizing::new(Vec::new());
    match File::open(path) {
        Ok(mut file) => file.read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    Ok(bytes.as_chunks::<ENTRY>().0.iter().map(|entry| Zeroizing::new(*entry)).collect())
}

/// The key in an entry; `None` if the entry is free, or damaged.
fn parse(entry: &Entry) -> Option<SubjectKey> {
    let (content, checksum) = entry.split_at(ENTRY - 4);
    if checksum != crc32fast::hash(content).to_be_bytes() || content.iter().all(|byte| *byte == 0) {
        return None;
    }
    let (tag, rest) = content.split_first_chunk::<TAG>()?;
    let (id, key) = rest.split_first_chunk::<ID>()?;
    Some(SubjectKey { id: *id, tag: Digest(*tag), cipher: Cipher::new(key.first_chunk()?) })
}

/// The entry of a new key.
fn fresh(tag: &Digest) -> Entry {
    let mut entry: Entry = Zeroizing::new([0; ENTRY]);
    entry[..TAG].copy_from_slice(&tag.0);
    getrandom::fill(&mut entry[TAG..ENTRY - 4]).expect("the operating system's random source is available");
    entry[TAG] = tag.0[0];
    let checksum = crc32fast::hash(&entry[..ENTRY - 4]).to_be_bytes();
    entry[ENTRY - 4..].copy_from_slice(&checksum);
    entry
}

/// Writes an entry at its place. It is not synced.
fn write(path: &Path, place: usize, entry: &Entry) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.write_all_at(&entry[..], (place * ENTRY) as u64)
}

/// For `map_err`: what could not be done with a key file.
fn failed(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> LedgerError {
    move |error| LedgerError::Secret { path: path.to_owned(), problem: format!("{what}: {error}") }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::store::tests::stop::Armed;

    #[test]
    fn a_crowd_that_comes_at_once_gets_a_key_each_and_finds_it_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let subjects = Subjects::open(folder.path(), true).expect("an empty folder opens");
        let tags: Vec<_> =
            (0..64u8).map(|number| Digest(std::array::from_fn(|at| if at == 0 { number % 4 } else { number }))).collect();
        let made: Vec<_> = std::thread::scope(|scope| {
            let all: Vec<_> =
                tags.iter().chain(&tags).map(|tag| scope.spawn(|| subjects.key(tag).expect("writable").id)).collect();
            all.into_iter().map(|one| one.join().expect("no panic")).collect()
        });
        let (first, second) = made.split_at(tags.len());
        assert_eq!(first, second, "whoever comes twice gets one key");
        let again = Subjects::open(folder.path(), false).expect("the folder opens");
        for (tag, id) in tags.iter().zip(first) {
            assert_eq!((again.key(tag).expect("readable").id, again.ids(tag).expect("readable")), (*id, vec![*id]));
        }
    }

    #[test]
    fn nobody_is_given_a_key_that_was_destroyed_however_little_is_remembered_of_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let subjects = Subjects::open(folder.path(), true).expect("an empty folder opens");
        let tag = Digest([7; 32]);
        let gone = subjects.key(&tag).expect("writable").id;
        // Ids are forgotten when there are many, tags may still be known.
        subjects.by_id.remove(&gone);
        subjects.destroy(&gone).expect("writable");
        assert!(subjects.at_hand(&tag).is_none() && subjects.by_id(&gone).expect("readable").is_none());
        assert_ne!(subjects.key(&tag).expect("writable").id, gone);
    }

    #[test]
    fn a_key_is_retired_while_it_is_looked_up_and_is_not_at_hand_from_then_on() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let subjects = Arc::new(Subjects::open(folder.path(), true).expect("an empty folder opens"));
        let tag = Digest([7; 32]);
        let old = subjects.key(&tag).expect("writable").id;
        subjects.by_tag.remove(&tag);
        let (looking, retired_by) = (thread::current().id(), Arc::clone(&subjects));
        let retire = move || {
            let (subjects, (tell, told)) = (Arc::clone(&retired_by), mpsc::channel());
            thread::spawn(move || {
                subjects.retire(&old, &tag);
                tell.send(())
            });
            told.recv_timeout(Duration::from_secs(10)).expect("it does not wait for the look");
        };
        let armed = Armed::at("subjects::found", move |thread| thread.id() == looking, retire);
        assert_eq!(subjects.key(&tag).expect("readable").id, old, "it was found before");
        drop(armed);
        assert!(subjects.at_hand(&tag).is_none());
        assert_ne!(subjects.key(&tag).expect("writable").id, old);
    }
}
