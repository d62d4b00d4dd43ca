//! Watching the sources of plugins: when something was edited, and has come to rest since.
//!
//! The kernel's notice makes it quick; a look at names, sizes and times once a second makes it certain. What builds and editors leave
//! behind is no source.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::cli::language::Language;
use crate::registry::sources;
use crate::registry::watch::{Notices, POLL, Stamp, stamp};

/// How long sources have to be quiet: editors write a file in several steps, and a checkout is one edit.
const QUIET: Duration = Duration::from_millis(60);

/// How long one waits for quiet at most.
const LONGEST: Duration = Duration::from_secs(2);

/// The most files and folders of one plugin, or of one crate beside it, that are looked at.
const MAX_ENTRIES: usize = 20_000;

/// How deep folders are looked into.
const MAX_DEPTH: usize = 24;

/// A file whose time says that it was edited so long before it was noticed was rather put there with the time it had elsewhere.
const OLD: Duration = Duration::from_secs(5);

/// Folders of what is made from sources, or fetched for them.
const MADE: [&str; 5] = ["target", "node_modules", "__pycache__", "venv", "dist"];

/// A watch on the sources of plugins: those there are, and those that come.
pub struct Watch {
    root: PathBuf,
    /// A folder that holds no sources, wherever it lies.
    apart: PathBuf,
    notices: Notices,
    /// The sources of each plugin as they were when they were last told about.
    seen: BTreeMap<PathBuf, Sources>,
}

/// Sources that are not what they were.
pub struct Edit {
    /// The folders of the plugins whose sources they are. One that is gone holds no plugin any more.
    pub dirs: Vec<PathBuf>,
    /// When the last of them was written.
    pub at: SystemTime,
}

/// What can be seen of all sources without opening them.
#[derive(Default, PartialEq)]
struct View {
    /// By the folder of the plugin whose they are.
    plugins: BTreeMap<PathBuf, Sources>,
    /// The folders that they lie in.
    folders: BTreeSet<PathBuf>,
}

/// The sources of one plugin.
type Sources = BTreeMap<PathBuf, Stamp>;

impl Watch {
    /// Watches the plugins in `root`, or the one it is, from now on. What changes in the folder `apart` is no edit.
    pub fn of(root: &Path, apart: &Path) -> Self {
        let apart = apart.canonicalize().unwrap_or_else(|_| apart.to_owned());
        let mut notices = Notices::new(|file| file.file_name().is_some_and(|name| is_source(&name.to_string_lossy())));
        let seen = View::of(root, &apart);
        notices.listen(&seen.folders);
        Self { root: root.to_owned(), apart, notices, seen: seen.plugins }
    }

    /// Waits until sources were edited since the last time, and have come to rest.
    pub fn edited(&mut self) -> Edit {
        loop {
            let now = View::of(&self.root, &self.apart);
            self.notices.listen(&now.folders);
            if now.plugins != self.seen {
                break;
            }
            // In this order: what changes after a look comes with a notice, or is found by the next.
            self.notices.arrive(POLL);
        }
        let noticed = SystemTime::now();
        let now = self.notices.settle(QUIET, LONGEST, || View::of(&self.root, &self.apart)).plugins;
        let before = std::mem::replace(&mut self.seen, now);
        let (mut changed, mut written) = (Vec::new(), None);
        for dir in before.keys().chain(self.seen.keys()).collect::<BTreeSet<_>>() {
            let (then, now) = (before.get(dir), self.seen.get(dir));
            if then != now {
                changed.push(dir.clone());
                written = written.max(now.and_then(|now| written_since(then, now)));
            }
        }
        let at = written.filter(|at| noticed.duration_since(*at).is_ok_and(|ago| ago < OLD)).unwrap_or(noticed);
        Edit { dirs: changed, at }
    }
}

impl View {
    /// The plugins in `root`, or the one it is, without what lies in `apart`.
    fn of(root: &Path, apart: &Path) -> Self {
        // Where further plugins would come to.
        let mut view = Self { folders: BTreeSet::from([root.to_owned()]), ..Self::default() };
        // A folder without plugins, and one that is gone, may hold some again.
        for dir in sources::plugin_dirs(root).unwrap_or_default() {
            let mut seen = view.look(&dir, apart);
            let beside = Language::of(&dir).map(|language| language.sources_beside(&dir));
            beside.into_iter().flatten().for_each(|folder| seen.extend(view.look(&folder, apart)));
            view.plugins.insert(dir, seen);
        }
        view
    }

    /// The sources in `dir`.
    fn look(&mut self, dir: &Path, apart: &Path) -> Sources {
        let (mut seen, mut ahead, mut left) = (Sources::new(), vec![(dir.to_owned(), 0)], MAX_ENTRIES);
        while let Some((folder, depth)) = ahead.pop() {
            let Ok(entries) = std::fs::read_dir(&folder) else { continue };
            for entry in entries.take(left).filter_map(Result::ok) {
                left -= 1;
                if !is_source(&entry.file_name().to_string_lossy()) {
                    continue;
                }
                let path = entry.path();
                // These are in nothing that is built, and the host looks at them by itself.
                if path.extension().is_some_and(|extension| extension == "cedar") && folder == dir.join("policies") {
                    continue;
                }
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() && is_same(&path, apart) => {}
                    Ok(kind) if kind.is_dir() && depth < MAX_DEPTH => ahead.push((path, depth + 1)),
                    Ok(kind) if kind.is_dir() => {}
                    // Through a link, to what it stands for.
                    _ => {
                        if let Ok(stamp) = stamp(&path) {
                            seen.insert(path, stamp);
                        }
                    }
                }
            }
            self.folders.insert(folder);
        }
        seen
    }
}

/// Whether the folder is the one whose path without links is `real`.
fn is_same(folder: &Path, real: &Path) -> bool {
    folder.file_name() == real.file_name() && folder.canonicalize().is_ok_and(|folder| folder == real)
}

/// When the last of the sources was written that are `now` and were not there like this `then`.
fn written_since(then: Option<&Sources>, now: &Sources) -> Option<SystemTime> {
    let is_new = |path: &PathBuf, stamp: &Stamp| then.and_then(|then| then.get(path)) != Some(stamp);
    let new = now.iter().filter(|(path, stamp)| is_new(path, stamp));
    new.filter_map(|(path, _)| std::fs::metadata(path).ok()?.modified().ok()).max()
}

/// Whether a file or folder of this name can be a source, rather than what builds and editors leave behind.
fn is_source(name: &str) -> bool {
    // What begins with a dot is an editor's, git's or a host's; vim tries whether it may write with a file of that number.
    let is_odd = name.starts_with(['.', '#']) || name.ends_with('~') || name == "4913" || MADE.contains(&name);
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    // Cargo writes its lock file while it builds, and what we say may go to a file beside the sources.
    let is_written_by_builds =
        name == "Cargo.lock" || matches!(extension, Some("swp" | "swo" | "swx" | "tmp" | "bak" | "orig" | "pyc" | "log"));
    !is_odd && !is_written_by_builds && extension != Some("md")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc::{self, Receiver};

    use super::*;

    /// A plugin's folder, and what its watch tells.
    fn world() -> (tempfile::TempDir, Receiver<Edit>) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir_all(folder.path().join("src/deep")).expect("writable");
        fs::create_dir_all(folder.path().join("target/debug")).expect("writable");
        fs::create_dir_all(folder.path().join("policies")).expect("writable");
        fs::create_dir_all(folder.path().join("data/store")).expect("writable");
        fs::write(folder.path().join("src/lib.rs"), "one").expect("writable");
        fs::write(folder.path().join("plugin.toml"), "one").expect("writable");
        let (tell, told) = mpsc::channel();
        let mut watch = Watch::of(folder.path(), &folder.path().join("data"));
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
            "dev.log",
            "policies/walls.cedar",
            "data/store/rows.rs",
        ] {
            fs::write(folder.path().join(path), "x").expect("writable");
        }
        fs::read(folder.path().join("src/lib.rs")).expect("readable");
        assert!(edits.recv_timeout(POLL + 4 * QUIET).is_err(), "it was taken for an edit");
    }

    #[test]
    fn plugins_that_come_and_go_are_told_of_by_their_folders() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let make = |name: &str| {
            let dir = root.path().join(name);
            fs::create_dir(&dir).and_then(|()| fs::write(dir.join("plugin.toml"), "one")).expect("writable");
            dir
        };
        let (one, mut watch) = (make("one"), Watch::of(root.path(), Path::new("/nowhere")));
        let two = make("two");
        assert_eq!(watch.edited().dirs, [two.as_path()]);
        fs::write(two.join("plugin.toml"), "two").expect("writable");
        assert_eq!(watch.edited().dirs, [two.as_path()]);
        fs::remove_dir_all(&one).and_then(|()| fs::remove_dir_all(&two)).expect("removable");
        assert_eq!(watch.edited().dirs, [one, two]);
    }
}
