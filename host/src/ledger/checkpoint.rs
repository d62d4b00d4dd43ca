//! Checkpoints: signed statements, in the log itself and beside it, of how far the log had got.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::audit::{self, Draft};
use super::body::Body;
use super::chain::{Kind, Tip};
use super::facts::Generation;
use super::signer::{Note, PublicKey};
use super::tree::Tree;
use super::{Inner, Ledger, LedgerError, keys, tree};
use crate::model::Digest;
use crate::store::Urgency;

/// The last checkpoint of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The record that holds it.
    pub seq: u64,
    /// What was signed: all records before that one.
    pub note: Note,
}

/// The body of a checkpoint's record.
#[derive(Serialize, Deserialize)]
pub(super) struct CheckpointBody {
    pub note: String,
}

impl Ledger {
    /// Signs how far the log has got, unless the last record is such a statement already. Durable on return. Blocks on the disk.
    ///
    /// # Errors
    /// If the store fails or refuses, or the log is empty.
    pub fn checkpoint(&self) -> Result<Checkpoint, LedgerError> {
        let made = self.inner.checkpoint()?;
        made.ok_or_else(|| LedgerError::Refused {
            what: "a checkpoint".into(),
            problem: "the log is empty, there is nothing to sign".into(),
        })
    }

    /// The last checkpoint, if there is one.
    ///
    /// # Errors
    /// If the store can't be read, or holds nonsense.
    pub fn last_checkpoint(&self) -> Result<Option<Checkpoint>, LedgerError> {
        self.inner.last_checkpoint()
    }

    /// The key that checkpoints are signed for.
    pub fn public_key(&self) -> &PublicKey {
        self.inner.signer.public()
    }

    /// The root over the first `size` records. May read up to 64 heads.
    ///
    /// # Errors
    /// If the store can't be read, or the records are not there any more.
    pub(super) fn root(&self, size: u64) -> Result<Digest, LedgerError> {
        self.tree().root(size)
    }

    /// The tree over the log.
    pub(super) fn tree(&self) -> Tree<'_, impl Fn(u64, u64) -> Result<Vec<Digest>, LedgerError>> {
        Tree::new(&self.inner.store, |from, count| {
            let heads = audit::heads(&self.inner.store, from + 1, count)?;
            Ok(heads.iter().map(|head| tree::leaf(head)).collect())
        })
    }
}

impl Inner {
    /// Signs how far the log has got; answers the checkpoint that covers all there is. None for an empty log.
    pub(super) fn checkpoint(self: &std::sync::Arc<Self>) -> Result<Option<Checkpoint>, LedgerError> {
        let ledger = std::sync::Arc::clone(self);
        let made = self.store.commit_blocking(Urgency::Now, move |tx| {
            let row = audit::tip_in(tx)?;
            let last = tx.get(keys::CHECKPOINT)?.map(|row| seq(&row)).transpose()?;
            if row.tip.seq == 0 || last == Some(row.tip.seq) {
                return Ok::<_, LedgerError>(None);
            }
            let note = ledger.signer.sign(row.tip.seq, row.tree.root());
            let generation = Generation { number: 0, policies: Digest([0; 32]) };
            let body = Body::plain(&CheckpointBody { note: note.text.clone() });
            let draft = Draft { kind: Kind::Checkpoint, call: None, generation, body };
            let seq = audit::append(tx, draft, ledger.clock.now())?;
            tx.put(keys::CHECKPOINT.to_vec(), seq.to_be_bytes().to_vec())?;
            Ok(Some(Checkpoint { seq, note }))
        })?;
        let Some(checkpoint) = made else { return self.last_checkpoint() };
        if let Some(path) = &self.config.checkpoint_copy
            && let Err(error) = copy(path, &checkpoint.note)
        {
            // The log itself is as durable as ever.
            tracing::error!(path = %path.display(), %error, "a checkpoint could not be copied; somebody should look after it");
        }
        Ok(Some(checkpoint))
    }

    fn last_checkpoint(&self) -> Result<Option<Checkpoint>, LedgerError> {
        let Some(row) = self.store.get(keys::CHECKPOINT)? else { return Ok(None) };
        let seq = seq(&row)?;
        let damaged = |problem: &str| LedgerError::damaged(format!("the checkpoint in record {seq}"))(problem);
        let record = self.records(seq, 1)?.pop().filter(|record| record.head.seq == seq);
        let body = record.and_then(|record| record.body).ok_or_else(|| damaged("it is missing"))?;
        let body: CheckpointBody =
            serde_json::from_slice(&body).map_err(LedgerError::damaged(format!("the checkpoint in record {seq}")))?;
        let note = self.signer.public().check(&body.note).map_err(|problem| damaged(&problem))?;
        Ok(Some(Checkpoint { seq, note }))
    }
}

fn seq(row: &[u8]) -> Result<u64, LedgerError> {
    row.try_into().map(u64::from_be_bytes).map_err(LedgerError::damaged("the place of the last checkpoint"))
}

fn copy(path: &Path, note: &Note) -> std::io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let mut file = fs::File::create(&unfinished)?;
    file.write_all(note.text.as_bytes())?;
    // The log is not opened with a copy that is empty, which is what a power cut would leave of one that is not synced.
    file.sync_all()?;
    fs::rename(unfinished, path)
}

/// Checks that the log leads through the checkpoint that was last copied elsewhere: it may have been rolled back.
pub(super) fn check_copy(ledger: &Ledger) -> Result<(), LedgerError> {
    let Some(path) = &ledger.inner.config.checkpoint_copy else { return Ok(()) };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(LedgerError::damaged(format!("the checkpoint `{}`", path.display()))(error)),
    };
    let Tip { seq: reached, .. } = ledger.tip()?;
    let note = ledger.public_key().check(&text).map_err(LedgerError::damaged(format!("the checkpoint `{}`", path.display())))?;
    if note.size <= reached && ledger.root(note.size)? == note.root {
        return Ok(());
    }
    Err(LedgerError::RolledBack { marked: note.size, reached, mark: path.clone() })
}
