//! The data folder: who may use it, what happens when it is damaged, and when its disk fills up.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::reopening::reopened;
use super::*;

#[tokio::test]
async fn a_folder_in_use_is_refused_with_the_culprit() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = open(dir.path());
    let refused = Store::open(dir.path(), &config()).expect_err("one process, one folder");
    let text = refused.to_string();
    assert!(text.contains(&format!("process {}", std::process::id())) && text.contains("--data"), "{text}");
    store.close().await.expect("the store closes cleanly");
    open(dir.path()).close().await.expect("the folder is free again");
}

#[test]
fn a_folder_of_another_version_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    fs::write(dir.path().join("format"), "5\n").expect("writable");
    let refused = Store::open(dir.path(), &config()).expect_err("format 5 is not known");
    assert!(matches!(refused, StoreError::NewerFormat { found: 5, known: 4, .. }), "{refused}");
    fs::write(dir.path().join("format"), "1\n").expect("writable");
    let refused = Store::open(dir.path(), &config()).expect_err("format 1 is not read any more");
    assert!(matches!(refused, StoreError::OlderFormat { found: 1, known: 4, .. }), "{refused}");
    fs::write(dir.path().join("format"), "two").expect("writable");
    assert!(matches!(Store::open(dir.path(), &config()), Err(StoreError::Damaged { .. })));
}

#[tokio::test]
async fn a_folder_of_the_version_before_is_read_and_from_then_on_refused_by_that_version() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = open(dir.path());
    put(&store, "k", b"v").await.expect("the commit is durable");
    store.close().await.expect("the store closes cleanly");
    fs::write(dir.path().join("format"), "2\n").expect("writable");
    assert_eq!(open(dir.path()).get(b"k").expect("readable"), Some(b"v".to_vec()));
    assert_eq!(fs::read_to_string(dir.path().join("format")).expect("readable"), "4\n");
}

#[test]
fn nobody_else_may_look_into_the_folder() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let dir = parent.path().join("data");
    let _store = open(&dir);
    for folder in [dir.clone(), dir.join("store"), dir.join("bodies")] {
        let mode = fs::metadata(&folder).expect("it exists").permissions().mode() & 0o777;
        assert_eq!(mode, 0o700, "{}", folder.display());
    }
}

#[tokio::test]
async fn an_unfinished_snapshot_does_not_keep_the_store_shut() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = open(dir.path());
    put(&store, "k", b"v").await.expect("the commit is durable");
    store.close().await.expect("the store closes cleanly");
    fs::write(dir.path().join("store/snap.FFFFFFFFFFFFFFFF.generating"), b"half").expect("writable");
    assert_eq!(open(dir.path()).get(b"k").expect("readable"), Some(b"v".to_vec()));
}

#[tokio::test]
async fn a_damaged_snapshot_is_set_aside_and_nothing_is_lost() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = open(dir.path());
    put(&store, "k", b"v").await.expect("the commit is durable");
    store.close().await.expect("the store closes cleanly");
    fs::write(dir.path().join("store/snap.FFFFFFFFFFFFFFFF"), b"not a snapshot").expect("writable");
    assert_eq!(open(dir.path()).get(b"k").expect("readable"), Some(b"v".to_vec()));
    let kept = fs::read_dir(dir.path().join("store"))
        .expect("readable")
        .any(|entry| entry.expect("readable").file_name().to_string_lossy().starts_with("damaged."));
    assert!(kept, "what was moved is kept");
}

#[tokio::test]
async fn a_damaged_store_says_so_and_names_the_way_out() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = open(dir.path());
    put(&store, "k", b"v").await.expect("the commit is durable");
    store.close().await.expect("the store closes cleanly");
    fs::write(dir.path().join("store/conf"), b"these are not the engine's settings").expect("writable");
    let refused = Store::open(dir.path(), &config()).expect_err("the engine's settings are lost");
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
    assert!(refused.to_string().contains("backup"), "{refused}");
}

#[tokio::test]
async fn new_work_is_refused_on_a_low_disk_but_begun_work_is_finished() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = StoreConfig { min_free: Bytes(u64::MAX), ..StoreConfig::default() };
    let store = Store::open(dir.path(), &config).expect("an empty folder opens");
    let refused = put(&store, "k", b"v").await.expect_err("no disk is that empty");
    assert!(refused.to_string().contains("min_free"), "{refused}");
    assert!(store.check_space().is_err());
    let finish = store.submit::<_, StoreError, _>(None, Urgency::Now, |tx| tx.put(b"k".to_vec(), b"v".to_vec()));
    finish.durable().await.expect("what has begun may be written down");
    assert!(store.is_open(), "a low disk is no failure");
}

/// A small file system of its own, gone with the value.
pub(crate) struct Mounted(tempfile::TempDir);

impl Mounted {
    pub(crate) fn new(size: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        run("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "none"], dir.path());
        Self(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn resize(&self, size: &str) {
        run("mount", &["-o", &format!("remount,size={size}")], self.0.path());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &["-l"], self.0.path());
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) {
    let status = Command::new(program).args(arguments).arg(path).status().expect("the program starts");
    assert!(status.success(), "{program} {arguments:?} failed; it needs root");
}

#[tokio::test]
async fn a_full_disk_shuts_the_store_until_there_is_room_and_loses_nothing_that_was_answered() {
    let disk = Mounted::new("24m");
    let dir = disk.path().join("data");
    let store = Store::open(&dir, &config()).expect("an empty folder opens");
    let mut answered = Vec::new();
    let failure = loop {
        let key = format!("k/{:08}", answered.len());
        match put(&store, &key, &[7; 3000]).await {
            Ok(()) => answered.push(key),
            Err(error) => break error,
        }
        assert!(answered.len() < 100_000, "24 MiB do not hold that much");
    };
    assert!(matches!(&failure, StoreError::Closed { why } if why.contains("opened anew")), "{failure}");
    assert!(!store.is_open());
    assert!(matches!(put(&store, "before", b"v").await, Err(StoreError::Closed { .. })), "it stays shut");

    disk.resize("128m");
    reopened(&store).await;
    for key in &answered {
        assert!(store.get(key.as_bytes()).expect("readable").is_some(), "{key} was answered and is lost");
    }
    put(&store, "after", b"v").await.expect("it takes writes again");
    assert!(answered.len() > 100, "{}", answered.len());
    store.close().await.expect("the store closes cleanly");
    let store = Store::open(&dir, &config()).expect("what was closed cleanly opens");
    assert_eq!(store.get(b"after").expect("readable"), Some(b"v".to_vec()));
}
