//! Stopping one thread at a failpoint. Failpoints are the whole process's, and the other tests come by them as well.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread, ThreadId};
use std::time::Duration;

use super::super::{Store, StoreError};

/// A failpoint at which something happens to one thread, until this is dropped.
pub(crate) struct Armed {
    place: &'static str,
    /// A failpoint is armed for one test at a time.
    _turn: MutexGuard<'static, ()>,
}

impl Armed {
    /// Has the thread that is meant do something whenever it comes by.
    pub fn at(
        place: &'static str,
        is_meant: impl Fn(&Thread) -> bool + Send + Sync + 'static,
        does: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let passing = move || {
            if is_meant(&thread::current()) {
                does();
            }
        };
        fail::cfg_callback(place, passing).expect("tests are built with failpoints");
        Self { place, _turn: turn }
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        fail::remove(self.place);
    }
}

/// A failpoint at which one thread stops, until this is dropped.
pub(crate) struct Stop {
    reached: Receiver<()>,
    /// In this order: first it goes on, then nobody stops any more.
    _held: Sender<()>,
    _armed: Armed,
}

impl Stop {
    /// Stops the thread that is meant when it comes by.
    pub fn at(place: &'static str, is_meant: impl Fn(&Thread) -> bool + Send + Sync + 'static) -> Self {
        let ((arrives, reached), (held, goes_on)) = (channel(), channel::<()>());
        let ends = Mutex::new((arrives, goes_on));
        let wait = move || {
            let ends = ends.lock().unwrap_or_else(PoisonError::into_inner);
            // Whichever end is gone, nobody waits for this thread any more.
            if ends.0.send(()).is_ok() {
                let _ = ends.1.recv();
            }
        };
        Self { reached, _held: held, _armed: Armed::at(place, is_meant, wait) }
    }

    /// Stops the writer thread of this store once it has applied a group, before it is durable.
    pub async fn applied(store: &Store) -> Self {
        let writer: ThreadId = store.commit(|_| Ok::<_, StoreError>(thread::current().id())).await.expect("it takes commits");
        Self::at("store::applied", move |thread| thread.id() == writer)
    }

    /// Waits until the thread stands there.
    pub fn reached(&self) {
        self.reached.recv_timeout(Duration::from_secs(60)).expect("it comes by");
    }
}
