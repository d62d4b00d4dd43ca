//! The head of an audit record: the part that is never erased, and that each next record commits to.

use sha2::{Digest as _, Sha256};

use super::cbor::{self, Malformed, Reader};
use super::tree::Frontier;
use crate::model::{CallId, Digest, Timestamp};

/// The version of the head's format.
const VERSION: u64 = 1;

/// What `prev` of the first record is.
pub(super) const GENESIS: Digest = Digest([0; 32]);

/// What an audit record tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A call is about to run.
    Intent,
    /// A call that had an intent has ended.
    Outcome,
    /// A call was turned away, or answered with an earlier result, without running.
    Rejection,
    /// An operator did something to the log or to a call.
    Admin,
    /// A signed statement of how far the log had got.
    Checkpoint,
}

impl Kind {
    /// The kind as it stands in the head.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Outcome => "outcome",
            Self::Rejection => "rejection",
            Self::Admin => "admin",
            Self::Checkpoint => "checkpoint",
        }
    }

    fn read(word: &str) -> Result<Self, Malformed> {
        [Self::Intent, Self::Outcome, Self::Rejection, Self::Admin, Self::Checkpoint]
            .into_iter()
            .find(|kind| kind.as_str() == word)
            .ok_or_else(|| Malformed::message("an unknown kind of record"))
    }
}

/// `head = dCBOR{ v, seq, prev, at_ms, kind, call, generation, policy, body }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The record's place in the log: dense, from 1.
    pub seq: u64,
    /// The hash of the record before.
    pub prev: Digest,
    /// The wall-clock time at which the record was put in its place. Data, never an order.
    pub at: Timestamp,
    /// What the record tells of.
    pub kind: Kind,
    /// The call it is about, if it is about one.
    pub call: Option<CallId>,
    /// The generation of plugins and policies the call ran on.
    pub generation: u64,
    /// The digest of the policy set in force.
    pub policy: Digest,
    /// The commitment to the body.
    pub body: Digest,
}

impl Head {
    /// The bytes that are stored and hashed. Map keys stand in the order of their encoded bytes: shorter ones first.
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(224, |writer| {
            writer.map(9);
            writer.text("v").number(VERSION);
            writer.text("seq").number(self.seq);
            writer.text("body").bytes(&self.body.0);
            writer.text("call").maybe_bytes(self.call.as_ref().map(|call| call.as_bytes().as_slice()));
            writer.text("kind").text(self.kind.as_str());
            writer.text("prev").bytes(&self.prev.0);
            writer.text("at_ms").number(self.at.as_millis());
            writer.text("policy").bytes(&self.policy.0);
            writer.text("generation").number(self.generation);
        })
    }

    /// Reads a head; anything but the one deterministic encoding is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        reader.map(9)?;
        if reader.key("v")?.number()? != VERSION {
            return Err(Malformed::message("a head of another version"));
        }
        let seq = reader.key("seq")?.number()?;
        let body = reader.key("body")?.digest()?;
        let call = reader.key("call")?.maybe(|reader| reader.array().map(CallId::from_bytes))?;
        let kind = Kind::read(reader.key("kind")?.text()?)?;
        let prev = reader.key("prev")?.digest()?;
        let at = Timestamp(reader.key("at_ms")?.number()?);
        let policy = reader.key("policy")?.digest()?;
        let generation = reader.key("generation")?.number()?;
        reader.end()?;
        let head = Self { seq, prev, at, kind, call, generation, policy, body };
        // A second encoding of the same head would have a second hash.
        if head.encode() != bytes {
            return Err(Malformed::message("a head that is not deterministically encoded"));
        }
        Ok(head)
    }
}

/// `hash = SHA-256("tidegate/audit/1" || head)`.
pub fn hash(head: &[u8]) -> Digest {
    Digest(Sha256::new().chain_update(b"tidegate/audit/1").chain_update(head).finalize().into())
}

/// The last record of a log: whoever keeps a copy elsewhere can later tell whether the log still leads through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Its sequence; 0 for an empty log.
    pub seq: u64,
    /// Its hash.
    pub hash: Digest,
}

impl Tip {
    /// The tip of an empty log.
    pub(super) const EMPTY: Self = Self { seq: 0, hash: GENESIS };
}

/// The row of the tip: where the log ends, and all that is needed to append to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TipRow {
    pub tip: Tip,
    /// The first record of the page the tip is on.
    pub page: u64,
    /// The tree over all records up to the tip.
    pub tree: Frontier,
}

impl TipRow {
    /// The row of an empty log.
    pub fn empty() -> Self {
        Self { tip: Tip::EMPTY, page: 0, tree: Frontier::default() }
    }

    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(1024, |writer| {
            writer.array(5).number(2).number(self.tip.seq).bytes(&self.tip.hash.0).number(self.page);
            self.tree.write(writer);
        })
    }

    pub fn decode(row: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(row);
        reader.row(5, 2)?;
        let tip = Tip { seq: reader.number()?, hash: reader.digest()? };
        let page = reader.number()?;
        let tree = Frontier::read(tip.seq, &mut reader)?;
        reader.end()?;
        Ok(Self { tip, page, tree })
    }
}
