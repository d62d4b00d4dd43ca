//! Watching the folders that plugins and policies come from: when their content may have changed, and has come to rest since.
//!
//! The kernel's notice makes it quick; a look at names, sizes and times once a second makes it certain.

mod notices;
mod seen;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use super::artifact::{MANIFEST, SIGNATURES};
use crate::model::Part;
use crate::policy::ENTRIES;

pub use notices::{Notices, POLL};
use seen::Identity;
pub use seen::{Stamp, stamp};

/// How long the folders have to be quiet: editors write a file in several steps.
const QUIET: Duration = Duration::from_millis(150);

/// How long one waits for quiet at most.
const LONGEST: Duration = Duration::from_secs(1);

/// Watches `folder`, which need not exist, on a thread of its own until the receiver is dropped: for policies its files, for plugins
/// its files and those of the plugin folders in it. The file `beside` is looked at too, once in a while. Ticks once at the start, so
/// that nothing that happened before goes unnoticed, and then whenever something may have changed.
///
/// # Errors
/// There is no room for one more thread.
pub fn start(part: Part, folder: PathBuf, beside: Option<PathBuf>) -> std::io::Result<watch::Receiver<u64>> {
    let (news, receiver) = watch::channel(0);
    let watched = Watched { part, root: folder, beside };
    let watch = Watch { seen: watched.print(), watched, news, notices: Notices::new(move |file| counts(part, file)) };
    std::thread::Builder::new().name(format!("watch-{}", part.as_str())).spawn(move || watch.run())?;
    Ok(receiver)
}

struct Watch {
    watched: Watched,
    news: watch::Sender<u64>,
    notices: Notices,
    /// The folders when they were last told about.
    seen: Vec<Print>,
}

/// What is watched.
struct Watched {
    part: Part,
    root: PathBuf,
    /// A file elsewhere that says which of it may take effect.
    beside: Option<PathBuf>,
}

impl Watched {
    /// The folders whose entries count: the root, and the plugin folders in it.
    fn folders(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.root.clone()];
        if self.part == Part::Plugins && !self.root.join(MANIFEST).exists() {
            let entries = std::fs::read_dir(&self.root).into_iter().flatten().take(ENTRIES).filter_map(Result::ok);
            folders.extend(entries.map(|entry| entry.path()).filter(|path| path.join(MANIFEST).exists()));
            folders[1..].sort();
        }
        folders
    }

    fn print(&self) -> Vec<Print> {
        let beside = self.beside.iter().map(|file| Print::File(of_file(file)));
        self.folders().iter().map(|folder| Print::of(folder)).chain(beside).collect()
    }
}

/// Whether a file of this name is read when the folders are loaded.
fn counts(part: Part, path: &Path) -> bool {
    let has = |wanted: &str| path.extension().is_some_and(|extension| extension == wanted);
    match part {
        Part::Plugins => has("wasm") || path.file_name().is_some_and(|name| name == MANIFEST || name == SIGNATURES),
        Part::Policies => has("cedar") || has("json"),
    }
}

impl Watch {
    fn run(mut self) {
        loop {
            self.notices.listen(&self.watched.folders());
            // In this order: what changes from here on differs from what was seen, or comes with a notice.
            self.seen = self.watched.print();
            self.news.send_modify(|count| *count += 1);
            self.wait();
            if self.news.is_closed() {
                return;
            }
            self.notices.settle(QUIET, LONGEST, || self.watched.print());
        }
    }

    /// Waits until something may have changed, or nobody wants to know any more.
    fn wait(&mut self) {
        while !self.notices.arrive(POLL) && !self.news.is_closed() && self.watched.print() == self.seen {
            self.notices.listen(&self.watched.folders());
        }
    }
}

/// What can be seen of a folder without opening its files, or of a file.
#[derive(Debug, PartialEq)]
enum Print {
    File(Result<Stamp, ErrorKind>),
    Folder(Option<Identity>, Vec<Entry>),
    Unreadable(ErrorKind),
}

/// A file's name, and what can be seen of it.
type Entry = (OsString, Result<Stamp, ErrorKind>);

impl Print {
    fn of(folder: &Path) -> Self {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries.take(ENTRIES + 1),
            Err(error) => return Self::Unreadable(error.kind()),
        };
        let mut seen = Vec::new();
        for entry in entries {
            match entry {
                Ok(entry) => seen.push((entry.file_name(), of_file(&entry.path()))),
                Err(error) => return Self::Unreadable(error.kind()),
            }
        }
        seen.sort();
        Self::Folder(Identity::of(folder), seen)
    }
}

fn of_file(path: &Path) -> Result<Stamp, ErrorKind> {
    stamp(path).map_err(|error| error.kind())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    struct World {
        dir: tempfile::TempDir,
        news: watch::Receiver<u64>,
    }

    impl World {
        async fn new(prepare: impl FnOnce(&Path)) -> Self {
            let dir = tempfile::tempdir().expect("a temporary folder");
            prepare(dir.path());
            let news = start(Part::Policies, dir.path().join("policies"), None).expect("there is room for a thread");
            let mut world = Self { dir, news };
            world.told("the start").await;
            world
        }

        fn path(&self, path: &str) -> PathBuf {
            self.dir.path().join(path)
        }

        async fn told(&mut self, what: &str) {
            let told = tokio::time::timeout(Duration::from_secs(20), self.news.changed()).await;
            told.unwrap_or_else(|_| panic!("{what} went unnoticed")).expect("the thread lives");
        }
    }

    fn folder(dir: &Path) {
        fs::create_dir(dir.join("policies")).expect("writable");
    }

    #[tokio::test]
    async fn a_file_written_renamed_and_removed_is_noticed_each_time() {
        let mut world = World::new(folder).await;
        fs::write(world.path("policies/.a.swp"), "permit").expect("writable");
        fs::rename(world.path("policies/.a.swp"), world.path("policies/a.cedar")).expect("writable");
        world.told("a rename").await;
        fs::write(world.path("policies/a.cedar"), "forbid").expect("writable");
        world.told("a write").await;
        fs::remove_file(world.path("policies/a.cedar")).expect("writable");
        world.told("a removal").await;
    }

    #[tokio::test]
    async fn a_folder_that_goes_comes_back_and_is_replaced_stays_watched() {
        let mut world = World::new(folder).await;
        fs::remove_dir(world.path("policies")).expect("writable");
        world.told("the folder's removal").await;
        folder(world.dir.path());
        world.told("the folder's return").await;
        fs::create_dir(world.path("next")).expect("writable");
        fs::write(world.path("next/a.cedar"), "permit").expect("writable");
        fs::rename(world.path("policies"), world.path("last")).expect("writable");
        fs::rename(world.path("next"), world.path("policies")).expect("writable");
        world.told("another folder of the name").await;
        fs::write(world.path("policies/a.cedar"), "forbid").expect("writable");
        world.told("a write into the new folder").await;
    }

    #[tokio::test]
    async fn files_behind_links_that_are_swapped_or_written_are_noticed() {
        let mut world = World::new(|dir| {
            folder(dir);
            for version in ["policies/..1", "policies/..2"] {
                fs::create_dir(dir.join(version)).expect("writable");
                fs::write(dir.join(version).join("a.cedar"), version).expect("writable");
            }
            symlink("..1", dir.join("policies/..data")).expect("writable");
            symlink("..data/a.cedar", dir.join("policies/a.cedar")).expect("writable");
        })
        .await;
        symlink("..2", world.path("policies/..data_tmp")).expect("writable");
        fs::rename(world.path("policies/..data_tmp"), world.path("policies/..data")).expect("writable");
        world.told("the swap of a link").await;
        fs::write(world.path("policies/..2/a.cedar"), "longer than before").expect("writable");
        world.told("a write behind a link").await;
    }

    #[tokio::test]
    async fn looking_is_no_change() {
        let mut world = World::new(|dir| {
            folder(dir);
            fs::write(dir.join("policies/a.cedar"), "permit").expect("writable");
        })
        .await;
        for _ in 0..3 {
            assert_eq!(fs::read(world.path("policies/a.cedar")).expect("readable"), b"permit");
            fs::read_dir(world.path("policies")).expect("readable").for_each(drop);
        }
        // The quiet passes and two looks besides.
        let told = tokio::time::timeout(QUIET + 2 * POLL, world.news.changed()).await;
        assert!(told.is_err(), "reading was taken for a change");
    }

    #[tokio::test]
    async fn plugins_that_come_change_and_go_are_noticed_and_so_is_a_change_of_whom_to_trust() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(dir.path().join("plugins")).expect("writable");
        let news = start(Part::Plugins, dir.path().join("plugins"), Some(dir.path().join("trust.toml")));
        let mut world = World { dir, news: news.expect("there is room for a thread") };
        world.told("the start").await;
        fs::create_dir(world.path("plugins/a")).expect("writable");
        fs::write(world.path("plugins/a/plugin.toml"), "name = \"a\"").expect("writable");
        world.told("a plugin").await;
        // The kernel may tell of the folder and of its file one after the other.
        while tokio::time::timeout(QUIET + 2 * POLL, world.news.changed()).await.is_ok() {}
        fs::write(world.path("plugins/a/a.wasm"), "component").expect("writable");
        world.told("a component").await;
        while tokio::time::timeout(QUIET + 2 * POLL, world.news.changed()).await.is_ok() {}
        fs::write(world.path("trust.toml"), "revoked = []").expect("writable");
        world.told("the trust file").await;
        fs::write(world.path("neither"), "").expect("writable");
        let told = tokio::time::timeout(QUIET + 2 * POLL, world.news.changed()).await;
        assert!(told.is_err(), "what lies beside it says nothing");
        fs::remove_dir_all(world.path("plugins/a")).expect("writable");
        world.told("a plugin's end").await;
    }
}
