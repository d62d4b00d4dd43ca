//! Tokens that were verified a moment ago. Only good tokens get in, so nobody can fill it with bad ones.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};

use super::issuer::Issuer;
use crate::model::{Bytes, Principal};

/// What an entry takes up besides what its token says, in bytes: an estimate on the safe side. It bounds the number of entries too.
const OVERHEAD: u64 = 1 << 10;

/// The SHA-256 of a token. The token itself is kept nowhere.
pub(super) type Print = [u8; 32];

/// A verified token, as long as its issuer's keys stay as they are.
#[derive(Clone)]
pub(super) struct Entry {
    pub principal: Arc<Principal>,
    pub issuer: Arc<Issuer>,
    /// The version of the issuer's keys that it was verified with.
    pub version: u64,
    until: Instant,
    weight: u64,
}

/// Verified tokens, bounded in memory and time.
pub(super) struct TokenCache {
    entries: Cache<Print, Entry, ByWeight>,
    longest: Duration,
}

#[derive(Clone)]
struct ByWeight;

impl Weighter<Print, Entry> for ByWeight {
    fn weight(&self, _: &Print, entry: &Entry) -> u64 {
        entry.weight
    }
}

impl TokenCache {
    /// An empty cache of at most `memory`, whose entries count for at most `longest`.
    pub fn new(memory: Bytes, longest: Duration) -> Self {
        let expected = usize::try_from(memory.0 / (2 * OVERHEAD)).unwrap_or(usize::MAX);
        Self { entries: Cache::with_weighter(expected, memory.0, ByWeight), longest }
    }

    /// The name under which a token is kept.
    pub fn print(token: &str) -> Print {
        Sha256::digest(token.as_bytes()).into()
    }

    /// Whom the token speaks for, if that is still known.
    pub fn get(&self, print: &Print) -> Option<Arc<Principal>> {
        let entry = self.entries.get(print)?;
        let is_current = || entry.issuer.keyring.current().is_some_and(|keys| keys.version == entry.version);
        if Instant::now() < entry.until && is_current() {
            return Some(entry.principal);
        }
        self.entries.remove(print);
        None
    }

    /// What the entries take up, in bytes.
    #[cfg(test)]
    pub fn memory(&self) -> u64 {
        self.entries.weight()
    }

    /// Keeps a token of `length` bytes that was just verified with the `version` of its issuer's keys and expires after
    /// `expires_in`.
    pub fn keep(
        &self,
        print: Print,
        length: usize,
        principal: Arc<Principal>,
        issuer: Arc<Issuer>,
        version: u64,
        expires_in: Duration,
    ) {
        let until = Instant::now() + expires_in.min(self.longest);
        // What a token says is about what its principal holds; parsed, it takes up to several times as much.
        let weight = OVERHEAD + 4 * length as u64;
        self.entries.insert(print, Entry { principal, issuer, version, until, weight });
    }
}
