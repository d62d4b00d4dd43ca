//! Proving that no record of the audit log was changed, removed, added or moved.

use super::audit::{self, Item, PAGES};
use super::body;
use super::chain::{Head, Tip, TipRow};
use super::signer::Note;
use super::walk::Walk;
use super::{Inner, Ledger, LedgerError, base, keys, page};
use crate::model::Digest;
use crate::store::StoreError;

/// What a check of the whole log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// How many records were checked and found good.
    pub records: u64,
    /// The last of them.
    pub tip: Tip,
    /// Calls with an intent and no outcome: they run, or the host has crashed and not been started since.
    pub open_calls: u64,
    /// Records whose body can't be read any more, because the person it is about was erased.
    pub erased_bodies: u64,
    /// Records whose body was pruned when its time had come.
    pub pruned_bodies: u64,
    /// How many checkpoints there are.
    pub checkpoints: u64,
    /// How many records come behind those that the last checkpoint signs.
    pub unsigned: u64,
    /// The first thing that is wrong; `None` if the log is as it was written.
    pub broken: Option<Broken>,
}

/// Where the log stops being what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The first bad sequence.
    pub seq: u64,
    /// What is wrong there.
    pub problem: String,
}

impl Broken {
    pub(super) fn at(seq: u64, problem: impl Into<String>) -> Self {
        Self { seq, problem: problem.into() }
    }
}

impl Verification {
    /// What a walk that began behind record `start` found.
    pub(super) fn of(walk: &Walk<'_>, start: u64, broken: Option<Broken>) -> Self {
        let tip = walk.tip();
        Self {
            records: tip.seq - start,
            tip,
            open_calls: walk.open_calls(),
            erased_bodies: walk.erased_bodies,
            pruned_bodies: walk.pruned_bodies,
            checkpoints: walk.checkpoints,
            unsigned: tip.seq - walk.signed.max(start),
            broken,
        }
    }
}

impl Ledger {
    /// Checks every record against the one before, every body against its head, every checkpoint against the key, every body that
    /// is missing against the record that accounts for it, the end against the remembered tip, and that every intent has at
    /// most one outcome and every outcome its intent. Blocks on the disk.
    ///
    /// Records appended meanwhile are not looked at. Whoever holds the signing key and can rewrite the whole store can also
    /// make up a whole log; a checkpoint that was copied elsewhere before shows that: the log has to lead through `note`, if there
    /// is one. `progress` is told now and then which record is reached.
    ///
    /// # Errors
    /// If the store can't be read. What is wrong with the log itself is in the answer.
    pub fn verify(&self, note: Option<&Note>, mut progress: impl FnMut(u64)) -> Result<Verification, LedgerError> {
        let inner = &self.inner;
        let senseless = |error: LedgerError| match error {
            LedgerError::Damaged { .. } | LedgerError::Store(StoreError::Damaged { .. }) => Ok(Broken::at(0, error.to_string())),
            error => Err(error),
        };
        loop {
            let before = (inner.store.get(keys::BASE).ok(), inner.store.get(keys::PRUNED).ok());
            let ends = base::start(&inner.store).and_then(|start| Ok((start, audit::tip(&inner.store)?)));
            let (start, end) = match ends.map_err(senseless) {
                Ok(ends) => ends,
                Err(broken) => return Ok(Verification::of(&Walk::new(self.public_key(), Default::default()), 0, Some(broken?))),
            };
            let began = start.tree.size();
            let mut check = Check { inner, end, walk: Walk::new(self.public_key(), start), stale: None };
            check.walk.demand_whole();
            let broken = match check.walk.lead_through(note) {
                Ok(()) => check.run(&mut progress)?,
                Err(broken) => Some(broken),
            };
            // Unless the log was pruned meanwhile: then what is missing, or was seen half before and half after, may be just that.
            if broken.is_none() || (inner.store.get(keys::BASE).ok(), inner.store.get(keys::PRUNED).ok()) == before {
                return Ok(Verification::of(&check.walk, began, broken));
            }
        }
    }
}

/// A check under way.
struct Check<'s> {
    inner: &'s Inner,
    /// Where the log ended when the check began.
    end: TipRow,
    walk: Walk<'s>,
    /// A kept node of the tree that is not what the records make it.
    stale: Option<u64>,
}

impl Check<'_> {
    /// The first thing that is wrong.
    fn run(&mut self, progress: &mut dyn FnMut(u64)) -> Result<Option<Broken>, LedgerError> {
        let mut next_page = keys::LOG_START.to_vec();
        loop {
            if let Some(broken) = self.up_to_end(next_page, progress)? {
                return Ok(Some(broken));
            }
            // What accounts for a body that is gone may have been written since this began.
            let now = audit::tip(&self.inner.store)?;
            if self.walk.end().is_ok() || now.tip.seq == self.end.tip.seq {
                return Ok(self.end());
            }
            let page = self.inner.store.last(keys::LOG_START, &keys::log(self.end.tip.seq + 2))?;
            next_page = page.map_or_else(|| keys::LOG_START.to_vec(), |page| page.key);
            self.end = now;
        }
    }

    /// The first thing that is wrong with the records on the pages from `next_page` on, up to the end.
    fn up_to_end(&mut self, mut next_page: Vec<u8>, progress: &mut dyn FnMut(u64)) -> Result<Option<Broken>, LedgerError> {
        let end = self.end.tip;
        loop {
            let pages = self.inner.store.scan(&next_page, keys::LOG_END, PAGES)?;
            let Some(last) = pages.last() else { break };
            next_page = [last.key.as_slice(), &[0]].concat();
            progress(self.walk.tip().seq);
            for entry in pages {
                let expected = self.walk.tip().seq + 1;
                if expected > end.seq {
                    return self.beyond_end(expected);
                }
                let Some(first) = keys::log_seq(&entry.key).filter(|first| *first <= expected) else {
                    return Ok(Some(Broken::at(expected, "it is missing")));
                };
                // The log may begin in the middle of a page, and nowhere else.
                let dropped = (expected - first) as usize;
                for item in page::pairs(&entry.payload).skip(dropped) {
                    if self.walk.tip().seq == end.seq {
                        return self.beyond_end(end.seq + 1);
                    }
                    if let Some(broken) = self.next(item)? {
                        return Ok(Some(broken));
                    }
                }
                if let Some(damage) = entry.damage {
                    // Every record on the page is good in itself. The last one was changed if what follows remembers it
                    // otherwise; else the damage is in what surrounds them.
                    let tip = self.walk.tip();
                    let last_is_good = self.remembered(tip.seq)? == Some(tip.hash);
                    let missing = self.walk.end().err().map(|broken| broken.seq).filter(|seq| *seq >= expected);
                    let seq = if last_is_good { missing.unwrap_or(expected) } else { tip.seq };
                    return Ok(Some(Broken::at(seq, damage.to_string())));
                }
            }
        }
        if self.walk.tip().seq < end.seq {
            let problem = format!("it is missing; the log had {} records", end.seq);
            return Ok(Some(Broken::at(self.walk.tip().seq + 1, problem)));
        }
        if *self.walk.tree() != self.end.tree {
            return Ok(Some(Broken::at(end.seq, "the tree that is remembered with it is another one")));
        }
        Ok(None)
    }

    /// What is missing at the end.
    fn end(&self) -> Option<Broken> {
        self.walk.end().and_then(|()| self.walk.arrived()).err()
    }

    /// The end is reached and something follows: appended meanwhile, or put there by somebody else.
    fn beyond_end(&self, seq: u64) -> Result<Option<Broken>, LedgerError> {
        // Honest appends move the tip in the same batch.
        if audit::tip(&self.inner.store)?.tip.seq > self.end.tip.seq {
            return Ok(None);
        }
        Ok(Some(Broken::at(seq, "it lies beyond the end of the log")))
    }

    fn next(&mut self, item: Item<'_>) -> Result<Option<Broken>, LedgerError> {
        let seq = self.walk.tip().seq + 1;
        let Some((bytes, stored)) = item else { return Ok(Some(Broken::at(seq, "its page is cut short"))) };
        let (inner, end) = (self.inner, self.end.tip);
        // A head that makes no sense is told of by the walk.
        let found = match Head::decode(bytes) {
            Ok(head) => inner.body(seq, stored, &head.body)?,
            Err(_) => body::Found::Forged(String::new()),
        };
        let mut completed = Vec::new();
        let remembered = || remembered(inner, end, seq).ok().flatten();
        if let Err(broken) = self.walk.step(bytes, found, remembered, |level, at, hash| completed.push((level, at, *hash))) {
            return Ok(Some(broken));
        }
        if seq == end.seq && self.walk.tip().hash != end.hash {
            return Ok(Some(Broken::at(seq, "it is not the record that the log ended with")));
        }
        for (level, at, hash) in completed {
            if super::tree::kept(&inner.store, level, at)? != Some(hash) {
                self.stale.get_or_insert(seq);
            }
        }
        Ok(self.stale.map(|seq| Broken::at(seq, "the tree over the log up to it was changed")))
    }

    fn remembered(&self, seq: u64) -> Result<Option<Digest>, LedgerError> {
        remembered(self.inner, self.end.tip, seq)
    }
}

/// The hash of record `seq` as the record after it, or the tip, remembers it.
fn remembered(inner: &Inner, end: Tip, seq: u64) -> Result<Option<Digest>, LedgerError> {
    if seq == end.seq {
        return Ok(Some(end.hash));
    }
    let next = seq + 1;
    let Some(page) = inner.store.last(keys::LOG_START, &keys::log(next + 1))? else { return Ok(None) };
    let Some(first) = keys::log_seq(&page.key) else { return Ok(None) };
    let item = usize::try_from(next - first).ok().and_then(|index| page::pairs(&page.payload).nth(index)).flatten();
    Ok(item.and_then(|(head, _)| Head::decode(head).ok()).map(|head| head.prev))
}
