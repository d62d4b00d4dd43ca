//! Proofs of single records: all that somebody who has the public key, and nothing else of the log, needs to see that a record
//! stands in it, what it says, and which value it keeps to itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::audit::Record;
use super::body::Salted;
use super::chain::{self, Head};
use super::checkpoint::Checkpoint;
use super::secret;
use super::signer::PublicKey;
use super::tree;
use super::{Ledger, LedgerError};
use crate::model::Digest;

/// The version of the format.
const VERSION: u32 = 1;

/// That a record stands in a log: its head, the way from there to a root, and the signature under that.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// The format's version.
    tidegate_proof: u32,
    /// The public key of the log.
    key: String,
    /// The record.
    seq: u64,
    /// The bytes of its head, base64: the leaf of the tree.
    head: String,
    /// What is committed to before the body, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    salt: Option<String>,
    /// The body, byte for byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<Box<RawValue>>,
    /// The value of one commitment in the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    opening: Option<Opening>,
    /// The hashes beside the way from the leaf to the root, from below.
    path: Vec<Digest>,
    /// The signed note with the root.
    checkpoint: String,
}

/// What opens one commitment.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Opening {
    /// Where in the arguments the commitment stands.
    pointer: String,
    /// The value that stood there.
    value: Value,
    /// `commitment = HMAC-SHA-256(opening, JCS(value))`.
    opening: Digest,
}

/// What a proof has proven.
#[derive(Clone, Debug, PartialEq)]
pub struct Proven {
    /// The key that signed it.
    pub key: PublicKey,
    /// The record; with a body if the proof shows it.
    pub record: Record,
    /// How many records the checkpoint signs.
    pub size: u64,
    /// The pointer and the value of the commitment that was opened, if one was.
    pub opened: Option<(String, Value)>,
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The log can't be read or signed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// No such record.
    #[error("there is no record {0} in the log")]
    NoRecord(u64),
    /// Nothing signs the last checkpoint yet.
    #[error("record {0} is the last checkpoint, and no later one signs it yet; prove it once something follows")]
    LastWord(u64),
    /// There is nothing to open.
    #[error("record {0} has lost its body, and what it kept to itself with it")]
    BodyGone(u64),
    /// Nothing is redacted there.
    #[error("nothing is redacted at `{pointer}` in the arguments of record {seq}")]
    NotRedacted {
        /// The record.
        seq: u64,
        /// The place.
        pointer: String,
    },
    /// Another value was.
    #[error("that is not the value that stood at `{pointer}` in the arguments of record {seq}")]
    OtherValue {
        /// The record.
        seq: u64,
        /// The place.
        pointer: String,
    },
}

impl Ledger {
    /// Proves that record `seq` stands in the log, under the last checkpoint that signs it; if there is none yet, under a new one.
    /// With `reveal`, also that this value stood at this place of its arguments, where a commitment stands now. Blocks on the
    /// disk.
    ///
    /// # Errors
    /// There is no such record, or nothing to reveal; or the store fails.
    pub fn prove(&self, seq: u64, with_body: bool, reveal: Option<(&str, &Value)>) -> Result<Proof, ProveError> {
        let line = self.export(seq, 1)?.pop().filter(|line| line.seq == seq).ok_or(ProveError::NoRecord(seq))?;
        let signs_it = |checkpoint: &Checkpoint| checkpoint.note.size >= seq;
        let checkpoint = match self.last_checkpoint()?.filter(signs_it) {
            Some(checkpoint) => checkpoint,
            None => Some(self.checkpoint()?).filter(signs_it).ok_or(ProveError::LastWord(seq))?,
        };
        let opening = reveal.map(|(pointer, value)| {
            let (Some(salt), Some(body)) = (&line.salt, &line.body) else { return Err(ProveError::BodyGone(seq)) };
            let salt = STANDARD.decode(salt).ok().and_then(|salt| <[u8; 32]>::try_from(salt).ok());
            let salt = salt.ok_or(ProveError::BodyGone(seq))?;
            let pointer = pointer.to_owned();
            let commitments = commitments(body.get(), &pointer);
            if commitments.is_empty() {
                return Err(ProveError::NotRedacted { seq, pointer });
            }
            let opening = self.inner.secret.opening(&salt, &pointer, value);
            if !commitments.iter().any(|commitment| secret::opens(commitment, &opening, value)) {
                return Err(ProveError::OtherValue { seq, pointer });
            }
            Ok(Opening { pointer, value: value.clone(), opening })
        });
        let (salt, body) = if with_body { (line.salt, line.body) } else { (None, None) };
        Ok(Proof {
            tidegate_proof: VERSION,
            key: self.public_key().to_string(),
            seq,
            head: line.head,
            salt,
            body,
            opening: opening.transpose()?,
            path: self.tree().inclusion(seq - 1, checkpoint.note.size)?,
            checkpoint: checkpoint.note.text,
        })
    }
}

impl Proof {
    /// The record that it says it is of.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Checks the proof. `key` is the public key of the log, from somewhere else than the proof; without it the proof's own word is
    /// taken for that.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self, key: Option<&PublicKey>) -> Result<Proven, String> {
        if self.tidegate_proof != VERSION {
            return Err(format!("its format is {}, this version reads {VERSION}", self.tidegate_proof));
        }
        let own: PublicKey = self.key.parse()?;
        let key = key.unwrap_or(&own);
        if *key != own {
            return Err(format!("it is of the log `{}`, not of `{}`", own.name(), key.name()));
        }
        let note = key.check(&self.checkpoint).map_err(|problem| format!("its checkpoint does not hold: {problem}"))?;
        let bytes = STANDARD.decode(&self.head).map_err(|error| format!("its head is no base64: {error}"))?;
        let head = Head::decode(&bytes).map_err(|error| format!("its head makes no sense: {error}"))?;
        if head.seq != self.seq {
            return Err(format!("it says that it is of record {}, but its head is that of record {}", self.seq, head.seq));
        }
        let index = head.seq.checked_sub(1).ok_or("records are counted from 1")?;
        let root = tree::root_of_proof(tree::leaf(&bytes), index, note.size, &self.path);
        if root != Some(note.root) {
            return Err("its head does not lead to the root that its checkpoint signs".to_owned());
        }
        let body = match (&self.salt, &self.body) {
            (Some(salt), Some(body)) => {
                let mut salted = STANDARD.decode(salt).map_err(|error| format!("its salt is no base64: {error}"))?;
                salted.extend_from_slice(body.get().as_bytes());
                let salted = Salted::checked(salted, &head.body).ok_or("its body is not the one that its head commits to")?;
                Some(salted.json().to_vec())
            }
            (None, None) => None,
            _ => return Err("it has a body without its salt, or a salt without its body".to_owned()),
        };
        let opened = self.opening.as_ref().map(|opening| {
            let body = self.body.as_ref().ok_or("it opens a commitment in a body that it does not show")?;
            let commitments = commitments(body.get(), &opening.pointer);
            let holds = commitments.iter().any(|commitment| secret::opens(commitment, &opening.opening, &opening.value));
            let problem = || format!("its value is not the one that was redacted at `{}`", opening.pointer);
            holds.then(|| (opening.pointer.clone(), opening.value.clone())).ok_or_else(problem)
        });
        let record = Record { hash: chain::hash(&bytes), head, body };
        Ok(Proven { key: key.clone(), record, size: note.size, opened: opened.transpose()? })
    }
}

/// The commitments that stand at a place of a body's arguments: in place of the value, or of parts of a text.
fn commitments(body: &str, pointer: &str) -> Vec<Digest> {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    match body["arguments"].pointer(pointer) {
        Some(Value::Object(members)) => {
            let whole = members.get("redacted").and_then(Value::as_str).and_then(|hex| hex.parse().ok());
            whole.into_iter().collect()
        }
        // `card [card 3f…] please`
        Some(Value::String(text)) => {
            let ends = text.split(']').filter_map(|part| part.rsplit_once(' '));
            ends.filter_map(|(_, hex)| hex.parse().ok()).collect()
        }
        _ => Vec::new(),
    }
}
