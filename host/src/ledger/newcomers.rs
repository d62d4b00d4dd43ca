//! The keys of people who call for the first time: made a crowd at a time, while whoever waits for one holds no thread.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::subjects::SubjectKey;
use super::{Inner, LedgerError};
use crate::model::Digest;

/// What everybody who waits is answered; an error is the same for all.
type Answer = Result<Arc<SubjectKey>, Arc<LedgerError>>;

/// Those who wait for their keys.
#[derive(Default)]
pub(super) struct Newcomers(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    by_tag: BTreeMap<Digest, Vec<oneshot::Sender<Answer>>>,
    /// A thread makes keys, and looks for further ones before it stops.
    is_served: bool,
}

impl Newcomers {
    /// The key of the subject with this tag, found or made; durable on return.
    ///
    /// # Errors
    /// The key files can't be read or written.
    pub async fn key(inner: &Arc<Inner>, tag: Digest) -> Result<Arc<SubjectKey>, LedgerError> {
        let (answer, answered) = oneshot::channel();
        if inner.newcomers.wait(tag, answer) {
            let inner = Arc::clone(inner);
            tokio::task::spawn_blocking(move || inner.newcomers.serve(&inner));
        }
        match answered.await {
            Ok(answer) => answer.map_err(|error| match &*error {
                LedgerError::Secret { path, problem } => LedgerError::Secret { path: path.clone(), problem: problem.clone() },
                other => LedgerError::damaged("a subject's key")(other),
            }),
            Err(gone) => Err(LedgerError::damaged("a subject's key")(gone)),
        }
    }

    /// Has somebody wait; answers whether there is nobody yet to serve them.
    fn wait(&self, tag: Digest, answer: oneshot::Sender<Answer>) -> bool {
        let mut waiting = self.lock();
        waiting.by_tag.entry(tag).or_default().push(answer);
        !mem::replace(&mut waiting.is_served, true)
    }

    /// Makes keys until nobody waits for one.
    fn serve(&self, inner: &Inner) {
        let panicking = Panicking(self);
        loop {
            let mut waiting = self.lock();
            if waiting.by_tag.is_empty() {
                // Under the lock: whoever comes next starts the next thread.
                waiting.is_served = false;
                break;
            }
            let mut wanted = mem::take(&mut waiting.by_tag);
            drop(waiting);
            match inner.subjects.keys(wanted.keys().copied().collect()) {
                Ok(keys) => {
                    for key in keys {
                        let waiting = wanted.remove(&key.tag).into_iter().flatten();
                        waiting.for_each(|answer| drop(answer.send(Ok(Arc::clone(&key)))));
                    }
                }
                Err(error) => {
                    let error = Arc::new(error);
                    wanted.into_values().flatten().for_each(|answer| drop(answer.send(Err(Arc::clone(&error)))));
                }
            }
        }
        mem::forget(panicking);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Each change keeps it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells those who wait, should the thread that serves them panic: nobody else would.
struct Panicking<'a>(&'a Newcomers);

impl Drop for Panicking<'_> {
    fn drop(&mut self) {
        *self.0.lock() = Waiting::default();
    }
}
