//! What the ledger does once a second by itself: write down counted rejections, forget what has expired, mark how far it got.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::chain::Tip;
use super::{Inner, LedgerError, audit, calls, keys, mark};
use crate::model::Timestamp;
use crate::store::Urgency;

/// How often.
const INTERVAL: Duration = Duration::from_secs(1);

/// How many calls are forgotten in one commit: few enough that the calls behind it hardly notice.
const BATCH: usize = 128;

/// The pause between two such commits.
const PAUSE: Duration = Duration::from_millis(5);

/// How long after its expiry a call is deleted, in milliseconds: whoever has just found its answer can still read it.
fn grace_ms() -> u64 {
    fail::fail_point!("upkeep::grace", |_| 0);
    60_000
}

/// Starts the thread. It ends when the ledger is dropped, which is what `ended` waits for.
pub(super) fn start(inner: &Arc<Inner>, ended: Receiver<()>) {
    let ledger = Arc::downgrade(inner);
    let thread = std::thread::Builder::new().name("ledger-upkeep".to_owned());
    thread.spawn(move || run(&ledger, &ended)).expect("a process that has just started has room for one more thread");
}

fn run(ledger: &Weak<Inner>, ended: &Receiver<()>) {
    let mut signed = Instant::now();
    while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
        let Some(inner) = ledger.upgrade() else { return };
        if !inner.store.is_open() {
            continue;
        }
        if let Err(error) = inner.look_after(&mut signed) {
            tracing::warn!(%error, "the ledger's upkeep failed; it is tried again in a second");
        }
    }
}

impl Inner {
    /// Does all of it once.
    ///
    /// # Errors
    /// The first of its steps that failed did so with this. The others were done in any case: that one row makes no sense must not
    /// keep the log from being marked and signed.
    pub(super) fn look_after(self: &Arc<Self>, signed: &mut Instant) -> Result<(), LedgerError> {
        self.write_counts(false);
        let mut done = self.forget_all_expired();
        done = done.and(self.destroy_epochs(false));
        // What waiting calls were asked to do goes with their start.
        done = done.and(self.remove_doomed_files());
        done = done.and(self.mark().map(drop));
        if signed.elapsed() >= self.config.checkpoint_every.duration() {
            let checkpoint = self.checkpoint();
            if checkpoint.is_ok() {
                *signed = Instant::now();
            }
            done = done.and(checkpoint.map(drop));
        }
        done
    }

    fn forget_all_expired(&self) -> Result<(), LedgerError> {
        while self.forget_expired()? == BATCH {
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Marks how far the log is durable, unless that is marked already, and answers how far that is.
    pub(super) fn mark(&self) -> Result<Tip, LedgerError> {
        // Held until it is written: a mark must not take the place of a later one.
        let mut marked = self.marked.lock().unwrap_or_else(PoisonError::into_inner);
        if audit::tip(&self.store)?.tip != *marked {
            let tip = self.durable_tip()?;
            mark::write(self.store.dir(), &tip).map_err(LedgerError::damaged("the mark of the log"))?;
            *marked = tip;
        }
        Ok(*marked)
    }

    /// Deletes up to [`BATCH`] calls that expired a while ago, and answers how many.
    pub(super) fn forget_expired(&self) -> Result<usize, LedgerError> {
        let now = Timestamp(self.clock.now().as_millis().saturating_sub(grace_ms()));
        if self.store.scan(keys::EXPIRY_START, &keys::expired_end(now), 1)?.is_empty() {
            return Ok(0);
        }
        let forgotten = self.store.commit_blocking(Urgency::Now, move |tx| calls::forget_expired(tx, now, BATCH))?;
        fail::fail_point!("upkeep::forgotten", |_| std::process::abort());
        // Only after the commit: until then a row names the files. What a crash leaves is removed at the next start.
        self.remove_doomed_files()?;
        Ok(forgotten)
    }
}
