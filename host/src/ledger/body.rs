//! The body of an audit record as it is stored: salted, committed to by the head, erasable without touching it.
//!
//! `commitment = SHA-256(salt32 || body_bytes)`. The bytes are hashed as written and never re-serialized to verify. What is about
//! a person is sealed with that person's key, salt included: without the key nothing is left but a hash nobody can guess at.

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::cipher::SEAL;
use super::subjects::{KeyId, SubjectKey, Subjects};
use super::{LedgerError, keys, page};
use crate::model::Digest;
use crate::store::{Store, StoreError, Tx};

/// Salt and body follow.
const PLAIN: u8 = 0;
/// Salt and body are in the body file that the commitment names.
const PLAIN_FILE: u8 = 1;
/// A key id follows, then salt and body, sealed.
const SEALED: u8 = 2;
/// A key id follows, then the name of the body file that holds salt and body, sealed.
const SEALED_FILE: u8 = 3;
/// The sequence of the record follows that tells of the pruning.
const PRUNED: u8 = 4;

/// The length of a salt, in bytes.
pub(super) const SALT: usize = 32;

/// The longest body that is stored with its head, in bytes, salt included. Leaves room for the longest head and the seal.
const INLINE_MAX: usize = page::ITEM_MAX - 256 - size_of::<KeyId>() - SEAL;

/// A body ready to be stored.
pub(super) struct Body {
    /// What the head says of it.
    pub commitment: Digest,
    /// What is stored with the head.
    pub stored: Vec<u8>,
    /// What is stored in a file instead, because it is too long for that.
    file: Option<Vec<u8>>,
}

impl Body {
    /// A body about nobody in particular.
    pub fn plain(content: &impl Serialize) -> Self {
        Unsealed::new(&fresh_salt(), content).into_plain()
    }

    /// Whether it is stored with its head.
    pub fn is_inline(&self) -> bool {
        self.file.is_none()
    }

    /// The body as it may be written at this moment: in its place, if its person was erased since it was sealed, what remains to be
    /// said of nobody. In the commit that writes it.
    pub fn or_impersonal(self, tx: &mut Tx<'_>, subjects: &Subjects, rest: impl FnOnce() -> Self) -> Result<Self, LedgerError> {
        if !key_of(&self.stored).is_some_and(|key| subjects.is_retired(&key)) {
            return Ok(self);
        }
        // No row is going to name it.
        if let Some(file) = file_of(&self.stored, &self.commitment) {
            tx.put(keys::doomed_file(&file), Vec::new())?;
        }
        Ok(rest())
    }

    /// Makes what is not stored with the head durable, so that a record may name it.
    pub async fn write_file(&mut self, store: &Store) -> Result<(), StoreError> {
        if let Some(file) = self.file.take() {
            store.write_body(file).await?;
        }
        Ok(())
    }

    /// [`Body::write_file`] for those who may block.
    pub fn write_file_blocking(&mut self, store: &Store) -> Result<(), StoreError> {
        self.file.take().map_or(Ok(()), |file| store.write_body_blocking(&file).map(drop))
    }
}

/// A body that nobody's key has been applied to yet.
pub(super) struct Unsealed {
    commitment: Digest,
    /// Behind one byte of room.
    salted: Vec<u8>,
}

impl Unsealed {
    /// Serializes a body, once, right behind its salt.
    pub fn new(salt: &[u8; SALT], content: &impl Serialize) -> Self {
        let mut salted = Vec::with_capacity(1024);
        salted.push(PLAIN);
        salted.extend_from_slice(salt);
        serde_json::to_writer(&mut salted, content).expect("a body holds only texts, numbers and parsed JSON");
        Self { commitment: commitment(&salted[1..]), salted }
    }

    /// Whether it can be stored with its head.
    pub fn is_inline(&self) -> bool {
        self.salted.len() - 1 <= INLINE_MAX
    }

    /// The body as it is.
    pub fn into_plain(mut self) -> Body {
        if self.is_inline() {
            return Body { commitment: self.commitment, stored: self.salted, file: None };
        }
        // The file is named by the SHA-256 of its content, which is the commitment.
        self.salted.remove(0);
        Body { commitment: self.commitment, stored: vec![PLAIN_FILE], file: Some(self.salted) }
    }

    /// The body, readable with `key` alone.
    pub fn sealed(self, key: &SubjectKey) -> Body {
        let is_inline = self.is_inline();
        let sealed = key.seal(&self.commitment.0, &self.salted[1..]);
        let head = |kind: u8| [&[kind], &key.id[..]].concat();
        if is_inline {
            return Body { commitment: self.commitment, stored: [head(SEALED), sealed].concat(), file: None };
        }
        let name = Sha256::digest(&sealed);
        Body { commitment: self.commitment, stored: [&head(SEALED_FILE)[..], &name[..]].concat(), file: Some(sealed) }
    }
}

/// A salt from the operating system's random source. It dies with its body: what is left cannot be guessed at.
pub(super) fn fresh_salt() -> [u8; SALT] {
    let mut salt = [0; SALT];
    getrandom::fill(&mut salt).expect("the operating system's random source is available");
    salt
}

/// What is stored in place of a body that was pruned, as record `seq` tells.
pub(super) fn pruned(seq: u64) -> Vec<u8> {
    [&[PRUNED][..], &seq.to_be_bytes()].concat()
}

/// Whether a stored body is one that was pruned.
pub(super) fn is_pruned(stored: &[u8]) -> bool {
    stored.first() == Some(&PRUNED)
}

/// The sequence of the record that tells of the pruning of a body, if it was pruned.
pub(super) fn pruned_by(stored: &[u8]) -> Option<u64> {
    stored.strip_prefix(&[PRUNED])?.try_into().ok().map(u64::from_be_bytes)
}

/// The id of the key that a stored body is sealed with, if it is sealed.
pub(super) fn key_of(stored: &[u8]) -> Option<KeyId> {
    match stored.split_first()? {
        (&(SEALED | SEALED_FILE), rest) => rest.first_chunk().copied(),
        _ => None,
    }
}

/// The body file that a record names.
pub(super) fn file_of(stored: &[u8], committed: &Digest) -> Option<Digest> {
    match stored.split_first()? {
        (&PLAIN_FILE, []) => Some(*committed),
        (&SEALED_FILE, rest) => rest.get(size_of::<KeyId>()..)?.try_into().ok().map(Digest),
        _ => None,
    }
}

/// A salt and the body behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Salted(Vec<u8>);

impl Salted {
    /// What they are, if that is what a head committed to.
    pub fn checked(salted: Vec<u8>, committed: &Digest) -> Option<Self> {
        (salted.len() >= SALT && commitment(&salted) == *committed).then_some(Self(salted))
    }

    pub fn salt(&self) -> &[u8] {
        &self.0[..SALT]
    }

    pub fn json(&self) -> &[u8] {
        &self.0[SALT..]
    }
}

/// A stored body, as far as it is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Whole, and what the head committed to.
    Whole(Salted),
    /// Sealed with a key that was destroyed.
    Erased(KeyId),
    /// Pruned, as the record with this sequence tells.
    Pruned(u64),
    /// There, but not what the head committed to.
    Forged(String),
}

/// Finds and checks the body of a record. Blocks on the disk if it, or its key, is in a file.
pub(super) fn find(store: &Store, subjects: &Subjects, stored: &[u8], committed: &Digest) -> Result<Found, LedgerError> {
    let forged = |problem: &str| Ok(Found::Forged(problem.to_owned()));
    const MISSING: &str = "its file is missing";
    const SENSELESS: &str = "it makes no sense";
    let file = match file_of(stored, committed).map(|name| store.read_body(&name)) {
        None => None,
        Some(Ok(Some(content))) => Some(content),
        // Without its key it would be unreadable anyway, which is looked at first.
        Some(Ok(None)) if key_of(stored).is_some() => None,
        Some(Ok(None)) => return forged(MISSING),
        Some(Err(error @ StoreError::Damaged { .. })) => return forged(&error.to_string()),
        Some(Err(error)) => return Err(error.into()),
    };
    let salted = match stored.split_first() {
        Some((&PLAIN, salted)) => salted.to_vec(),
        Some((&PLAIN_FILE, [])) => file.expect("read above"),
        Some((&(SEALED | SEALED_FILE), rest)) => {
            let Some((id, sealed)) = rest.split_first_chunk() else { return forged(SENSELESS) };
            let Some(key) = subjects.by_id(id)? else { return Ok(Found::Erased(*id)) };
            let sealed = match (stored[0], &file) {
                (SEALED, _) => sealed,
                (_, Some(file)) => file,
                (_, None) => return forged(MISSING),
            };
            match key.unseal(&committed.0, sealed) {
                Some(salted) => salted,
                None => return forged("it does not decrypt"),
            }
        }
        Some((&PRUNED, _)) => return pruned_by(stored).map_or_else(|| forged(SENSELESS), |seq| Ok(Found::Pruned(seq))),
        _ => return forged(SENSELESS),
    };
    Salted::checked(salted, committed)
        .map_or_else(|| forged("it is not what the head committed to"), |salted| Ok(Found::Whole(salted)))
}

fn commitment(salted: &[u8]) -> Digest {
    Digest(Sha256::digest(salted).into())
}
