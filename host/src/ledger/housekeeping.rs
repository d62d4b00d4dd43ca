//! What the ledger does by itself that may take long: index what was written, drop what has had its time.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::prune::Pruning;
use super::{Inner, Ledger, LedgerError};

/// How often it looks whether there is something to do.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often the log is pruned; the first time, soon after the start.
const PRUNING: Duration = Duration::from_secs(60 * 60);

/// Who prunes when nobody asked for it, as records say.
const ITSELF: &str = "the host itself";

/// The pause after each chunk that was indexed.
const PAUSE: Duration = Duration::from_millis(5);

/// How long nothing goes from the log after the last page of it was read.
const STILL: Duration = Duration::from_secs(30);

impl Ledger {
    /// Indexes and prunes from now on, on a thread that ends with the ledger. For hosts: whoever only looks into the ledger of a
    /// stopped one must not drop anything from it.
    pub fn keep_house(&self) {
        let taken = self.inner.keeping.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(ended) = taken else { return };
        let ledger = Arc::downgrade(&self.inner);
        let thread = std::thread::Builder::new().name("ledger-keeping".to_owned());
        thread.spawn(move || run(&ledger, &ended)).expect("a process that has just started has room for one more thread");
    }

    /// Lets nothing go from the log for half a minute: somebody reads it page by page, and what a record of a pruning accounts for
    /// must not be half there and half gone in what they read. What is going at this moment is gone on return. Waits for that as
    /// long as for a commit.
    ///
    /// # Errors
    /// It does not come to its end.
    pub fn keep_still(&self) -> Result<(), LedgerError> {
        self.inner.stillness.keep(STILL, self.inner.store.commit_wait())
    }
}

fn run(ledger: &Weak<Inner>, ended: &Receiver<()>) {
    let mut pruned = None;
    while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
        let Some(inner) = ledger.upgrade() else { return };
        if !inner.store.is_open() {
            continue;
        }
        if let Err(error) = inner.keep_house(&mut pruned) {
            tracing::warn!(%error, "the ledger's housekeeping failed; it is tried again in a second");
        }
    }
}

impl Inner {
    fn keep_house(self: &Arc<Self>, pruned: &mut Option<Instant>) -> Result<(), LedgerError> {
        while self.index_next()? {
            std::thread::sleep(PAUSE);
        }
        if !self.stillness.is_kept() && pruned.is_none_or(|pruned: Instant| pruned.elapsed() >= PRUNING) {
            let done = self.prune(false, ITSELF)?;
            if done != Pruning::default() {
                tracing::info!(?done, "the log was pruned");
            }
            *pruned = Some(Instant::now());
        }
        Ok(())
    }
}
