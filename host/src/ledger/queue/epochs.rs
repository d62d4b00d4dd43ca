//! The keys of epochs: what a waiting call asks for can be read as long as the key of its epoch exists.
//!
//! A key is 32 random bytes in a file of its own, named by a random id: not in the engine, whose log keeps old versions around.
//! Many calls share one, because making a key costs two syncs. Once its epoch is over and none of its calls waits any more, the
//! file is overwritten with zeros and removed. Backups leave these keys out: what waited when one was taken stays unreadable.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::ledger::LedgerError;
use crate::ledger::cipher::{Cipher, KEY};

/// The name of an epoch's key.
pub(in crate::ledger) type EpochId = [u8; 16];

/// The folder of the key files, in the folder of secrets.
pub(in crate::ledger) const FOLDER: &str = "epochs";

/// The most calls of one epoch.
const CALLS_MAX: u32 = 1000;

/// How long an epoch lasts.
const LENGTH: Duration = Duration::from_secs(60);

/// Key and checksum.
const FILE: usize = KEY + 4;

/// An epoch and its key, which lives as long as somebody holds on to this.
pub(in crate::ledger) struct Epoch {
    pub id: EpochId,
    pub cipher: Cipher,
}

/// The epochs that have a key.
pub(in crate::ledger) struct Epochs {
    dir: PathBuf,
    /// An async lock: those who come while a key is being made wait for it without holding a thread.
    current: tokio::sync::Mutex<Option<Current>>,
    /// Each epoch whose key exists.
    living: Mutex<Vec<Arc<Epoch>>>,
}

/// The epoch that calls are being given.
struct Current {
    epoch: Arc<Epoch>,
    calls: u32,
    since: Instant,
}

impl Current {
    fn is_over(&self) -> bool {
        self.calls >= CALLS_MAX || self.since.elapsed() >= LENGTH
    }
}

impl Epochs {
    /// The epochs in the folder of secrets `keys`.
    ///
    /// # Errors
    /// The folder can't be made.
    pub fn open(keys: &Path) -> Result<Self, LedgerError> {
        let dir = keys.join(FOLDER);
        let create = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        create.and_then(|()| File::open(keys)?.sync_all()).map_err(failed(&dir, "cannot be made"))?;
        Ok(Self { dir, current: tokio::sync::Mutex::default(), living: Mutex::default() })
    }

    /// The epoch of a call that comes now; its key is durable.
    ///
    /// # Errors
    /// A new key could not be written.
    pub async fn current(self: &Arc<Self>) -> Result<Arc<Epoch>, LedgerError> {
        let mut current = self.current.lock().await;
        if let Some(current) = current.as_mut().filter(|current| !current.is_over()) {
            current.calls += 1;
            return Ok(Arc::clone(&current.epoch));
        }
        let epochs = Arc::clone(self);
        let made = tokio::task::spawn_blocking(move || epochs.begin()).await;
        let epoch = made.unwrap_or_else(|panic| Err(LedgerError::damaged("an epoch's key")(panic)))?;
        *current = Some(Current { epoch: Arc::clone(&epoch), calls: 1, since: Instant::now() });
        Ok(epoch)
    }

    /// The epoch with this id; `None` if its key is missing or damaged. For the start, before any new epoch. Blocks on the disk.
    pub fn find(&self, id: &EpochId) -> Result<Option<Arc<Epoch>>, LedgerError> {
        let mut living = self.lock();
        if let Some(known) = living.iter().find(|epoch| epoch.id == *id) {
            return Ok(Some(Arc::clone(known)));
        }
        let path = self.file(id);
        let content = match fs::read(&path) {
            Ok(content) => Zeroizing::new(content),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&path, "cannot be read")(error)),
        };
        let Some(cipher) = parse(&content) else { return Ok(None) };
        let epoch = Arc::new(Epoch { id: *id, cipher });
        living.push(Arc::clone(&epoch));
        Ok(Some(epoch))
    }

    /// Destroys the keys of epochs of the past that nobody has asked for. Blocks on the disk.
    pub fn destroy_unknown(&self) -> Result<(), LedgerError> {
        let living: Vec<_> = self.lock().iter().map(|epoch| self.file(&epoch.id)).collect();
        let listed = || fs::read_dir(&self.dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
        for path in listed().map_err(failed(&self.dir, "cannot be listed"))? {
            if !living.contains(&path) {
                destroy(&path).map_err(failed(&path, "cannot be overwritten and removed"))?;
            }
        }
        Ok(())
    }

    /// Destroys the keys of epochs that are over and have no call left; all without calls, when `closing`. Blocks on the disk.
    pub fn destroy_unused(&self, closing: bool) -> Result<(), LedgerError> {
        {
            let mut current = self.current.blocking_lock();
            if closing || current.as_ref().is_some_and(Current::is_over) {
                *current = None;
            }
        }
        let mut living = self.lock();
        // INVARIANT: only the current epoch is given to anybody, so what is held here alone will be held by nobody else.
        let (unused, used) = living.drain(..).partition(|epoch| Arc::strong_count(epoch) == 1);
        *living = used;
        drop(living);
        let mut unused: Vec<Arc<Epoch>> = unused;
        while let Some(epoch) = unused.last() {
            let path = self.file(&epoch.id);
            if let Err(error) = destroy(&path) {
                self.lock().append(&mut unused);
                return Err(failed(&path, "cannot be overwritten and removed")(error));
            }
            unused.pop();
        }
        Ok(())
    }

    /// Makes a key. Durable on return.
    fn begin(&self) -> Result<Arc<Epoch>, LedgerError> {
        let mut id = EpochId::default();
        getrandom::fill(&mut id).expect("the operating system's random source is available");
        let path = self.file(&id);
        let cipher = create(&path, &self.dir).map_err(failed(&path, "cannot be written"))?;
        let epoch = Arc::new(Epoch { id, cipher });
        // At once: whoever asked for it may have gone.
        self.lock().push(Arc::clone(&epoch));
        Ok(epoch)
    }

    fn file(&self, id: &EpochId) -> PathBuf {
        self.dir.join(format!("{:032x}", u128::from_be_bytes(*id)))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Epoch>>> {
        // Each change keeps the list whole, but for what a panic lets out of sight: the next start destroys that.
        self.living.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(content: &[u8]) -> Option<Cipher> {
    let (key, checksum) = content.split_first_chunk::<KEY>()?;
    (checksum == crc32fast::hash(key).to_be_bytes()).then(|| Cipher::new(key))
}

fn create(path: &Path, dir: &Path) -> io::Result<Cipher> {
    let mut content = Zeroizing::new([0; FILE]);
    getrandom::fill(&mut content[..KEY]).expect("the operating system's random source is available");
    let checksum = crc32fast::hash(&content[..KEY]).to_be_bytes();
    content[KEY..].copy_from_slice(&checksum);
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(&content[..])?;
        file.sync_all()?;
        File::open(dir)?.sync_all()
    };
    if let Err(error) = write() {
        // What was sealed with it could be lost with a power cut, so nothing is. If this fails as well, the next start does it.
        drop(destroy(path));
        return Err(error);
    }
    Ok(parse(&content[..]).expect("what was just made"))
}

/// Overwrites a key with zeros, then removes its file, if it is there. Durable on return.
fn destroy(path: &Path) -> io::Result<()> {
    let mut file = match OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    file.write_all(&[0; FILE])?;
    file.sync_all()?;
    fs::remove_file(path)?;
    File::open(path.parent().expect("a key file has a folder"))?.sync_all()
}

/// For `map_err`: what could not be done with a key file.
fn failed(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> LedgerError {
    move |error| LedgerError::Secret { path: path.to_owned(), problem: format!("{what}: {error}") }
}
