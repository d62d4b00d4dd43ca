//! Watching the sources of plugins: when something was edited, and has come to rest since.
//!
//! The kernel's notice (inotify) makes it quick; a look at names, sizes and times once a second makes it certain. What builds and
//! editors leave behind is no source.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::{Duration, Instant, SystemTime};

use notify::{EventKind, RecursiveMode, Watcher as _};

/// How long sources have to be quiet: editors write a file in several steps, and a checkout is one edit.
const QUIET: Duration = Duration::from_millis(60);

/// How long one waits for quiet at most.
const LONGEST: Duration = Duration::from_secs(2);

/// How often to look without being told.
const POLL: Duration = Duration::from_secs(1);

/// The most files and folders of one plugin that are looked at.
const MAX_ENTRIES: usize = 20_000;

/// How deep folders are looked into.
const MAX_DEPTH: usize = 24;

/// A file whose time says that it was edited so long before it was noticed was rather put there with the time it had elsewhere.
const OLD: Duration = Duration::from_secs(5);

/// Folders of what is made from sources, or fetched for them.
const MADE: [&str; 5] = ["target", "node_modules", "__pycache__", "venv", "dist"];

/// What can be seen of sources without opening them: device, inode, size and time of each file.
type Seen = BTreeMap<PathBuf, [i64; 5]>;

/// A watch on the sources of some plugins.
pub struct Watch {
    dirs: Vec<PathBuf>,
    events: Receiver<()>,
    kernel: Option<notify::RecommendedWatcher>,
    /// The folders that the kernel watches.
    listening: BTreeSet<PathBuf>,
    /// The sources of each plugin as they were when they were last told about.
    seen: Vec<Seen>,
}

/// Sources that are not what they were.
pub struct Edit {
    /// The folders of the plugins whose sources they are.
    pub dirs: Vec<PathBuf>,
    /// When the last of them was written.
    pub at: SystemTime,
}

impl Watch {
    /// Watches the plugins in these folders from now on.
    pub fn of(dirs: Vec<PathBuf>) -> Self {
        // One notice that is pending stands for all.
        let (wake, events) = mpsc::sync_channel(1);
        let kernel = listen(wake);
        if let Err(error) = &kernel {
            tracing::warn!(%error, "the kernel does not tell of edits; sources are looked at every {POLL:?} instead");
        }
        let mut watch = Self { seen: Vec::new(), dirs, events, kernel: kernel.ok(), listening: BTreeSet::new() };
        watch.seen = watch.look();
        watch
    }

    /// Waits until sources were edited since the last time, and have come to rest.
    pub fn edited(&mut self) -> Edit {
        let mut now = self.look();
        while now == self.seen {
            // In this order: what changes after a look comes with a notice, or is found by the next.
            let _ = self.events.recv_timeout(POLL);
            now = self.look();
        }
        let (noticed, begun) = (SystemTime::now(), Instant::now());
        loop {
            let told = self.events.recv_timeout(QUIET).is_ok();
            let later = self.look();
            if !told && later == now || begun.elapsed() > LONGEST {
                now = later;
                break;
            }
            now = later;
        }
        let before = std::mem::replace(&mut self.seen, now);
        let changed = self.dirs.iter().zip(before.iter().zip(&self.seen)).filter(|(_, (before, now))| before != now);
        let written = self.seen.iter().zip(&before).flat_map(|(now, before)| {
            now.iter()
                .filter(|(path, print)| before.get(*path) != Some(print))
                .filter_map(|(path, _)| std::fs::metadata(path).ok()?.modified().ok())
        });
        let at = written.max().filter(|at| noticed.duration_since(*at).is_ok_and(|ago| ago < OLD)).unwrap_or(noticed);
        Edit { dirs: changed.map(|(dir, _)| dir.clone()).collect(), at }
    }

    /// Looks at all sources, and has the kernel tell of every folder they lie in.
    fn look(&mut self) -> Vec<Seen> {
        let mut folders = BTreeSet::new();
        let seen = self.dirs.iter().map(|dir| look(dir, &mut folders)).collect();
        if let Some(kernel) = &mut self.kernel {
            for folder in folders.difference(&self.listening) {
                // Without it, the folder is looked at every now and then all the same.
                let _ = kernel.watch(folder, RecursiveMode::NonRecursive);
            }
        }
        self.listening = folders;
        seen
    }
}

fn listen(wake: SyncSender<()>) -> notify::Result<notify::RecommendedWatcher> {
    notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let is_edit = |event: notify::Event| {
            !matches!(event.kind, EventKind::Access(_))
                && event.paths.iter().any(|path| path.file_name().is_none_or(|name| is_source(&name.to_string_lossy())))
        };
        // Full means that one notice is pending already.
        if event.map_or(true, is_edit) {
            let _ = wake.try_send(());
        }
    })
}

/// The sources in `dir`; `folders` get those that they lie in.
fn look(dir: &Path, folders: &mut BTreeSet<PathBuf>) -> Seen {
    let (mut seen, mut ahead, mut left) = (Seen::new(), vec![(dir.to_owned(), 0)], MAX_ENTRIES);
    while let Some((folder, depth)) = ahead.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.take(left).filter_map(Result::ok) {
            left -= 1;
            if !is_source(&entry.file_name().to_string_lossy()) {
                continue;
            }
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth < MAX_DEPTH => ahead.push((path, depth + 1)),
                Ok(kind) if kind.is_dir() => {}
                // Through a link, to what it stands for.
                _ => {
                    if let Ok(file) = std::fs::metadata(&path).map(|file| print(&file)) {
                        seen.insert(path, file);
                    }
                }
            }
        }
        folders.insert(folder);
    }
    seen
}

fn print(file: &std::fs::Metadata) -> [i64; 5] {
    [file.dev().cast_signed(), file.ino().cast_signed(), file.size().cast_signed(), file.mtime(), file.mtime_nsec()]
}

/// Whether a file or folder of this name can be a source, rather than what builds and editors leave behind.
fn is_source(name: &str) -> bool {
    // What begins with a dot is an editor's, git's or a host's; vim tries whether it may write with a file of that number.
    let is_odd = name.starts_with(['.', '#']) || name.ends_with('~') || name == "4913" || MADE.contains(&name);
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    // Cargo writes its lock file while it builds.
    let is_written_by_builds =
        name == "Cargo.lock" || matches!(extension, Some("swp" | "swo" | "swx" | "tmp" | "bak" | "orig" | "pyc"));
    !is_odd && !is_written_by_builds && extension != Some("md")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A plugin's folder, and what its watch tells.
    fn world() -> (tempfile::TempDir, Receiver<Edit>) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir_all(folder.path().join("src/deep")).expect("writable");
        fs::create_dir_all(folder.path().join("target/debug")).expect("writable");
        fs::write(folder.path().join("src/lib.rs"), "one").expect("writable");
        let (tell, told) = mpsc::channel();
        let mut watch = Watch::of(vec![folder.path().to_owned()]);
        std::thread::spawn(move || while tell.send(watch.edited()).is_ok() {});
        (folder, told)
    }

    fn told(edits: &Receiver<Edit>, what: &str) -> Edit {
        edits.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| panic!("{what} went unnoticed"))
    }

    #[test]
    fn an_edit_is_noticed_wherever_it_is_and_told_with_its_time() {
        let (folder, edits) = world();
        let begun = SystemTime::now() - Duration::from_secs(1);
        fs::write(folder.path().join("src/lib.rs"), "two").expect("writable");
        let edit = told(&edits, "a write");
        assert_eq!(edit.dirs, [folder.path()]);
        assert!(edit.at > begun && edit.at <= SystemTime::now());
        fs::create_dir(folder.path().join("src/new")).expect("writable");
        fs::write(folder.path().join("src/new/mod.rs"), "new").expect("writable");
        told(&edits, "a file in a new folder");
        fs::write(folder.path().join("src/new/mod.rs"), "edited").expect("writable");
        told(&edits, "an edit in a new folder");
        fs::write(folder.path().join("src/.lib.rs.swp"), "three").expect("writable");
        fs::rename(folder.path().join("src/.lib.rs.swp"), folder.path().join("src/lib.rs")).expect("writable");
        told(&edits, "a file that takes another's place");
        fs::remove_dir_all(folder.path().join("src/new")).expect("writable");
        told(&edits, "a removal");
    }

    #[test]
    fn a_storm_of_writes_is_one_edit() {
        let (folder, edits) = world();
        for number in 0..500 {
            fs::write(folder.path().join(format!("src/deep/{number}.rs")), "x").expect("writable");
        }
        told(&edits, "a storm");
        assert!(edits.recv_timeout(POLL + 4 * QUIET).is_err(), "what came to rest was told twice");
    }

    #[test]
    fn what_builds_and_editors_leave_behind_is_no_edit() {
        let (folder, edits) = world();
        for path in [
            "target/debug/lib.rs",
            "Cargo.lock",
            "src/lib.rs~",
            "src/.#lib.rs",
            "src/#lib.rs#",
            "src/4913",
            "src/lib.rs.swp",
            "README.md",
        ] {
            fs::write(folder.path().join(path), "x").expect("writable");
        }
        fs::read(folder.path().join("src/lib.rs")).expect("readable");
        assert!(edits.recv_timeout(POLL + 4 * QUIET).is_err(), "it was taken for an edit");
    }
}
