//! Where the log begins, once records were dropped from its start.

use super::cbor::{self, Malformed, Reader};
use super::chain::Tip;
use super::tree::Frontier;
use super::walk::Start;
use super::{LedgerError, keys};
use crate::model::CallId;
use crate::store::Store;

/// What there is to go on from: all that the records before the first one have left behind.
pub(super) fn start(store: &Store) -> Result<Start, LedgerError> {
    let Some(row) = store.get(keys::BASE)? else { return Ok(Start::default()) };
    decode(&row).map_err(LedgerError::damaged("the beginning of the log"))
}

/// The row of a log that begins behind `tip`.
pub(super) fn encode(tip: Tip, tree: &Frontier, open: &[CallId]) -> Vec<u8> {
    cbor::encode(1024, |writer| {
        writer.array(5).number(1).number(tip.seq).bytes(&tip.hash.0);
        tree.write(writer);
        writer.bytes(&open.iter().flat_map(|call| *call.as_bytes()).collect::<Vec<u8>>());
    })
}

fn decode(row: &[u8]) -> Result<Start, Malformed> {
    let mut reader = Reader::new(row);
    reader.row(5, 1)?;
    let tip = Tip { seq: reader.number()?, hash: reader.digest()? };
    let tree = Frontier::read(tip.seq, &mut reader)?;
    let (open, rest) = reader.bytes()?.as_chunks::<16>();
    if !rest.is_empty() {
        return Err(Malformed::message("half a call"));
    }
    let open = open.iter().map(|call| CallId::from_bytes(*call)).collect();
    reader.end()?;
    Ok(Start { tip: Some(tip), tree, open })
}
