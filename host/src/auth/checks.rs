//! Where signatures are checked: on threads of their own, so few that a flood of forged tokens leaves cores to those who are known.

use std::sync::Arc;

use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::oneshot;

use super::keys::KeySet;
use super::token::Signature;

/// The threads that check signatures, first come, first served.
///
/// Not the runtime's own, with a limit on how many check at once: whoever waits for a place there is run only after everything else
/// that is ready, and ten thousand newcomers wait one after the other.
pub(super) struct Checks(ThreadPool);

impl Checks {
    /// Half of the cores' worth of threads.
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let pool = ThreadPoolBuilder::new()
            .num_threads((cores / 2).max(1))
            .thread_name(|number| format!("signatures-{number}"))
            // Whoever waits is told: its sender is gone.
            .panic_handler(|_| {
                tracing::error!("checking a signature panicked, which is a bug in tidegate; the token does not count")
            });
        Self(pool.build().expect("the system starts a thread"))
    }

    /// Whether one of `keys` made `signature`. Dropped while it waits for its turn, nothing is checked.
    pub async fn is_by(&self, signature: &Arc<Signature>, keys: &Arc<KeySet>) -> bool {
        let (signature, keys) = (Arc::clone(signature), Arc::clone(keys));
        let (answer, answered) = oneshot::channel();
        self.0.spawn_fifo(move || {
            if !answer.is_closed() {
                let _ = answer.send(signature.is_by(&keys));
            }
        });
        answered.await.unwrap_or(false)
    }
}
