//! The keys that plugins are signed with: the private one in a file, the public one as a line of text.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

/// What a private key begins with in its file.
const PRIVATE: &str = "tidegate-plugin-secret-1:";
/// What a public key begins with.
const PUBLIC: &str = "tidegate-plugin-key-1:";
/// More than a key file ever holds.
const MAX_FILE: u64 = 4096;

/// A private key. Its memory is overwritten when it is dropped.
pub struct PrivateKey(SigningKey);

impl PrivateKey {
    /// Makes a new key and keeps it in `path`, readable by its owner only. Durable on return.
    ///
    /// # Errors
    /// There is a file already, or it can't be written.
    pub fn create(path: &Path) -> Result<Self, String> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut bytes[..]).expect("the operating system's random source is available");
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(Zeroizing::new(format!("{}\n", &*encode(PRIVATE, &bytes))).as_bytes())?;
            file.sync_all()?;
            // The name has to last as well.
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(folder)?.sync_all()
        };
        write().map_err(|error: io::Error| match error.kind() {
            ErrorKind::AlreadyExists => {
                format!("`{}` exists already; a key that is overwritten is lost, so choose another name", path.display())
            }
            _ => format!("can't write `{}`: {error}", path.display()),
        })?;
        Ok(Self(SigningKey::from_bytes(&bytes)))
    }

    /// Reads the key in a file.
    ///
    /// # Errors
    /// It can't be read, others may read it too, or it holds no private key.
    pub fn open(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let unreadable = |error: io::Error| format!("can't read `{shown}`: {error}");
        let file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(format!("`{shown}` may be read by others (mode {mode:03o}); run `chmod 600` on it"));
        }
        let mut text = Zeroizing::new(String::new());
        file.take(MAX_FILE).read_to_string(&mut text).map_err(unreadable)?;
        match decode(PRIVATE, text.trim_end()) {
            Some(bytes) => Ok(Self(SigningKey::from_bytes(&bytes))),
            None if text.starts_with(PUBLIC) => Err(format!("`{shown}` holds a public key; signing needs the private one")),
            None => Err(format!("`{shown}` is not a private key, or damaged; `tidegate plugin keygen` makes one")),
        }
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

/// A public key, written as one line: `tidegate-plugin-key-1:` and base64url of the 32 bytes and their CRC-32.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Whether this key made the signature of the message (RFC 8032, without its malleable corners).
    pub fn has_signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(PUBLIC, self.0.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with(PRIVATE) {
            // Not repeated: it is a secret.
            return Err("this is a private key; keep it to its owner, and write the public one that `keygen` printed".to_owned());
        }
        let key = decode(PUBLIC, text).and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok());
        key.map(Self).ok_or_else(|| format!("`{text}` is not the public key of a signer, or not all of it (`{PUBLIC}…`)"))
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The bytes behind a prefix, with a checksum that tells when a part of them was lost on the way.
fn encode(prefix: &str, bytes: &[u8; 32]) -> Zeroizing<String> {
    let mut whole = Zeroizing::new([0; 36]);
    whole[..32].copy_from_slice(bytes);
    whole[32..].copy_from_slice(&crc32fast::hash(bytes).to_be_bytes());
    Zeroizing::new(format!("{prefix}{}", &*Zeroizing::new(URL_SAFE_NO_PAD.encode(&whole[..]))))
}

fn decode(prefix: &str, text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text.strip_prefix(prefix)?).ok()?);
    let (key, checksum) = bytes.split_first_chunk::<32>()?;
    (checksum == crc32fast::hash(key).to_be_bytes()).then(|| Zeroizing::new(*key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_kept_from_others_and_reads_back() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("me.key");
        let made = PrivateKey::create(&path).expect("a new key");
        assert_eq!(std::fs::metadata(&path).expect("written").permissions().mode() & 0o777, 0o600);
        let read = PrivateKey::open(&path).expect("readable");
        assert_eq!(read.public(), made.public());
        assert_eq!(made.public().to_string().parse(), Ok(made.public()));
        assert!(made.public().has_signed(b"message", &read.sign(b"message")));
        assert!(!made.public().has_signed(b"massage", &read.sign(b"message")));

        let error = PrivateKey::create(&path).err().expect("there is one");
        assert!(error.contains("exists already"), "{error}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("changed");
        let error = PrivateKey::open(&path).err().expect("others may read it");
        assert!(error.contains("mode 640") && error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_key_that_lost_a_part_is_none_and_a_private_one_is_not_repeated() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("me.key");
        let public = PrivateKey::create(&path).expect("a new key").public().to_string();
        assert!(public[..public.len() - 1].parse::<PublicKey>().is_err());
        let swapped = public.replace(&public[30..32], &public[30..32].chars().rev().collect::<String>());
        assert!(swapped == public || swapped.parse::<PublicKey>().is_err(), "{swapped}");

        let private = std::fs::read_to_string(&path).expect("readable");
        let error = private.trim_end().parse::<PublicKey>().expect_err("private");
        assert!(error.contains("private key") && !error.contains(&private[30..50]), "{error}");
        std::fs::write(&path, &public).expect("writable");
        let error = PrivateKey::open(&path).err().expect("public");
        assert!(error.contains("holds a public key"), "{error}");
    }
}
