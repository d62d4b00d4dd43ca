//! How far a sink has got, as a row of the store.

use std::sync::Arc;

use serde::Serialize;

use super::super::audit::{self, Draft};
use super::super::body::Body;
use super::super::cbor::{self, Malformed, Reader};
use super::super::chain::Kind;
use super::super::facts::Generation;
use super::super::{Inner, LedgerError, keys};
use crate::model::Digest;
use crate::store::{Store, Urgency};

/// Where a sink is in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The last record that was accepted.
    pub at: u64,
    /// What was not accepted up to this record never will be: it was skipped.
    pub floor: u64,
}

/// A range of records that a sink does not get.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap<'a> {
    pub from: u64,
    pub to: u64,
    pub reason: &'a str,
}

impl Cursor {
    /// The last record that the sink is through with.
    pub fn reached(self) -> u64 {
        self.at.max(self.floor)
    }

    /// The cursor of the sink `name`; at the beginning if there is none yet.
    pub fn read(store: &Store, name: &str) -> Result<Self, LedgerError> {
        let Some(row) = store.get(&keys::sink(name))? else { return Ok(Self::default()) };
        Self::decode(&row).map_err(LedgerError::damaged(format!("the state of the sink `{name}`")))
    }

    /// Hands in the cursor of the sink `name` to be written with what is written next.
    pub fn write(self, inner: &Inner, name: &str) {
        let (key, row) = (keys::sink(name), self.encode());
        // Nobody waits for it: lost in a crash, the last batches come again. The store logs a failure.
        drop(inner.store.submit::<(), LedgerError, _>(None, Urgency::Soon, move |tx| Ok(tx.put(key, row)?)));
    }

    /// Gives up on `gap` for the sink `name`, and writes that down in the log in the same commit. Blocks on the disk.
    pub fn skip(self, inner: &Arc<Inner>, name: &str, gap: Gap<'_>) -> Result<Self, LedgerError> {
        let Gap { from, to, reason } = gap;
        let skipped = Self { at: self.at, floor: to };
        let body = Body::plain(&SkippedBody { action: "sink_skipped", from, reason, sink: name, to });
        let (key, row, clock) = (keys::sink(name), skipped.encode(), inner.clock.clone());
        inner.store.commit_blocking(Urgency::Soon, move |tx| {
            let generation = Generation { number: 0, policies: Digest([0; 32]) };
            audit::append(tx, Draft { kind: Kind::Admin, call: None, generation, body }, clock.now())?;
            Ok::<_, LedgerError>(tx.put(key, row)?)
        })?;
        Ok(skipped)
    }

    fn encode(self) -> Vec<u8> {
        cbor::encode(32, |writer| {
            writer.array(3).number(1).number(self.at).number(self.floor);
        })
    }

    fn decode(row: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(row);
        reader.row(3, 1)?;
        let cursor = Self { at: reader.number()?, floor: reader.number()? };
        reader.end()?;
        Ok(cursor)
    }
}

/// The body of the record of a gap.
#[derive(Serialize)]
struct SkippedBody<'a> {
    action: &'static str,
    from: u64,
    reason: &'a str,
    sink: &'a str,
    to: u64,
}
