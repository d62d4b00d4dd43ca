//! Pruning: bodies go when the time of their class has come, and the start of the log when nothing in it is left to read.
//!
//! What goes is accounted for by a record in the same batch: how many bodies, and a digest over which. So the check of the log
//! still tells a body that was pruned from one that was taken.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::act::{self, Act};
use super::body::{self, Found};
use super::cbor::{self, Reader};
use super::chain::{Head, Kind};
use super::hold::{Held, Holds};
use super::index::Told;
use super::retention::Class;
use super::{Inner, Ledger, LedgerError, audit, keys, page};
use crate::model::{Digest, Timestamp};
use crate::store::{Tx, Urgency};

/// Records looked at in one go.
const STEP: usize = 512;

/// The pause between two commits, so that calls hardly notice.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(5);

/// What a pruning did, or would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pruning {
    /// Bodies dropped of calls of low risk.
    pub low: u64,
    /// Of medium risk.
    pub medium: u64,
    /// Of high risk.
    pub high: u64,
    /// Of calls that did not run.
    pub rejections: u64,
    /// Bodies whose time has come, but a legal hold keeps them.
    pub held: u64,
    /// Whole records dropped from the start of the log.
    pub records: u64,
}

impl Pruning {
    fn of_class(&mut self, class: Class) -> &mut u64 {
        match class {
            Class::Low => &mut self.low,
            Class::Medium => &mut self.medium,
            Class::High => &mut self.high,
            Class::Rejection => &mut self.rejections,
        }
    }
}

/// Bodies that are to go.
#[derive(Clone, Copy)]
pub(super) struct Order<'a> {
    /// Of which class.
    pub class: Class,
    /// For how long those are kept, in milliseconds.
    pub keep: u64,
    /// Only those that were written before.
    pub until: Timestamp,
    /// Whether they are only counted.
    pub dry_run: bool,
    /// At whose word.
    pub by: &'a str,
}

impl Ledger {
    /// Drops what may go, in the name of `by`, or with `dry_run` only counts it. Blocks on the disk, for as long as it takes.
    ///
    /// # Errors
    /// If the store fails or refuses, or holds nonsense.
    pub fn prune(&self, dry_run: bool, by: &str) -> Result<Pruning, LedgerError> {
        self.inner.prune(dry_run, by)
    }
}

impl Inner {
    pub(super) fn prune(self: &Arc<Self>, dry_run: bool, by: &str) -> Result<Pruning, LedgerError> {
        let _turn = self.pruning.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut done = Pruning::default();
        let now = self.clock.now();
        for class in Class::ALL {
            let keep = self.config.retention.of(class);
            let until = Timestamp(now.as_millis().saturating_sub(keep));
            self.prune_class(Order { class, keep, until, dry_run, by }, &mut done)?;
        }
        if !dry_run {
            self.remove_doomed_files()?;
            done.records = self.truncate(by)?;
        }
        Ok(done)
    }

    /// Drops the bodies whose time has come, or counts them.
    fn prune_class(self: &Arc<Self>, order: Order<'_>, done: &mut Pruning) -> Result<(), LedgerError> {
        let Order { class, until, dry_run: dry, .. } = order;
        let mut holds = Arc::new(self.holds()?);
        let first = super::base::start(&self.store)?.tree.size() + 1;
        let mut cursor = Cursors::read(self.store.get(keys::PRUNED)?)?.of(class);
        let mut from = if dry { first } else { cursor.max(first) };
        loop {
            let (mut next, mut due, mut ripe) = (from, Vec::new(), true);
            audit::each(&self.store, from, STEP, |seq, item| {
                let Some((bytes, stored)) = item else {
                    return Err(LedgerError::damaged(format!("record {seq}"))("it is cut short"));
                };
                let head = Head::decode(bytes).map_err(LedgerError::damaged(format!("record {seq}")))?;
                ripe = ripe && head.at < until;
                if !ripe {
                    return Ok(());
                }
                next = seq + 1;
                if self.class(&head, stored, class, |held| holds.hold(held), &mut done.held)? {
                    due.push(seq);
                }
                Ok(())
            })?;
            let (count, is_over) = (due.len() as u64, !ripe || next == from);
            // Where there is nothing to drop, only the last look is worth a commit.
            if !dry && (!due.is_empty() || is_over) {
                if !self.drop_bodies(order, due, (cursor, next), &holds)? {
                    // What was held or is held now has to be looked at again.
                    holds = Arc::new(self.holds()?);
                    cursor = Cursors::read(self.store.get(keys::PRUNED)?)?.of(class);
                    from = cursor.max(first);
                    continue;
                }
                cursor = next;
                std::thread::sleep(PAUSE);
            }
            *done.of_class(class) += count;
            if is_over {
                return Ok(());
            }
            from = next;
        }
    }

    /// Whether a body is there, of this class, and not held.
    fn class(
        &self,
        head: &Head,
        stored: &[u8],
        class: Class,
        is_held: impl Fn(&Held<'_>) -> bool,
        held: &mut u64,
    ) -> Result<bool, LedgerError> {
        let subject = match body::key_of(stored) {
            Some(id) => self.subjects.by_id(&id)?.map(|key| key.tag),
            None => None,
        };
        let told = match (head.kind, self.body(head.seq, stored, &head.body)?) {
            (Kind::Admin | Kind::Checkpoint, _) | (_, Found::Pruned(_)) => return Ok(false),
            // Nobody can tell its class any more. So it goes with what is kept longest: whatever class is looked at last.
            (_, Found::Erased(_)) => {
                let is_held = class == self.config.retention.longest()
                    && is_held(&Held { at: head.at, call: head.call, subject: None, tool: None });
                *held += u64::from(is_held);
                return Ok(class == self.config.retention.longest() && !is_held);
            }
            (_, Found::Forged(problem)) => return Err(LedgerError::damaged(format!("record {}", head.seq))(problem)),
            (_, Found::Whole(salted)) => Told::of(salted.json()),
        };
        if Class::of(head.kind, told.risk.as_deref()) != class {
            return Ok(false);
        }
        let is_held = is_held(&Held { at: head.at, call: head.call, subject, tool: told.tool.as_deref() });
        *held += u64::from(is_held);
        Ok(!is_held)
    }

    /// Drops these bodies, tells of it in a record, and moves the cursor of the class, all in one batch. Answers whether it was done:
    /// only as long as holds and cursor are still those by which the bodies were chosen.
    ///
    /// # Errors
    /// The store fails or refuses, or somebody reads the whole log.
    pub(super) fn drop_bodies(
        self: &Arc<Self>,
        order: Order<'_>,
        due: Vec<u64>,
        (cursor, next): (u64, u64),
        holds: &Arc<Holds>,
    ) -> Result<bool, LedgerError> {
        let mut pages: BTreeMap<Vec<u8>, Vec<u64>> = BTreeMap::new();
        for seq in &due {
            let page = self.store.last(keys::LOG_START, &keys::log(seq + 1))?;
            let page = page.ok_or_else(|| LedgerError::damaged(format!("record {seq}"))("its page is missing"))?;
            pages.entry(page.key).or_default().push(*seq);
        }
        let Order { class, keep, .. } = order;
        let (ledger, holds, by) = (Arc::clone(self), Arc::clone(holds), order.by.to_owned());
        let (done, _going) = self.store.commit_blocking(Urgency::Soon, move |tx| {
            let going = ledger.stillness.let_go()?;
            // INVARIANT: looked at in this commit: once a hold is in force, nothing it speaks of goes.
            if ledger.holds_in(tx)? != *holds {
                return Ok((false, going));
            }
            let mut cursors = Cursors::read(tx.get(keys::PRUNED)?)?;
            // INVARIANT: what goes is accounted for once. An earlier commit that nobody waited for any more may have done all this.
            if cursors.of(class) != cursor {
                return Ok((false, going));
            }
            *cursors.of_mut(class) = next;
            tx.put(keys::PRUNED.to_vec(), cursors.encode())?;
            let (Some(first), Some(last)) = (due.first(), due.last()) else { return Ok((true, going)) };
            // INVARIANT: the record has this place, because nothing is appended before it in this commit.
            let run = audit::tip_in(tx)?.tip.seq + 1;
            for (key, seqs) in &pages {
                rewrite(tx, key, seqs, run)?;
            }
            let mut digest = Sha256::new();
            due.iter().for_each(|seq| digest.update(seq.to_be_bytes()));
            let act = Act::Prune {
                by: &by,
                class: class.as_str(),
                count: due.len() as u64,
                first: *first,
                kept_for_ms: keep,
                last: *last,
                seqs_sha256: Digest(digest.finalize().into()).to_string(),
            };
            let told = act::record(tx, &ledger, None, &act)?;
            assert_eq!(told, run, "nothing came between");
            Ok::<_, LedgerError>((true, going))
        })?;
        Ok(done)
    }

    /// Removes the body files that nothing names any more, but for those of calls that are about to start: they may have to wait on.
    pub(super) fn remove_doomed_files(&self) -> Result<(), LedgerError> {
        loop {
            let rows = self.doomed(keys::doomed_file(&Digest([0; 32])), b"d0", STEP)?;
            let (mut gone, found) = (Vec::new(), rows.len());
            for key in rows {
                if let Some(name) = key.get(2..).and_then(|name| name.try_into().ok()).map(Digest) {
                    // In this order: whoever gives a file up has started by then, or taken the row away that dooms it.
                    if self.waiting.keeps_file(&name) || self.store.get(&key)?.is_none() {
                        continue;
                    }
                    self.store.remove_body(&name)?;
                }
                gone.push(key);
            }
            let is_kept = gone.len() < found;
            if gone.is_empty() {
                return Ok(());
            }
            self.store.commit_blocking(Urgency::Soon, move |tx| {
                gone.into_iter().for_each(|key| tx.delete(key));
                Ok::<_, LedgerError>(())
            })?;
            if is_kept {
                // Looked at again next time.
                return Ok(());
            }
        }
    }
}

/// Puts `run` in place of the bodies of these records of a page.
fn rewrite(tx: &mut Tx<'_>, key: &[u8], seqs: &[u64], run: u64) -> Result<(), LedgerError> {
    let damaged = |problem: &str| LedgerError::damaged("a page of the log")(problem);
    let old = tx.get(key)?.ok_or_else(|| damaged("it is missing"))?;
    let first = keys::log_seq(key).ok_or_else(|| damaged("its key is malformed"))?;
    let mut page = Vec::with_capacity(old.len());
    for (seq, item) in (first..).zip(page::pairs(&old)) {
        let (head, stored) = item.ok_or_else(|| damaged("it is cut short"))?;
        if !seqs.contains(&seq) {
            assert!(page::push(&mut page, &[head, stored]), "a page only gets shorter");
            continue;
        }
        let committed = Head::decode(head).map_err(LedgerError::damaged(format!("record {seq}")))?.body;
        if let Some(file) = body::file_of(stored, &committed) {
            tx.put(keys::doomed_file(&file), Vec::new())?;
        }
        assert!(page::push(&mut page, &[head, &body::pruned(run)]), "a page only gets shorter");
    }
    Ok(tx.put(key.to_vec(), page)?)
}

/// Makes the next pruning look at everything again.
pub(super) fn look_again(tx: &mut Tx<'_>) {
    tx.delete(keys::PRUNED.to_vec());
}

/// The first record of each class that was not looked at yet.
struct Cursors([u64; Class::ALL.len()]);

impl Cursors {
    fn read(row: Option<Vec<u8>>) -> Result<Self, LedgerError> {
        let Some(row) = row else { return Ok(Self([1; Class::ALL.len()])) };
        let mut reader = Reader::new(&row);
        let mut read = || {
            reader.row(1 + Class::ALL.len() as u64, 1)?;
            let mut cursors = Self([0; Class::ALL.len()]);
            for cursor in &mut cursors.0 {
                *cursor = reader.number()?;
            }
            reader.end().map(|()| cursors)
        };
        read().map_err(LedgerError::damaged("how far the log was pruned"))
    }

    fn encode(&self) -> Vec<u8> {
        cbor::encode(48, |writer| {
            writer.array(1 + self.0.len() as u64).number(1);
            for cursor in self.0 {
                writer.number(cursor);
            }
        })
    }

    fn of(&self, class: Class) -> u64 {
        self.0[class as usize]
    }

    fn of_mut(&mut self, class: Class) -> &mut u64 {
        &mut self.0[class as usize]
    }
}
