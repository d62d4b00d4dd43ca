//! How one value is stored: a version, a checksum over key and payload, the payload.

use super::StoreError;

/// The longest stored value, in bytes, envelope included. sled moves larger ones to files that it never syncs.
pub const MAX_VALUE: usize = 4096;

/// The longest payload that fits into one stored value, in bytes.
pub const MAX_PAYLOAD: usize = MAX_VALUE - ENVELOPE;

/// One version byte and four bytes of checksum.
const ENVELOPE: usize = 5;

/// The version of the envelope, not of what is inside.
const VERSION: u8 = 1;

/// Puts a payload into its envelope.
///
/// The checksum covers the key as well, so that a value which turns up under another key is found out.
pub(super) fn wrap(key: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(ENVELOPE + payload.len());
    value.push(VERSION);
    value.extend_from_slice(&checksum(key, payload).to_be_bytes());
    value.extend_from_slice(payload);
    value
}

/// Takes a payload out of its envelope, or tells that it is not what was once written.
pub(super) fn unwrap(key: &[u8], value: &[u8]) -> Result<Vec<u8>, StoreError> {
    match inspect(key, value) {
        (payload, None) => Ok(payload.to_vec()),
        (_, Some(problem)) => Err(StoreError::damaged_value(key, problem)),
    }
}

/// Takes a payload out of its envelope whatever its state, and tells what is wrong with it.
pub(super) fn inspect<'v>(key: &[u8], value: &'v [u8]) -> (&'v [u8], Option<&'static str>) {
    let Some((header, payload)) = value.split_first_chunk::<ENVELOPE>() else {
        return (&[], Some("it is cut short"));
    };
    let [version, stored @ ..] = *header;
    let problem = if version != VERSION {
        Some("its version is unknown")
    } else if u32::from_be_bytes(stored) != checksum(key, payload) {
        Some("its checksum does not match")
    } else {
        None
    };
    (payload, problem)
}

fn checksum(key: &[u8], payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(key);
    crc.update(payload);
    crc.finalize()
}
