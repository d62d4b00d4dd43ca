//! The key that checkpoints of the log are signed with, and the signed notes themselves.
//!
//! A note is the C2SP checkpoint format (<https://c2sp.org/tlog-checkpoint>, <https://c2sp.org/signed-note>): three lines that say
//! which log, how long it is and what its root is, and an Ed25519 signature. Whoever has the public key and a note from earlier
//! can tell whether a log is the same one, and as long at least.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{LedgerError, keys};
use crate::model::Digest;
use crate::store::{Store, Urgency};

const FILE: &str = "checkpoint.key";
const PREFIX: &str = "tidegate-checkpoint-key-1:";

/// The kind of signature in a note: Ed25519.
const ED25519: u8 = 1;

/// What signs the checkpoints of one log.
pub(super) struct Signer {
    key: SigningKey,
    public: PublicKey,
}

impl Signer {
    /// Reads the key in `folder`, or makes one for a log that has none yet.
    ///
    /// # Errors
    /// It is missing, damaged, readable by others, or not the one the log was signed with so far.
    pub fn open(store: &Store, folder: &Path) -> Result<Self, LedgerError> {
        let path = folder.join(FILE);
        let problem = |problem: String| LedgerError::Secret { path: path.clone(), problem };
        let known = store.get(keys::SIGNER)?;
        let key = match (read(&path).map_err(problem)?, &known) {
            (Some(key), _) => key,
            (None, None) => create(folder, &path).map_err(|error| problem(format!("could not be created: {error}")))?,
            (None, Some(_)) => {
                return Err(problem("is missing, but the log was signed with one; restore it from a backup".to_owned()));
            }
        };
        let public = PublicKey::of(key.verifying_key());
        let text = public.to_string().into_bytes();
        match known {
            Some(known) if known != text => {
                return Err(problem("is not the one this log was signed with; restore the right one from a backup".to_owned()));
            }
            Some(_) => {}
            None => store.commit_blocking(Urgency::Now, move |tx| tx.put(keys::SIGNER.to_vec(), text))?,
        }
        Ok(Self { key, public })
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs that the log has `size` records with this root.
    pub fn sign(&self, size: u64, root: Digest) -> Note {
        let text = statement(&self.public.name, size, &root);
        let signature = self.key.sign(text.as_bytes()).to_bytes();
        let signature = [&self.public.id()[..], &signature].concat();
        Note { size, root, text: format!("{text}\n— {} {}\n", self.public.name, STANDARD.encode(signature)) }
    }
}

/// The public key of a log, as a verifier key of a signed note: `name+id+key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// The name of the log, its origin.
    name: String,
    key: VerifyingKey,
}

impl PublicKey {
    /// A log is named after its key.
    fn of(key: VerifyingKey) -> Self {
        let print = Digest(Sha256::digest(key.as_bytes()).into()).to_string();
        Self { name: format!("tidegate.dev/log/{}", &print[..16]), key }
    }

    /// The name of the log.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn id(&self) -> [u8; 4] {
        let hash = Sha256::new().chain_update(&self.name).chain_update([b'\n', ED25519]).chain_update(self.key.as_bytes());
        *hash.finalize().first_chunk().expect("a digest is longer than 4 bytes")
    }

    /// Reads a note and checks that it is signed with this key.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, text: &str) -> Result<Note, String> {
        let note = Note::read(text)?;
        let statement = statement(&self.name, note.size, &note.root);
        let signatures = text.strip_prefix(&statement).and_then(|rest| rest.strip_prefix('\n'));
        let signatures = signatures.ok_or_else(|| format!("it is not a checkpoint of `{}`", self.name))?;
        let prefix = format!("— {} ", self.name);
        let ours = signatures.lines().filter_map(|line| STANDARD.decode(line.strip_prefix(&prefix)?).ok());
        let is_signed = ours.filter_map(|bytes| bytes.strip_prefix(&self.id()).map(<[u8]>::to_vec)).any(|signature| {
            Signature::from_slice(&signature)
                .is_ok_and(|signature| self.key.verify_strict(statement.as_bytes(), &signature).is_ok())
        });
        is_signed.then_some(note).ok_or_else(|| format!("it is not signed with the key of `{}`", self.name))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = u32::from_be_bytes(self.id());
        write!(f, "{}+{id:08x}+{}", self.name, STANDARD.encode([&[ED25519], &self.key.as_bytes()[..]].concat()))
    }
}

impl FromStr for PublicKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = || format!("`{}` is not the public key of a log (`tidegate audit key` prints it)", text.trim());
        let mut parts = text.trim().splitn(3, '+');
        let (name, id, key) = (parts.next(), parts.next(), parts.next());
        let key = key.and_then(|key| STANDARD.decode(key).ok()).ok_or_else(problem)?;
        let key: &[u8; 32] = key.strip_prefix(&[ED25519]).and_then(|key| key.try_into().ok()).ok_or_else(problem)?;
        let key = VerifyingKey::from_bytes(key).map_err(|_| problem())?;
        let public = Self { name: name.unwrap_or_default().to_owned(), key };
        let same = id == Some(&format!("{:08x}", u32::from_be_bytes(public.id())));
        same.then_some(public).ok_or_else(problem)
    }
}

/// A signed statement of how long a log is, and what its root is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// How many records.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Digest,
    /// The note as it is signed and published.
    pub text: String,
}

impl Note {
    /// Reads a note, believing everything.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().skip(1);
        let size = lines.next().and_then(|line| line.parse().ok());
        let root = lines.next().and_then(|line| STANDARD.decode(line).ok()).and_then(|root| root.try_into().ok());
        match (size, root) {
            (Some(size), Some(root)) => Ok(Self { size, root: Digest(root), text: text.to_owned() }),
            _ => Err("it is not a checkpoint".to_owned()),
        }
    }
}

fn statement(origin: &str, size: u64, root: &Digest) -> String {
    format!("{origin}\n{size}\n{}\n", STANDARD.encode(root.0))
}

/// Reads the key in a file; `None` if there is no file.
fn read(path: &Path) -> Result<Option<SigningKey>, String> {
    let text = match fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot be read: {error}")),
    };
    let mode = fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!("may be read by others (mode {mode:03o}); run `chmod 600` on it"));
    }
    let parse = || {
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text.trim_end().strip_prefix(PREFIX)?).ok()?);
        let (seed, checksum) = bytes.split_first_chunk::<32>()?;
        (checksum == crc32fast::hash(seed).to_be_bytes()).then(|| SigningKey::from_bytes(seed))
    };
    parse().map(Some).ok_or_else(|| "is damaged; restore it from a backup".to_owned())
}

/// Makes a new key. Durable on return.
fn create(folder: &Path, path: &Path) -> io::Result<SigningKey> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut bytes = Zeroizing::new([0; 36]);
    getrandom::fill(&mut bytes[..32]).expect("the operating system's random source is available");
    let checksum = crc32fast::hash(&bytes[..32]).to_be_bytes();
    bytes[32..].copy_from_slice(&checksum);
    // Written under another name, so that what bears the name is whole.
    let unfinished = folder.join("checkpoint.key.unfinished");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    writeln!(file, "{PREFIX}{}", &*Zeroizing::new(URL_SAFE_NO_PAD.encode(&bytes[..])))?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    File::open(folder)?.sync_all()?;
    Ok(SigningKey::from_bytes(bytes.first_chunk().expect("32 of 36 bytes")))
}
