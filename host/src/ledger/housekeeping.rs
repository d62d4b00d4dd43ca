//! What the ledger does by itself that may take long: index what was written, drop what has had its time.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::prune::Pruning;
use super::{Inner, LedgerError};

/// How often it looks whether there is something to do.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often the log is pruned; the first time, soon after the start.
const PRUNING: Duration = Duration::from_secs(60 * 60);

/// The pause after each chunk that was indexed.
const PAUSE: Duration = Duration::from_millis(5);

/// Starts the thread. It ends when the ledger is dropped, which is what `ended` waits for.
pub(super) fn start(inner: &Arc<Inner>, ended: Receiver<()>) {
    let ledger = Arc::downgrade(inner);
    let thread = std::thread::Builder::new().name("ledger-keeping".to_owned());
    thread.spawn(move || run(&ledger, &ended)).expect("a process that has just started has room for one more thread");
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
        if pruned.is_none_or(|pruned: Instant| pruned.elapsed() >= PRUNING) {
            let done = self.prune(false)?;
            if done != Pruning::default() {
                tracing::info!(?done, "the log was pruned");
            }
            *pruned = Some(Instant::now());
        }
        Ok(())
    }
}
