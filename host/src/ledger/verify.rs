//! Proving that no record of the audit log was changed, removed, added or moved.

use std::collections::HashMap;

use super::audit::{self, Item, PAGES};
use super::body::{self, Found};
use super::chain::{self, Head, Kind, Tip};
use super::{Ledger, LedgerError, keys, page};
use crate::model::{CallId, Digest};
use crate::store::{Store, StoreError};

/// What a check of the whole log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// How many records were checked and found good.
    pub records: u64,
    /// The last of them.
    pub tip: Tip,
    /// Calls with an intent and no outcome: they run, or the host has crashed and not been started since.
    pub open_calls: u64,
    /// Records whose body was erased.
    pub erased_bodies: u64,
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
    fn at(seq: u64, problem: impl Into<String>) -> Self {
        Self { seq, problem: problem.into() }
    }
}

impl Ledger {
    /// Checks every record against the one before, every body against its head, the end against the remembered tip, and
    /// that every intent has at most one outcome and every outcome its intent. Blocks on the disk.
    ///
    /// Records appended meanwhile are not looked at. Whoever can rewrite the whole store can also recompute the whole chain;
    /// a tip that was copied elsewhere before shows that.
    ///
    /// # Errors
    /// If the store can't be read. What is wrong with the log itself is in the answer.
    pub fn verify(&self) -> Result<Verification, LedgerError> {
        verify(&self.inner.store)
    }
}

/// [`Ledger::verify`], on a store of which nothing is believed.
fn verify(store: &Store) -> Result<Verification, LedgerError> {
    let end = match audit::tip(store) {
        Ok(end) => end,
        Err(error @ (LedgerError::Damaged { .. } | LedgerError::Store(StoreError::Damaged { .. }))) => {
            return Ok(Check::new(store, Tip::EMPTY).report(Some(Broken::at(0, error.to_string()))));
        }
        Err(error) => return Err(error),
    };
    let mut check = Check::new(store, end);
    let broken = check.run()?;
    Ok(check.report(broken))
}

/// A check under way.
struct Check<'s> {
    store: &'s Store,
    /// Where the log ended when the check began.
    end: Tip,
    /// The last good record.
    tip: Tip,
    /// Calls with an intent and, so far, no outcome.
    open: HashMap<CallId, u64>,
    erased_bodies: u64,
}

impl<'s> Check<'s> {
    fn new(store: &'s Store, end: Tip) -> Self {
        Self { store, end, tip: Tip::EMPTY, open: HashMap::new(), erased_bodies: 0 }
    }

    fn report(self, broken: Option<Broken>) -> Verification {
        Verification {
            records: self.tip.seq,
            tip: self.tip,
            open_calls: self.open.len() as u64,
            erased_bodies: self.erased_bodies,
            broken,
        }
    }

    /// The first thing that is wrong.
    fn run(&mut self) -> Result<Option<Broken>, LedgerError> {
        let mut next_page = keys::LOG_START.to_vec();
        loop {
            let pages = self.store.scan(&next_page, keys::LOG_END, PAGES)?;
            let Some(last) = pages.last() else { break };
            next_page = [last.key.as_slice(), &[0]].concat();
            for entry in pages {
                let expected = self.tip.seq + 1;
                if expected > self.end.seq {
                    return self.beyond_end(expected);
                }
                if keys::log_seq(&entry.key) != Some(expected) {
                    return Ok(Some(Broken::at(expected, "it is missing")));
                }
                for item in page::pairs(&entry.payload) {
                    if self.tip.seq == self.end.seq {
                        return self.beyond_end(self.end.seq + 1);
                    }
                    if let Some(broken) = self.next(item)? {
                        return Ok(Some(broken));
                    }
                }
                if let Some(damage) = entry.damage {
                    // Every record on the page is good in itself. The last one was changed if what follows remembers it
                    // otherwise; else the damage is in what surrounds them.
                    let last_is_good = self.remembered(self.tip.seq)? == Some(self.tip.hash);
                    let seq = if last_is_good { expected } else { self.tip.seq };
                    return Ok(Some(Broken::at(seq, damage.to_string())));
                }
            }
        }
        if self.tip.seq < self.end.seq {
            let problem = format!("it is missing; the log had {} records", self.end.seq);
            return Ok(Some(Broken::at(self.tip.seq + 1, problem)));
        }
        Ok(None)
    }

    /// The end is reached and something follows: appended meanwhile, or put there by somebody else.
    fn beyond_end(&self, seq: u64) -> Result<Option<Broken>, LedgerError> {
        // Honest appends move the tip in the same batch.
        let honest = audit::tip(self.store)?.seq > self.end.seq;
        Ok((!honest).then(|| Broken::at(seq, "it lies beyond the end of the log")))
    }

    fn next(&mut self, item: Item<'_>) -> Result<Option<Broken>, LedgerError> {
        let seq = self.tip.seq + 1;
        let broken = |seq: u64, problem: String| Ok(Some(Broken { seq, problem }));
        let Some((bytes, body)) = item else {
            return broken(seq, "its page is cut short".to_owned());
        };
        let head = match Head::decode(bytes) {
            Ok(head) => head,
            Err(error) => return broken(seq, format!("its head makes no sense: {error}")),
        };
        let hash = chain::hash(bytes);
        if head.seq != seq {
            return broken(seq, format!("it is another record, number {}", head.seq));
        }
        if head.prev != self.tip.hash {
            // Two records do not fit. If what follows remembers this one as it is, the one before was changed.
            if seq > 1 && self.remembered(seq)? == Some(hash) {
                return broken(seq - 1, "it was changed: the records after it remember another hash".to_owned());
            }
            return broken(seq, "it does not follow from the record before it".to_owned());
        }
        if seq == self.end.seq && hash != self.end.hash {
            return broken(seq, "it is not the record that the log ended with".to_owned());
        }
        match body::find(self.store, body, &head.body)? {
            Found::Whole(_) => {}
            Found::Erased => self.erased_bodies += 1,
            Found::Forged(problem) => return broken(seq, format!("its body was changed: {problem}")),
        }
        match (head.kind, head.call) {
            (Kind::Intent, Some(call)) if self.open.insert(call, seq).is_some() => {
                return broken(seq, format!("it is a second intent of {call}"));
            }
            (Kind::Outcome, Some(call)) if self.open.remove(&call).is_none() => {
                return broken(seq, format!("it is an outcome of {call}, which has no open intent"));
            }
            (Kind::Intent | Kind::Outcome, None) => return broken(seq, "it names no call".to_owned()),
            _ => {}
        }
        self.tip = Tip { seq, hash };
        Ok(None)
    }

    /// The hash of record `seq` as the record after it, or the tip, remembers it.
    fn remembered(&self, seq: u64) -> Result<Option<Digest>, LedgerError> {
        if seq == self.end.seq {
            return Ok(Some(self.end.hash));
        }
        let next = seq + 1;
        let Some(page) = self.store.last(keys::LOG_START, &keys::log(next + 1))? else { return Ok(None) };
        let Some(first) = keys::log_seq(&page.key) else { return Ok(None) };
        let item = usize::try_from(next - first).ok().and_then(|index| page::pairs(&page.payload).nth(index)).flatten();
        Ok(item.and_then(|(head, _)| Head::decode(head).ok()).map(|head| head.prev))
    }
}
