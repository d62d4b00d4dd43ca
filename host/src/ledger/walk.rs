//! A walk along a log, record by record, that believes nothing: every head against the one before, every body against its head,
//! every checkpoint against the key, every missing body against the record that accounts for it.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::body::Found;
use super::chain::{self, Head, Kind, Tip};
use super::checkpoint::CheckpointBody;
use super::signer::{Note, PublicKey};
use super::subjects::KeyId;
use super::tree::{self, Frontier};
use super::verify::Broken;
use crate::model::{CallId, Digest};

/// Where a walk begins: behind the records that were dropped, or that an export leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Start {
    /// The last record before the first one that is looked at.
    pub tip: Option<Tip>,
    /// The tree over the records before.
    pub tree: Frontier,
    /// The calls that were open there.
    pub open: Vec<CallId>,
}

/// A walk under way.
pub(super) struct Walk<'k> {
    key: &'k PublicKey,
    tip: Tip,
    tree: Frontier,
    /// Calls with an intent and, so far, no outcome.
    open: HashMap<CallId, u64>,
    /// Keys that are gone, and the first record sealed with each.
    gone: BTreeMap<KeyId, u64>,
    /// Keys that erasures account for.
    destroyed: HashSet<KeyId>,
    /// Bodies that are pruned, by the record that is to account for them.
    pruned: BTreeMap<u64, Pruned>,
    /// What records of prunings say, by their sequence.
    prunings: HashMap<u64, Pruning>,
    /// The record behind which the walk began, and the root over those before.
    start: u64,
    dropped: Digest,
    /// Whether it is to account for what was dropped before.
    is_whole: bool,
    /// Whether a record of a truncation does.
    is_accounted: bool,
    /// A checkpoint from elsewhere that the log must lead through.
    through: Option<Note>,
    pub erased_bodies: u64,
    pub pruned_bodies: u64,
    pub checkpoints: u64,
    /// How many records the last checkpoint signs.
    pub signed: u64,
}

struct Pruned {
    first: u64,
    last: u64,
    count: u64,
    seqs: Sha256,
}

/// Admin records that account for bodies which are not there.
#[derive(Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
enum Account {
    Erase {
        keys: Vec<String>,
    },
    Prune(Pruning),
    Truncate {
        root: Digest,
        until: u64,
    },
    #[serde(other)]
    Other,
}

/// What a record of a pruning says.
#[derive(Deserialize)]
struct Pruning {
    count: u64,
    first: u64,
    last: u64,
    seqs_sha256: String,
}

impl Pruning {
    /// Whether it accounts for these bodies, in a log that begins behind record `start`.
    fn accounts_for(&self, pruned: &Pruned, start: u64) -> bool {
        if self.first <= start {
            // Some of its records were dropped altogether; of the rest, which can't be told any more, but not how many.
            return pruned.count <= self.count && pruned.last <= self.last;
        }
        (pruned.count, Digest(pruned.seqs.clone().finalize().into()).to_string()) == (self.count, self.seqs_sha256.clone())
    }
}

impl<'k> Walk<'k> {
    /// A walk from `start` along a log whose checkpoints are signed with `key`.
    pub fn new(key: &'k PublicKey, start: Start) -> Self {
        let tip = start.tip.unwrap_or(Tip::EMPTY);
        let (start, tree, open) = (tip.seq, start.tree, start.open);
        let dropped = tree.root();
        Self {
            key,
            tip,
            tree,
            open: open.into_iter().map(|call| (call, 0)).collect(),
            gone: BTreeMap::new(),
            destroyed: HashSet::new(),
            pruned: BTreeMap::new(),
            prunings: HashMap::new(),
            start,
            dropped,
            is_whole: false,
            is_accounted: false,
            through: None,
            erased_bodies: 0,
            pruned_bodies: 0,
            checkpoints: 0,
            signed: 0,
        }
    }

    /// Demands that a record accounts for what was dropped before the walk began: that it is a whole log, not a part of one.
    pub fn demand_whole(&mut self) {
        self.is_whole = true;
    }

    /// Demands that the log leads through a checkpoint that somebody kept elsewhere.
    ///
    /// # Errors
    /// The walk begins behind it, or with other records than it signs.
    pub fn lead_through(&mut self, note: Option<&Note>) -> Result<(), Broken> {
        self.through = note.cloned();
        match note {
            Some(note) if note.size < self.tree.size() => {
                let problem = format!("what is here begins with it, behind the {} records that the checkpoint signs", note.size);
                Err(Broken::at(self.tip.seq + 1, problem))
            }
            _ => self.pass(self.tip.seq),
        }
    }

    /// Holds the tree against the checkpoint from elsewhere, where it signs just this much.
    fn pass(&self, seq: u64) -> Result<(), Broken> {
        match &self.through {
            Some(note) if note.size == self.tree.size() && note.root != self.tree.root() => {
                let problem =
                    "the log up to it is not the one that the checkpoint from elsewhere signs; it, or one before it, was changed";
                Err(Broken::at(seq, problem))
            }
            _ => Ok(()),
        }
    }

    /// Whether the log has reached the checkpoint that it must lead through.
    ///
    /// # Errors
    /// The first record that is missing.
    pub fn arrived(&self) -> Result<(), Broken> {
        match &self.through {
            Some(note) if note.size > self.tree.size() => {
                let problem = format!("it is missing; the checkpoint from elsewhere signs {} records", note.size);
                Err(Broken::at(self.tip.seq + 1, problem))
            }
            _ => Ok(()),
        }
    }

    /// The last good record.
    pub fn tip(&self) -> Tip {
        self.tip
    }

    /// The tree over all good records.
    pub fn tree(&self) -> &Frontier {
        &self.tree
    }

    /// Calls with an intent and no outcome, so far.
    pub fn open_calls(&self) -> u64 {
        self.open.len() as u64
    }

    /// Checks the next record. `remembered` is asked for its hash as what follows remembers it, `complete` is told of kept nodes
    /// of the tree that it completes.
    ///
    /// # Errors
    /// What is wrong, and with which record; then the walk is over.
    pub fn step(
        &mut self,
        bytes: &[u8],
        body: Found,
        remembered: impl FnOnce() -> Option<Digest>,
        complete: impl FnMut(u32, u64, &Digest),
    ) -> Result<(), Broken> {
        let seq = self.tip.seq + 1;
        let broken = |problem: String| Err(Broken::at(seq, problem));
        let head = match Head::decode(bytes) {
            Ok(head) => head,
            Err(error) => return broken(format!("its head makes no sense: {error}")),
        };
        let hash = chain::hash(bytes);
        if head.seq != seq {
            return broken(format!("it is another record, number {}", head.seq));
        }
        if head.prev != self.tip.hash {
            // Two records do not fit. If what follows remembers this one as it is, the one before was changed.
            if seq > 1 && remembered() == Some(hash) {
                return Err(Broken::at(seq - 1, "it was changed: the records after it remember another hash"));
            }
            return broken("it does not follow from the record before it".to_owned());
        }
        let json = match &body {
            Found::Whole(salted) => Some(salted.json()),
            Found::Erased(key) => {
                self.erased_bodies += 1;
                self.gone.entry(*key).or_insert(seq);
                None
            }
            Found::Pruned(run) => {
                self.pruned_bodies += 1;
                let pruned =
                    self.pruned.entry(*run).or_insert_with(|| Pruned { first: seq, last: seq, count: 0, seqs: Sha256::new() });
                pruned.count += 1;
                pruned.last = seq;
                pruned.seqs.update(seq.to_be_bytes());
                None
            }
            Found::Forged(problem) => return broken(format!("its body was changed: {problem}")),
        };
        match (head.kind, head.call) {
            (Kind::Intent, Some(call)) if self.open.insert(call, seq).is_some() => {
                return broken(format!("it is a second intent of {call}"));
            }
            (Kind::Outcome, Some(call)) if self.open.remove(&call).is_none() => {
                return broken(format!("it is an outcome of {call}, which has no open intent"));
            }
            (Kind::Intent | Kind::Outcome, None) => return broken("it names no call".to_owned()),
            (Kind::Checkpoint, _) => self.check(seq, json)?,
            (Kind::Admin, _) => self.account(seq, json)?,
            _ => {}
        }
        self.tree.push(tree::leaf(bytes), complete);
        self.pass(seq)?;
        self.tip = Tip { seq, hash };
        Ok(())
    }

    /// INVARIANT: a checkpoint signs exactly the records before it.
    fn check(&mut self, seq: u64, json: Option<&[u8]>) -> Result<(), Broken> {
        let broken = |problem: String| Broken::at(seq, format!("its checkpoint does not hold: {problem}"));
        let json = json.ok_or_else(|| broken("its body is gone".to_owned()))?;
        let body: CheckpointBody = serde_json::from_slice(json).map_err(|error| broken(error.to_string()))?;
        let note = self.key.check(&body.note).map_err(broken)?;
        if (note.size, note.root) != (self.tree.size(), self.tree.root()) {
            return Err(broken("what was signed is not what is here".to_owned()));
        }
        self.checkpoints += 1;
        self.signed = note.size;
        Ok(())
    }

    fn account(&mut self, seq: u64, json: Option<&[u8]>) -> Result<(), Broken> {
        let Some(json) = json else { return Err(Broken::at(seq, "what an operator did is gone")) };
        match serde_json::from_slice(json) {
            Ok(Account::Erase { keys }) => {
                for key in keys {
                    let id = u128::from_str_radix(&key, 16).map_err(|_| Broken::at(seq, "it names no key"))?;
                    self.destroyed.insert(id.to_be_bytes());
                }
            }
            Ok(Account::Prune(pruning)) => drop(self.prunings.insert(seq, pruning)),
            // INVARIANT: written in the batch that moved the beginning, so it is there as long as that is the beginning.
            Ok(Account::Truncate { root, until }) => self.is_accounted |= (until, root) == (self.start, self.dropped),
            Ok(Account::Other) => {}
            Err(error) => return Err(Broken::at(seq, format!("what an operator did makes no sense: {error}"))),
        }
        Ok(())
    }

    /// Ends the walk: every body that is missing must be accounted for, and so must be the start of a whole log.
    ///
    /// # Errors
    /// The first record whose body is not.
    pub fn end(&self) -> Result<(), Broken> {
        if self.is_whole && self.start > 0 && !self.is_accounted {
            let problem = format!("the {} records before it are gone, and no truncation accounts for that", self.start);
            return Err(Broken::at(self.start + 1, problem));
        }
        let lost = self.gone.iter().filter(|(key, _)| !self.destroyed.contains(*key)).map(|(_, seq)| *seq).min();
        let lost = lost.map(|seq| Broken::at(seq, "its body can't be read, and no erasure accounts for that"));
        let unaccounted = self
            .pruned
            .iter()
            .filter(|(run, pruned)| !self.prunings.get(run).is_some_and(|told| told.accounts_for(pruned, self.start)));
        let dropped = unaccounted.map(|(_, pruned)| pruned.first).min();
        let dropped = dropped.map(|seq| Broken::at(seq, "its body is gone, and no pruning accounts for that"));
        lost.into_iter().chain(dropped).min_by_key(|broken| broken.seq).map_or(Ok(()), Err)
    }
}
