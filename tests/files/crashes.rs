//! Writes that do not come to their end: a host that dies in the middle, a disk that is full.

use std::process::Command;
use std::time::{Duration, Instant};

use super::*;

/// Waits until something is so.
fn until(what: &str, is: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is() {
        assert!(Instant::now() < deadline, "{what} never came");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A file that is larger than what a disk writes at once.
fn long(letter: char) -> String {
    letter.to_string().repeat(300 << 10)
}

#[test]
fn a_host_that_dies_in_the_middle_of_a_write_leaves_the_old_content_or_the_new() {
    for (failpoint, is_new) in [("directory::written", false), ("directory::renamed", true)] {
        let mut granted = Granted::start_with("files", "", |host| host.failing(&format!("{failpoint}=return")));
        std::fs::write(granted.at("notes/b.txt"), long('a')).expect("written");
        let write = json!({"name": "write_file", "arguments": {"path": "notes/b.txt", "content": long('b')},
                           "_meta": {"dev.tidegate/idempotency-key": "files-crash-000001"}});
        assert!(granted.host.client().try_call(write.clone()).is_err(), "the host died before it could answer");
        granted.host.ended();
        assert!(granted.content("notes/b.txt") == long(if is_new { 'b' } else { 'a' }), "{failpoint}");

        assert_eq!(granted.names("notes").len(), if is_new { 1 } else { 2 }, "{failpoint}");
        let again = Host::dev(granted._plugins.path()).config(&config(granted.folder.path(), "")).on(&granted.host.data).start();
        let retried = again.client().try_call(write).expect("the host lives");
        assert_eq!(
            (retried.error().as_str(), &retried.envelope()["effect"]),
            ("outcome_unknown", &json!("possible")),
            "{retried:?}"
        );
        let listed = again.client().call("list_directory", json!({"path": "notes"}));
        assert_eq!(text(&listed), "[FILE] b.txt", "what was on its way is not shown");
        until("what was on its way is gone", || !granted.names("notes").iter().any(|name| name.starts_with(".tidegate-")));
        let key = json!({"dev.tidegate/idempotency-key": "files-crash-000002"});
        let anew = json!({"name": "write_file", "arguments": {"path": "notes/b.txt", "content": long('c')}, "_meta": key});
        text(&again.client().try_call(anew).expect("the host lives"));
        assert!(granted.content("notes/b.txt") == long('c'));
    }
}

/// A small disk in memory; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mounted_at(path: PathBuf) -> Self {
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(&path).status().expect("it runs");
        assert!(mounted.success(), "it needs root to mount a disk of its own; a test without it would prove nothing");
        Self(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn on_a_full_disk_nothing_is_written_and_what_was_there_stays() {
    let granted = Granted::start("files", "");
    let _disk = SmallDisk::mounted_at(granted.at("notes"));
    std::fs::write(granted.at("notes/b.txt"), "kept").expect("written");
    let full = granted.write("write_file", json!({"path": "notes/b.txt", "content": long('x')}), "files-full-0000001");
    assert!(message(&full).contains("the disk is full"), "{full:?}");
    assert_eq!(granted.content("notes/b.txt"), "kept");
    assert_eq!(granted.names("notes"), ["b.txt"], "and nothing of it is left");
    crate::harness::until_back(|| {
        granted.write("write_file", json!({"path": "notes/b.txt", "content": "new"}), "files-full-0000002")
    });
    assert_eq!(granted.content("notes/b.txt"), "new");
}

#[test]
fn a_write_whose_time_is_over_never_lands_and_its_key_is_free() {
    let slow = |host: Host| host.failing("directory::written=1*sleep(4000)->off");
    let granted = Granted::start_with("files", "timeout = \"1s\"", slow);
    let first = || granted.write("write_file", json!({"path": "notes/b.txt", "content": "late"}), "files-late-0000001");
    let late = first();
    let envelope = late.envelope();
    assert_eq!((late.error().as_str(), &envelope["effect"]), ("backend_timeout", &json!("none")), "{late:?}");
    assert_eq!(granted.content("notes/b.txt"), "one\ntwo\n");
    // Whoever changes something in the directory waits until the first, of whom nobody knows any more, is gone.
    crate::harness::until_back(|| {
        granted.write("write_file", json!({"path": "notes/c.txt", "content": "in time"}), "files-late-0000002")
    });
    assert_eq!(granted.content("notes/b.txt"), "one\ntwo\n", "what nobody waited for did not come");
    assert_eq!(granted.names("notes"), ["b.txt", "c.txt"], "and nothing of it is left");
    let again = first();
    assert!(!again.is_replayed() && text(&again).contains("Successfully"), "{again:?}");
    assert_eq!(granted.content("notes/b.txt"), "late");
}

#[test]
fn what_was_refused_did_nothing_and_the_same_key_may_try_again() {
    let granted = Granted::start("files", "");
    let write = || granted.write("write_file", json!({"path": "notes/sub/b.txt", "content": "new"}), "files-refused-free-1");
    std::fs::rename(granted.at("notes"), granted.at("gone")).expect("moved");
    let gone = write();
    assert_eq!((gone.error().as_str(), &gone.envelope()["effect"]), ("backend_unavailable", &json!("none")), "{gone:?}");
    std::fs::rename(granted.at("gone"), granted.at("notes")).expect("moved");
    let missing = write();
    assert_eq!((missing.error().as_str(), &missing.envelope()["effect"]), ("not_found", &json!("none")), "{missing:?}");
    std::fs::create_dir(granted.at("notes/sub")).expect("made");
    let done = write();
    assert!(!done.is_replayed() && text(&done).contains("Successfully"), "{done:?}");
    assert!(write().is_replayed(), "what was done is done once");
    assert_eq!(granted.content("notes/sub/b.txt"), "new");
}
