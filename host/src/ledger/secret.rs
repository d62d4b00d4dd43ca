//! The ledger's secret, kept outside the store, and everything that is derived from it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Serialize, Serializer};
use serde_json::Value;
use sha2::Sha256;

use super::cbor::{self, Part};
use super::{Ledger, LedgerError};
use crate::model::{Arguments, Digest};

/// The secret `K` of the pinned formats, ready for use.
///
/// It is not stored in the engine: the engine's log keeps old versions around, and a backup of the one without the other
/// reveals nothing.
pub(super) struct Secret {
    /// `K` itself: fingerprints of arguments and outbound idempotency keys.
    key: Hmac<Sha256>,
    /// Commitments to redacted values.
    redaction: Hmac<Sha256>,
    /// Tags of subjects.
    subjects: Hmac<Sha256>,
    /// Terms of the index.
    terms: Hmac<Sha256>,
}

/// The argument by which the host offers agents to pass an idempotency key. It is no part of what the tool is asked to do.
pub(super) const KEY_ARGUMENT: &str = "idempotency_key";

const FILE: &str = "ledger.key";
const FILE_ASIDE: &str = "ledger.key.new";
const PREFIX: &str = "tidegate-secret-1:";

impl Ledger {
    /// A key of this host's own for the purpose that `label` names; the same at every start.
    pub fn key_for(&self, label: &str) -> [u8; 32] {
        self.inner.secret.derived(label)
    }
}

impl Secret {
    /// Reads the secret in `folder`, or makes one for a ledger that is new. `known` is what the ledger remembers of it.
    ///
    /// A new secret lies aside until [`Secret::confirm`]. So a secret in its place tells of a ledger that was written with it,
    /// and if that ledger remembers nothing, it has been lost.
    pub fn open(folder: &Path, known: Option<&[u8]>) -> Result<Self, LedgerError> {
        let path = folder.join(FILE);
        let aside = folder.join(FILE_ASIDE);
        let problem = |problem: &str| LedgerError::Secret { path: path.clone(), problem: problem.to_owned() };
        let secret = match (read(&path)?, known) {
            (Some(secret), Some(_)) => secret,
            (Some(_), None) => {
                return Err(problem(
                    "has been used, but the store it was used with is empty: restore the data folder from a backup, \
                     or remove this file to start a new log",
                ));
            }
            // The last start was cut off before or after the ledger learned of the new secret.
            (None, _) => match (read(&aside)?, known) {
                (Some(secret), _) => secret,
                (None, None) => create(folder).map_err(|error| problem(&format!("could not be created: {error}")))?,
                (None, Some(_)) => {
                    return Err(problem(
                        "is missing, but the log was written with one; restore it from a backup, \
                         or every retried write would look like a new one",
                    ));
                }
            },
        };
        if known.is_some_and(|known| known != secret.check().0) {
            return Err(problem("is not the one this log was written with; restore the right one from a backup"));
        }
        Ok(secret)
    }

    /// Puts a new secret in its place, once the ledger remembers it durably.
    pub fn confirm(folder: &Path) -> Result<(), LedgerError> {
        let (aside, path) = (folder.join(FILE_ASIDE), folder.join(FILE));
        let confirm = || {
            if aside.try_exists()? {
                fs::rename(&aside, &path)?;
                File::open(folder)?.sync_all()?;
            }
            Ok(())
        };
        confirm().map_err(|error: io::Error| LedgerError::Secret {
            path: path.clone(),
            problem: format!("cannot be put there: {error}"),
        })
    }

    /// The secret with this key.
    pub fn of(key: &[u8; 32]) -> Self {
        let key = Hmac::new_from_slice(key).expect("HMAC takes keys of any length");
        let derive = |label: &[u8]| finish(key.clone().chain_update(label));
        let mac = |label: &[u8]| Hmac::new_from_slice(&derive(label).0).expect("HMAC takes keys of any length");
        let (redaction, subjects) = (mac(b"tidegate/redaction/2"), mac(b"tidegate/subjects/1"));
        let terms = mac(b"tidegate/terms/1");
        Self { key, redaction, subjects, terms }
    }

    /// A key for something else that this host alone may know.
    pub fn derived(&self, label: &str) -> [u8; 32] {
        finish(self.key.clone().chain_update(label)).0
    }

    /// What the log remembers of the secret, to tell whether it is still the same one.
    pub fn check(&self) -> Digest {
        finish(self.key.clone().chain_update(b"tidegate/secret-check/1"))
    }

    /// `print = HMAC-SHA-256(K, JCS(arguments without idempotency_key))`.
    ///
    /// Numbers that JCS can't tell apart (integers beyond 2^53) stand in it as text.
    pub fn print(&self, arguments: &Arguments) -> Digest {
        let mut sink = MacSink(self.key.clone());
        serde_json_canonicalizer::to_writer(&Fingerprinted(arguments), &mut sink).expect("parsed JSON has a canonical form");
        finish(sink.0)
    }

    /// `b64url(HMAC-SHA-256(K, dCBOR([claim, backend, method, path, n])))`.
    pub fn outbound_key(&self, claim: &Digest, backend: &str, method: &str, path: &str, n: u64) -> String {
        let preimage = cbor::encode_parts(&[
            Part::Bytes(&claim.0),
            Part::Text(backend),
            Part::Text(method),
            Part::Text(path),
            Part::Number(n),
        ]);
        URL_SAFE_NO_PAD.encode(finish(self.key.clone().chain_update(preimage)).0)
    }

    /// The commitment that stands in place of a redacted value. Nobody can guess the value from it; whoever holds the value and
    /// is given its [`opening`](Self::opening) can prove it.
    pub fn commit(&self, salt: &[u8; 32], path: &str, value: &Value) -> Digest {
        let exact = Exact(value);
        commitment(&self.opening(salt, path, value), &exact)
    }

    /// The key that opens the commitment to one value, and no other: `commitment = HMAC-SHA-256(opening, JCS(value))`.
    pub fn opening(&self, salt: &[u8; 32], path: &str, value: &Value) -> Digest {
        let mut sink = MacSink(self.redaction.clone().chain_update(salt));
        sink.0.update(&(path.len() as u64).to_be_bytes());
        sink.0.update(path.as_bytes());
        serde_json_canonicalizer::to_writer(&Exact(value), &mut sink).expect("parsed JSON has a canonical form");
        finish(sink.0)
    }

    /// The tag of a subject: `HMAC-SHA-256(K', dCBOR([iss, sub]))`. It names the subject to whoever holds the secret only.
    pub fn subject(&self, issuer: &str, subject: &str) -> Digest {
        let preimage = cbor::encode_parts(&[Part::Text(issuer), Part::Text(subject)]);
        finish(self.subjects.clone().chain_update(preimage))
    }

    /// The keyed hash by which the index knows a term.
    pub fn term(&self, field: &str, text: &str) -> u64 {
        let preimage = cbor::encode_parts(&[Part::Text(field), Part::Text(text)]);
        let digest = finish(self.terms.clone().chain_update(preimage));
        u64::from_be_bytes(*digest.0.first_chunk().expect("a digest is longer than 8 bytes"))
    }
}

/// Reads the secret in a file; `None` if there is no file.
fn read(path: &Path) -> Result<Option<Secret>, LedgerError> {
    let problem = |problem: String| LedgerError::Secret { path: path.to_owned(), problem };
    let unreadable = |error: io::Error| problem(format!("cannot be read: {error}"));
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(problem(format!("may be read by others (mode {mode:03o}); run `chmod 600` on it")));
    }
    let key = parse(&text).ok_or_else(|| problem("is damaged; restore it from a backup".to_owned()))?;
    Ok(Some(Secret::of(&key)))
}

fn parse(text: &str) -> Option<[u8; 32]> {
    let bytes = URL_SAFE_NO_PAD.decode(text.trim_end().strip_prefix(PREFIX)?).ok()?;
    let (key, checksum) = bytes.split_first_chunk::<32>()?;
    (checksum == crc32fast::hash(key).to_be_bytes()).then_some(*key)
}

/// Makes a new secret, aside from its place. Durable on return.
fn create(folder: &Path) -> io::Result<Secret> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut bytes = [0; 36];
    getrandom::fill(&mut bytes[..32]).expect("the operating system's random source is available");
    let checksum = crc32fast::hash(&bytes[..32]).to_be_bytes();
    bytes[32..].copy_from_slice(&checksum);

    // Written under a third name, so that what lies aside is whole.
    let unfinished = folder.join("ledger.key.unfinished");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    writeln!(file, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))?;
    file.sync_all()?;
    fs::rename(&unfinished, folder.join(FILE_ASIDE))?;
    File::open(folder)?.sync_all()?;
    // The folder itself may be new, and its name has to last as well.
    if let Some(parent) = folder.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(Secret::of(bytes.first_chunk().expect("32 of 36 bytes")))
}

/// Whether `commitment` is one to `value`, and `opening` the key to it: all that somebody without the secret needs.
pub(super) fn opens(commitment: &Digest, opening: &Digest, value: &Value) -> bool {
    self::commitment(opening, &Exact(value)) == *commitment
}

fn commitment(opening: &Digest, value: &Exact<'_>) -> Digest {
    let mut sink = MacSink(Hmac::new_from_slice(&opening.0).expect("HMAC takes keys of any length"));
    serde_json_canonicalizer::to_writer(value, &mut sink).expect("parsed JSON has a canonical form");
    finish(sink.0)
}

fn finish(mac: Hmac<Sha256>) -> Digest {
    Digest(mac.finalize().into_bytes().into())
}

/// Feeds what is written to it into a MAC.
struct MacSink(Hmac<Sha256>);

impl Write for MacSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The arguments as they are fingerprinted.
struct Fingerprinted<'a>(&'a Arguments);

impl Serialize for Fingerprinted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().filter(|(name, _)| *name != KEY_ARGUMENT).map(|(name, value)| (name, Exact(value))))
    }
}

/// JSON whose integers stay distinct in JCS, which knows only doubles: what a double can't hold exactly becomes a text
/// (RFC 8785 appendix D). Else two long account numbers could share one fingerprint.
struct Exact<'a>(&'a Value);

impl Serialize for Exact<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const MAX_EXACT: u64 = 1 << 53;
        match self.0 {
            Value::Number(number) => {
                let magnitude = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
                if magnitude.is_some_and(|magnitude| magnitude > MAX_EXACT) {
                    serializer.collect_str(number)
                } else {
                    number.serialize(serializer)
                }
            }
            Value::Array(values) => serializer.collect_seq(values.iter().map(Exact)),
            Value::Object(members) => serializer.collect_map(members.iter().map(|(name, value)| (name, Exact(value)))),
            plain => plain.serialize(serializer),
        }
    }
}
