//! The body of an audit record as it is stored: salted, committed to by the head, erasable without touching it.
//!
//! `commitment = SHA-256(salt32 || body_bytes)`. The bytes are hashed as stored and never re-serialized to verify.

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{LedgerError, page};
use crate::model::Digest;
use crate::store::{Store, StoreError};

/// Salt and body follow.
const INLINE: u8 = 0;
/// Salt and body are in the body file that the commitment names.
const IN_FILE: u8 = 1;

/// The length of a salt, in bytes.
const SALT: usize = 32;

/// The longest body that is stored with its head, in bytes, salt included. Leaves room for the longest head.
const INLINE_MAX: usize = page::ITEM_MAX - 256;

/// A body ready to be stored.
pub(super) struct Body {
    /// What the head says of it.
    pub commitment: Digest,
    /// What is stored with the head.
    pub stored: Vec<u8>,
    /// Salt and body, if they are too long for that.
    file: Option<Vec<u8>>,
}

impl Body {
    /// Serializes a body, once, right behind its salt.
    pub fn new(salt: &[u8; SALT], content: &impl Serialize) -> Self {
        let mut stored = Vec::with_capacity(1024);
        stored.push(INLINE);
        stored.extend_from_slice(salt);
        serde_json::to_writer(&mut stored, content).expect("a body holds only texts, numbers and parsed JSON");
        let commitment = commitment(&stored[1..]);
        if stored.len() <= INLINE_MAX {
            return Self { commitment, stored, file: None };
        }
        stored.remove(0);
        Self { commitment, stored: vec![IN_FILE], file: Some(stored) }
    }

    /// Whether it is stored with its head.
    pub fn is_inline(&self) -> bool {
        self.file.is_none()
    }

    /// Makes what is not stored with the head durable, so that a record may name it.
    pub async fn write_file(&mut self, store: &Store) -> Result<(), StoreError> {
        if let Some(file) = self.file.take() {
            // The file is named by the SHA-256 of its content, which is the commitment.
            store.write_body(file).await?;
        }
        Ok(())
    }
}

/// A salt from the operating system's random source. It dies with its body: what is left cannot be guessed at.
pub(super) fn fresh_salt() -> [u8; SALT] {
    let mut salt = [0; SALT];
    getrandom::fill(&mut salt).expect("the operating system's random source is available");
    salt
}

/// A stored body, as far as it is still there.
pub(super) enum Found {
    /// Whole, and what the head committed to.
    Whole(Vec<u8>),
    /// Not there: erased.
    Erased,
    /// There, but not what the head committed to.
    Forged(String),
}

/// Finds and checks the body of a record. Blocks on the disk if it is in a file.
pub(super) fn find(store: &Store, stored: &[u8], committed: &Digest) -> Result<Found, LedgerError> {
    let from_file;
    let salted = match stored.split_first() {
        None => return Ok(Found::Erased),
        Some((&INLINE, salted)) => salted,
        Some((&IN_FILE, [])) => match store.read_body(committed) {
            Ok(Some(salted)) => {
                from_file = salted;
                &from_file
            }
            Ok(None) => return Ok(Found::Erased),
            Err(error @ StoreError::Damaged { .. }) => return Ok(Found::Forged(error.to_string())),
            Err(error) => return Err(error.into()),
        },
        _ => return Ok(Found::Forged("it makes no sense".to_owned())),
    };
    match salted.split_at_checked(SALT) {
        Some((_, body)) if commitment(salted) == *committed => Ok(Found::Whole(body.to_vec())),
        _ => Ok(Found::Forged("it is not what the head committed to".to_owned())),
    }
}

fn commitment(salted: &[u8]) -> Digest {
    Digest(Sha256::digest(salted).into())
}
