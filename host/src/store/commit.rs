//! One commit: its turn on the writer thread, and the promise of an answer.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::queue::{Completion, Turn};
use super::{Store, StoreError, Tx};

/// The promise that a submitted commit will be answered.
#[must_use = "nobody learns whether the commit came to stand; drop it on purpose if that is meant"]
pub struct Receipt<T, E> {
    pub(super) store: Store,
    pub(super) answer: oneshot::Receiver<Result<T, E>>,
}

impl<T, E: From<StoreError>> Receipt<T, E> {
    /// Waits until the commit is durable, or has failed.
    ///
    /// # Errors
    /// The commit's own error, or the store's. After [`StoreError::Timeout`] the commit may still come to stand.
    pub async fn durable(self) -> Result<T, E> {
        let wait = self.store.commit_wait();
        match timeout(wait, self.answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(self.store.lost().into()),
            Err(_) => Err(StoreError::Timeout { after: wait }.into()),
        }
    }
}

/// One commit's turn: decide, and answer once the group is through.
pub(super) fn run<T, E, F>(
    decide: F,
    turn: Turn<'_, '_>,
    answer: impl FnOnce(Result<T, E>) + Send + 'static,
) -> Option<Completion>
where
    F: FnOnce(&mut Tx<'_>) -> Result<T, E>,
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    let tx = match turn {
        Turn::Run(tx) => tx,
        Turn::Refused(error) => {
            // `decide` is dropped first: what it holds must be free when the caller learns of the refusal.
            drop(decide);
            answer(Err(error.into()));
            return None;
        }
    };
    let decide = || {
        fail::fail_point!("store::commit");
        decide(tx)
    };
    let decided = catch_unwind(AssertUnwindSafe(decide)).unwrap_or_else(|_| {
        // It may have left half of its thoughts in the caller's own state: nothing of its group is written.
        tx.poison();
        Err(StoreError::closed("the commit panicked").into())
    });
    match &decided {
        Ok(_) => tx.keep(),
        Err(_) => tx.undo(),
    }
    // Even a refusal waits for the group: it may rest on what an earlier commit of the same group has written.
    Some(Box::new(move |written: Result<(), StoreError>| answer(written.map_err(E::from).and(decided))))
}
