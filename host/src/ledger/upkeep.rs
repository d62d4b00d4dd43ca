//! What the ledger does once a second by itself: write down counted rejections, forget what has expired, mark how far it got.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
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
    let (mut marked, mut signed) = (Tip::EMPTY, Instant::now());
    while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
        let Some(inner) = ledger.upgrade() else { return };
        if !inner.store.is_open() {
            continue;
        }
        if let Err(error) = inner.look_after(&mut marked, &mut signed) {
            tracing::warn!(%error, "the ledger's upkeep failed; it is tried again in a second");
        }
    }
}

impl Inner {
    fn look_after(self: &Arc<Self>, marked: &mut Tip, signed: &mut Instant) -> Result<(), LedgerError> {
        self.write_counts(false)?;
        self.forget_all_expired()?;
        self.destroy_epochs(false)?;
        // What waiting calls were asked to do goes with their start.
        self.remove_doomed_files()?;
        self.mark(marked)?;
        if signed.elapsed() >= self.config.checkpoint_every.duration() {
            self.checkpoint()?;
            *signed = Instant::now();
        }
        Ok(())
    }

    fn forget_all_expired(&self) -> Result<(), LedgerError> {
        while self.forget_expired()? == BATCH {
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Marks how far the log is durable, if it has got further than `marked`.
    fn mark(&self, marked: &mut Tip) -> Result<(), LedgerError> {
        if audit::tip(&self.store)?.tip == *marked {
            return Ok(());
        }
        // What a look at the store shows may not be synced. Asked on the writer thread, the answer comes once it is.
        let tip = self.store.commit_blocking(Urgency::Soon, |tx| audit::tip_in(tx))?.tip;
        mark::write(self.store.dir(), &tip).map_err(LedgerError::damaged("the mark of the log"))?;
        *marked = tip;
        Ok(())
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
