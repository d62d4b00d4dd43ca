//! The row of a call that waits for its turn: what is needed to end it in clear, what is needed to run it sealed.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::QueuedFacts;
use super::epochs::{Epoch, EpochId};
use super::waiting::{Stage, WaitingCall};
use crate::ledger::cbor::{self, Malformed, Reader};
use crate::ledger::open::{effect_number, read_effect};
use crate::ledger::subjects::{KeyId, SubjectKey, Subjects};
use crate::ledger::{LedgerError, keys};
use crate::model::{
    Arguments, CallId, Dialogue, Digest, Effect, IdempotencyKey, Principal, Question, Timestamp, ToolName, TraceContext,
};
use crate::store::{MAX_PAYLOAD, Store, StoreError, Tx, Urgency};

/// The longest sealed request that still fits into the row with everything else there is, in bytes.
const INLINE_MAX: usize = MAX_PAYLOAD - 160;

/// A row of `w/`.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::ledger) struct QueuedRow {
    /// Its place in the order of all calls that ever waited.
    pub sequence: u64,
    pub effect: Effect,
    pub claim: Option<Digest>,
    pub owner: Digest,
    pub queued_at: Timestamp,
    pub until: Timestamp,
    /// Whether it waits for answers of its caller, not for its turn.
    pub asking: bool,
    pub epoch: EpochId,
    pub request: Sealed,
}

/// A sealed request, and where it is.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::ledger) enum Sealed {
    Inline(Vec<u8>),
    /// In the body file of this name.
    InFile(Digest),
}

impl Sealed {
    pub fn file(&self) -> Option<Digest> {
        match self {
            Self::Inline(_) => None,
            Self::InFile(name) => Some(*name),
        }
    }
}

/// Finds a place for a sealed request; durable before any row can name it. Whoever has it has to name it.
pub(super) async fn keep(store: &Store, sealed: Vec<u8>) -> Result<(Sealed, Unnamed), LedgerError> {
    if sealed.len() <= INLINE_MAX {
        return Ok((Sealed::Inline(sealed), Unnamed { store: store.clone(), file: None }));
    }
    store.check_space()?;
    let store = store.clone();
    // A task of its own: whoever waits for it may go, and the file must not be left lying about.
    let write = async move { store.write_body(sealed).await.map(|name| Unnamed { store, file: Some(name) }) };
    let written = tokio::spawn(write).await.map_err(LedgerError::damaged("what a call asks for"))??;
    let name = written.file.expect("it was just written");
    Ok((Sealed::InFile(name), written))
}

/// A body file, if there has to be one, that no row names yet. Dropped so, it is removed.
pub(super) struct Unnamed {
    store: Store,
    file: Option<Digest>,
}

impl Unnamed {
    /// A row names it now.
    pub fn named(mut self) {
        self.file = None;
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        if let Some(name) = self.file {
            let doom = move |tx: &mut Tx<'_>| Ok::<_, LedgerError>(tx.put(keys::doomed_file(&name), Vec::new())?);
            drop(self.store.submit(None, Urgency::Soon, doom));
        }
    }
}

impl QueuedRow {
    pub fn get(tx: &Tx<'_>, call: &CallId) -> Result<Option<Self>, LedgerError> {
        tx.get(&keys::queued(call))?.map(|row| Self::decode(call, &row)).transpose()
    }

    pub fn put(&self, tx: &mut Tx<'_>, call: &CallId) -> Result<(), LedgerError> {
        Ok(tx.put(keys::queued(call), self.encode())?)
    }

    /// Takes the row away, and has the file of its request removed.
    pub fn remove(&self, tx: &mut Tx<'_>, call: &CallId) -> Result<(), LedgerError> {
        tx.delete(keys::queued(call));
        match self.request.file() {
            Some(name) => Ok(tx.put(keys::doomed_file(&name), Vec::new())?),
            None => Ok(()),
        }
    }

    /// What is kept of it in memory; `epoch` is that of the row.
    pub fn in_memory(&self, epoch: Option<Arc<Epoch>>, stage: Stage) -> WaitingCall {
        WaitingCall {
            sequence: self.sequence,
            effect: self.effect,
            claim: self.claim,
            owner: self.owner,
            queued_at: self.queued_at,
            until: self.until,
            asking: self.asking,
            epoch,
            stage,
            ending: None,
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let (inline, file) = match &self.request {
            Sealed::Inline(sealed) => (Some(&sealed[..]), None),
            Sealed::InFile(name) => (None, Some(&name.0[..])),
        };
        cbor::encode(160 + inline.map_or(0, <[u8]>::len), |writer| {
            writer.array(11).number(2).number(self.sequence).number(effect_number(self.effect));
            writer.maybe_bytes(self.claim.as_ref().map(|claim| &claim.0[..])).bytes(&self.owner.0);
            writer.number(self.queued_at.as_millis()).number(self.until.as_millis()).bytes(&self.epoch);
            writer.maybe_bytes(inline).maybe_bytes(file).number(self.asking.into());
        })
    }

    pub fn decode(call: &CallId, row: &[u8]) -> Result<Self, LedgerError> {
        let mut reader = Reader::new(row);
        let mut read = || {
            // Version 1 did not know of calls that ask.
            let version = reader.row_of(&[(2, 11), (1, 10)])?;
            let row = Self {
                sequence: reader.number()?,
                effect: read_effect(&mut reader)?,
                claim: reader.maybe(Reader::digest)?,
                owner: reader.digest()?,
                queued_at: Timestamp(reader.number()?),
                until: Timestamp(reader.number()?),
                epoch: reader.array()?,
                request: match (reader.maybe(Reader::bytes)?, reader.maybe(Reader::digest)?) {
                    (Some(sealed), None) => Sealed::Inline(sealed.to_vec()),
                    (None, Some(name)) => Sealed::InFile(name),
                    _ => return Err(Malformed::message("a request in no place, or in two")),
                },
                asking: version != 1 && reader.number()? != 0,
            };
            reader.end().map(|()| row)
        };
        read().map_err(LedgerError::damaged(format!("the queued row of {call}")))
    }
}

/// What is needed to run a call later. Only ever written down sealed.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::ledger) struct Request<'a> {
    arguments: Cow<'a, Arguments>,
    /// Named otherwise by hosts that kept the component's digest, which is the face of nothing.
    #[serde(alias = "component")]
    face: Digest,
    key: Option<Cow<'a, str>>,
    plugin: Cow<'a, str>,
    principal: Cow<'a, Principal>,
    tool: Cow<'a, str>,
    trace: String,
    trace_state: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "is_silent")]
    dialogue: Cow<'a, Dialogue>,
    /// What its caller is asked before it can run.
    #[serde(default, skip_serializing_if = "asks_nothing")]
    asks: Cow<'a, [Question]>,
}

fn is_silent(dialogue: &Dialogue) -> bool {
    dialogue.is_empty()
}

fn asks_nothing(asks: &[Question]) -> bool {
    asks.is_empty()
}

/// Why a request can't be read any more.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::ledger) enum Unreadable {
    /// Backups have no such keys: the data folder was restored from one.
    #[error("the key of its epoch is missing, as it is when the data folder was restored from a backup")]
    KeyMissing,
    #[error("everything about its caller was erased")]
    Erased,
    #[error("it is damaged: {0}")]
    Damaged(String),
}

impl Unreadable {
    fn damaged(problem: impl std::fmt::Display) -> Self {
        Self::Damaged(problem.to_string())
    }
}

/// A request as it was made.
pub(in crate::ledger) struct Opened {
    pub arguments: Arguments,
    pub face: Digest,
    pub key: Option<IdempotencyKey>,
    pub plugin: String,
    pub principal: Principal,
    pub tool: ToolName,
    pub trace: TraceContext,
    pub dialogue: Dialogue,
    pub asks: Vec<Question>,
}

impl<'a> Request<'a> {
    pub fn of(facts: &QueuedFacts<'a>) -> Self {
        Self {
            arguments: Cow::Borrowed(facts.arguments),
            face: facts.face,
            key: facts.key.map(|key| key.as_str().into()),
            plugin: facts.plugin.into(),
            principal: Cow::Borrowed(facts.principal),
            tool: facts.tool.as_str().into(),
            trace: facts.trace.to_string(),
            trace_state: facts.trace.state.as_deref().map(Into::into),
            dialogue: Cow::Borrowed(facts.dialogue),
            asks: Cow::Borrowed(facts.asks),
        }
    }

    /// The request, readable with the key of the caller and that of the epoch together, for this call.
    pub fn sealed(&self, subject: &SubjectKey, epoch: &Epoch, call: &CallId) -> Vec<u8> {
        let json = serde_json::to_vec(self).expect("a request holds only texts and parsed JSON");
        let inner = [&subject.id[..], &subject.seal(call.as_bytes(), &json)].concat();
        epoch.cipher.seal(call.as_bytes(), &inner)
    }

    fn opened(self) -> Result<Opened, Unreadable> {
        let mut trace: TraceContext = self.trace.parse().map_err(Unreadable::damaged)?;
        trace.state = self.trace_state.map(Cow::into_owned);
        Ok(Opened {
            arguments: self.arguments.into_owned(),
            face: self.face,
            key: self.key.map(|key| key.parse().map_err(Unreadable::damaged)).transpose()?,
            plugin: self.plugin.into_owned(),
            principal: self.principal.into_owned(),
            tool: self.tool.parse().map_err(Unreadable::damaged)?,
            trace,
            dialogue: self.dialogue.into_owned(),
            asks: self.asks.into_owned(),
        })
    }
}

impl Sealed {
    /// The request of `call`, whose epoch this is, if its key is there. Blocks on the disk.
    ///
    /// # Errors
    /// The disk, or a folder of keys, can't be read: that may pass.
    pub fn open(
        self,
        call: &CallId,
        epoch: Option<&Epoch>,
        store: &Store,
        subjects: &Subjects,
    ) -> Result<Result<Opened, Unreadable>, LedgerError> {
        let Some(epoch) = epoch else { return Ok(Err(Unreadable::KeyMissing)) };
        let sealed = match self {
            Self::Inline(sealed) => sealed,
            Self::InFile(name) => match store.read_body(&name) {
                Ok(Some(sealed)) => sealed,
                Ok(None) => return Ok(Err(Unreadable::damaged("its file is missing"))),
                Err(error @ StoreError::Damaged { .. }) => return Ok(Err(Unreadable::damaged(error))),
                Err(error) => return Err(error.into()),
            },
        };
        let inner = epoch.cipher.unseal(call.as_bytes(), &sealed);
        let Some((id, sealed)) = inner.as_deref().and_then(<[u8]>::split_first_chunk::<{ size_of::<KeyId>() }>) else {
            return Ok(Err(Unreadable::damaged("it does not decrypt with the key of its epoch")));
        };
        let Some(key) = subjects.by_id(id)? else { return Ok(Err(Unreadable::Erased)) };
        let Some(json) = key.unseal(call.as_bytes(), sealed) else {
            return Ok(Err(Unreadable::damaged("it does not decrypt with the key of its caller")));
        };
        Ok(serde_json::from_slice::<Request<'_>>(&json).map_err(Unreadable::damaged).and_then(Request::opened))
    }
}
