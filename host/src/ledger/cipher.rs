//! Sealing: a text that nobody reads or swaps without the key.

use chacha20poly1305::aead::{Aead, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

/// What sealing adds to a text, in bytes: nonce and tag.
pub(super) const SEAL: usize = NONCE + 16;

/// The length of a key, in bytes.
pub(super) const KEY: usize = 32;

const NONCE: usize = 24;

/// XChaCha20-Poly1305 with one key, under random nonces.
pub(super) struct Cipher(XChaCha20Poly1305);

impl Cipher {
    pub fn new(key: &[u8; KEY]) -> Self {
        Self(XChaCha20Poly1305::new(key.into()))
    }

    /// Encrypts a text, bound to `context`: nonce, ciphertext, tag.
    pub fn seal(&self, context: &[u8], text: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(SEAL + text.len());
        sealed.resize(NONCE, 0);
        getrandom::fill(&mut sealed).expect("the operating system's random source is available");
        let nonce = XNonce::try_from(&sealed[..]).expect("the nonce has the length asked for");
        let payload = Payload { msg: text, aad: context };
        sealed.extend(self.0.encrypt(&nonce, payload).expect("texts are far shorter than the cipher's limit"));
        sealed
    }

    /// Decrypts what was sealed with this key in this context; `None` if it was not.
    pub fn unseal(&self, context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, msg) = sealed.split_at_checked(NONCE)?;
        let nonce = XNonce::try_from(nonce).expect("the nonce has the length asked for");
        self.0.decrypt(&nonce, Payload { msg, aad: context }).ok()
    }
}
