//! Notices of the kernel's (inotify) that something happens in folders, and waiting until nothing happens any more.
//!
//! A notice makes it quick, and no more than that: nothing is noticed of files behind symbolic links, of a network's folders, or of a
//! folder that takes another's name. Whoever watches also looks, every [`POLL`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecursiveMode, Watcher as _};

use super::seen::Identity;

/// How often to look without being told.
pub const POLL: Duration = Duration::from_secs(1);

/// How long one waits for whoever has begun to write a file to close it.
const UNCLOSED: Duration = Duration::from_secs(10);

/// What the kernel tells of some folders.
pub struct Notices {
    /// Whether a file of this name is waited for until it is closed.
    counts: Counts,
    /// Where notices come in; one that is pending stands for all.
    wake: SyncSender<()>,
    events: Receiver<()>,
    /// The kernel's watch, and the folders it is on.
    kernel: Option<(notify::RecommendedWatcher, Vec<Identity>)>,
    /// Whether the kernel refused to watch, which is said once.
    is_deaf: bool,
    /// Files that count and that somebody has begun to write and not closed yet.
    unclosed: Unclosed,
}

/// Tells which files count.
type Counts = Arc<dyn Fn(&Path) -> bool + Send + Sync>;

/// Paths of files that are being written.
type Unclosed = Arc<Mutex<BTreeSet<PathBuf>>>;

impl Notices {
    /// Of no folder yet. The beginning of a file may be valid by itself, so whoever writes one that `counts` is waited for.
    pub fn new(counts: impl Fn(&Path) -> bool + Send + Sync + 'static) -> Self {
        let (wake, events) = mpsc::sync_channel(1);
        Self { counts: Arc::new(counts), wake, events, kernel: None, is_deaf: false, unclosed: Unclosed::default() }
    }

    /// Has the kernel tell of these folders, those that have the names now, and of no others. The first one is what they all belong to.
    pub fn listen<'f>(&mut self, folders: impl IntoIterator<Item = &'f PathBuf>) {
        let folders: Vec<&PathBuf> = folders.into_iter().collect();
        let identities: Vec<_> = folders.iter().filter_map(|folder| Identity::of(folder)).collect();
        if identities.is_empty() {
            self.kernel = None;
            return;
        }
        if self.kernel.as_ref().is_some_and(|(_, watched)| *watched == identities) {
            return;
        }
        match self.watcher(&folders) {
            Ok(kernel) => (self.kernel, self.is_deaf) = (Some((kernel, identities)), false),
            Err(error) => {
                if !self.is_deaf {
                    let folder = folders.first().map(|folder| tracing::field::display(folder.display()));
                    tracing::warn!(folder, %error, "the folder can't be watched; it is looked at every {POLL:?} instead");
                }
                (self.kernel, self.is_deaf) = (None, true);
            }
        }
    }

    /// Waits for a notice, for so long at most; answers whether one has come.
    pub fn arrive(&self, within: Duration) -> bool {
        self.events.recv_timeout(within) != Err(RecvTimeoutError::Timeout)
    }

    /// Waits until nothing has changed for a while that is `quiet`, but no longer than `longest`; answers what there is to see then. A
    /// file that is still being written is waited for longer.
    pub fn settle<T: PartialEq>(&self, quiet: Duration, longest: Duration, look: impl Fn() -> T) -> T {
        let begun = Instant::now();
        let is_unclosed = || !self.unclosed.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        let mut seen = look();
        while begun.elapsed() < if is_unclosed() { UNCLOSED } else { longest } {
            let told = self.arrive(quiet);
            let now = look();
            if !told && now == seen && !is_unclosed() {
                break;
            }
            seen = now;
        }
        seen
    }

    fn watcher(&self, folders: &[&PathBuf]) -> notify::Result<notify::RecommendedWatcher> {
        let (counts, wake, unclosed) = (self.counts.clone(), self.wake.clone(), self.unclosed.clone());
        // What another watch was told is of other folders.
        unclosed.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if let Ok(event) = &event {
                note_writing(&counts, event, &mut unclosed.lock().unwrap_or_else(PoisonError::into_inner));
            }
            // Reading is no change; without this, looking at the folder would be a reason to look at it again.
            let is_reading = |kind| matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write));
            if !event.is_ok_and(|event| is_reading(event.kind)) {
                // Full means that one notice is pending already.
                let _ = wake.try_send(());
            }
        })?;
        for folder in folders {
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                // Gone since it was listed; that it is, is noticed.
                Err(_) if !folder.exists() => {}
                watched => watched?,
            }
        }
        Ok(watcher)
    }
}

/// Keeps count of which files that count are being written.
fn note_writing(counts: &Counts, event: &notify::Event, unclosed: &mut BTreeSet<PathBuf>) {
    let paths = event.paths.iter().filter(|path| counts(path));
    match event.kind {
        EventKind::Modify(ModifyKind::Data(_)) => unclosed.extend(paths.cloned()),
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Remove(_)
        | EventKind::Modify(ModifyKind::Name(_)) => {
            paths.for_each(|path| drop(unclosed.take(path)));
        }
        _ => {}
    }
}
