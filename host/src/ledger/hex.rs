//! Digests in the bodies of records: as hex, written without the formatting machinery.

use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::model::Digest;

/// A digest as hex. Three of them stand in every intent, so they are written without the formatting machinery.
pub(super) struct Hex<'a>(pub &'a Digest);

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; 64];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0.0) {
            pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
        serializer.serialize_str(str::from_utf8(&hex).expect("hex digits are ASCII"))
    }
}

/// The digest of an answer, as hex.
pub(super) struct Sha256Hex(Digest);

impl Sha256Hex {
    pub fn of(bytes: &[u8]) -> Self {
        Self(Digest(Sha256::digest(bytes).into()))
    }
}

impl Serialize for Sha256Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Hex(&self.0).serialize(serializer)
    }
}
