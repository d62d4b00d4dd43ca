//! Faults that do not end the host: a full disk, a folder that can't be written, a disk that fails, a commit that panics. While
//! one lasts nothing runs and callers are told so; when it ends the host serves again by itself, and log, backend and callers
//! agree.

use std::cell::RefCell;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Habits, Scene, Started, seed};

/// How long a fault may take to show, or the host to get over its end.
const PATIENCE: Duration = Duration::from_secs(60);

/// No reserve: the disk is to be filled to the last byte.
const NO_RESERVE: &str = "[store]\nmin_free = \"0B\"\n";

/// Fewer slots than callers, and hardly any patience: most calls go through the durable queue.
const CROWDED: &str = "[admission]\nslots = 4\nsync_budget = \"5ms\"\n";

/// Waits until the admin listener says whether calls are served, and answers what else it says.
fn wait_until_ready(host: &Started, ready: bool) -> String {
    let begun = Instant::now();
    loop {
        let (status, body) = host.admin("/readyz");
        if (status == 200) == ready {
            return body;
        }
        assert!(begun.elapsed() < PATIENCE, "still {status}: {body}");
        std::thread::yield_now();
    }
}

/// A counter of the host.
fn count(host: &Started, name: &str) -> u64 {
    let metrics = host.admin("/metrics").1;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    line.unwrap_or_default()
}

/// Lets callers work until `fault` has the host refuse everything; then nothing runs, until `mend` ends it and work goes on.
fn a_fault_passes(config: &str, prepare: impl FnOnce(&Path), fault: impl FnOnce(&Path), mend: impl FnOnce(&Path)) {
    let seed = seed();
    let mut scene = Scene::new(seed).config(config);
    let data = scene.data();
    prepare(&data);
    let mut host = scene.host().start();
    let load = scene.load(&host, Habits::default());
    load.wait_for(30).expect("it lives");
    fault(&data);
    let why = wait_until_ready(&host, false);
    assert!(why.contains("the store takes no writes"), "{why}");
    load.end();

    let client = host.client();
    for attempt in 0..5 {
        let refused = json!({"user_id": "u1", "amount_cents": 1, "description": format!("refused-{attempt}-00000")});
        let refused = client.call_keyed("create_invoice", refused, &format!("refused-{attempt}-00000"));
        assert_eq!(refused.error(), "audit_unavailable", "{refused:?}");
        assert_eq!(refused.envelope()["effect"], json!("none"));
        assert_eq!(client.call("list_invoices", json!({"user_id": "u1"})).error(), "audit_unavailable");
    }

    mend(&data);
    wait_until_ready(&host, true);
    assert_eq!(count(&host, "tidegate_store_reopenings_total"), 1, "{}", host.log());
    works_and_agrees(&mut scene, &mut host, seed);
}

/// Asks for all that was in question, works on, stops, and holds log, backend and callers against each other.
fn works_and_agrees(scene: &mut Scene, host: &mut Started, seed: u64) {
    scene.recheck(host).expect("it lives");
    let load = scene.load(host, Habits::default());
    load.wait_for(30).expect("it lives");
    load.end();
    scene.recheck(host).expect("it lives");
    assert!(host.stop("-TERM").success(), "{}", host.log());
    // No effect without an intent before it, no intent without exactly one outcome, an unbroken chain, nothing told that is not so.
    let (problems, records) = scene.inspect();
    assert!(problems.is_empty(), "with TIDEGATE_SEED={seed}, {records} records:\n{}", problems.join("\n"));
}

#[test]
fn on_a_full_disk_nothing_runs_and_with_room_again_work_goes_on() {
    let mut disk = None;
    let filler = |data: &Path| data.join("filler");
    a_fault_passes(
        NO_RESERVE,
        |data| disk = Some(Small::mounted_at(data)),
        |data| {
            let mut file = fs::File::create(filler(data)).expect("there is room");
            let block = [7; 64 << 10];
            while file.write_all(&block).is_ok() {}
            while file.write_all(&block[..512]).is_ok() {}
        },
        |data| fs::remove_file(filler(data)).expect("removable"),
    );
}

#[test]
fn in_a_folder_that_cannot_be_written_nothing_runs_and_when_it_can_work_goes_on() {
    let frozen = RefCell::new(None);
    a_fault_passes("", |_| {}, |data| *frozen.borrow_mut() = Some(Frozen::new(data)), |_| *frozen.borrow_mut() = None);
}

#[test]
fn a_disk_that_fails_to_sync_is_given_time() {
    // The first one that fails takes down the store, the others are attempts to get it back.
    a_failpoint_passes("", "store::sync=40*off->4*return->off");
}

#[test]
fn a_commit_that_panics_takes_nothing_with_it_that_was_promised() {
    a_failpoint_passes("", "store::commit=100*off->1*panic->off");
}

#[test]
fn calls_that_wait_when_a_disk_fails_to_sync_run_afterwards() {
    a_failpoint_passes(CROWDED, "store::sync=40*off->4*return->off");
}

#[test]
fn calls_that_wait_when_a_commit_panics_run_afterwards() {
    a_failpoint_passes(CROWDED, "store::commit=100*off->1*panic->off");
}

/// Lets callers work through a fault that comes and goes by itself.
fn a_failpoint_passes(config: &str, failpoints: &str) {
    let seed = seed();
    let mut scene = Scene::new(seed).config(config);
    let mut host = scene.host().failing(failpoints).start();
    let load = scene.load(&host, Habits::default());
    let begun = Instant::now();
    while count(&host, "tidegate_store_failures_total") == 0 {
        assert!(begun.elapsed() < PATIENCE, "the fault never came");
        std::thread::yield_now();
    }
    load.end();
    wait_until_ready(&host, true);
    assert_eq!(count(&host, "tidegate_store_failures_total"), 1);
    assert_eq!(count(&host, "tidegate_store_reopenings_total"), 1, "{}", host.log());
    works_and_agrees(&mut scene, &mut host, seed);
}

#[test]
fn a_start_that_dies_while_it_writes_the_store_anew_leaves_a_whole_one() {
    let seed = seed();
    let mut scene = Scene::new(seed);
    let mut host = scene.host().start();
    let load = scene.load(&host, Habits::default());
    load.wait_for(30).expect("it lives");
    load.end();
    assert!(host.stop("-TERM").success());
    for (crash, is_new) in [("compact::written", false), ("compact::exchanged", true)] {
        let old = fs::metadata(scene.data().join("store")).expect("it is there").ino();
        let died = scene.host().failing(&format!("compact::worth=return;{crash}=return")).try_start();
        assert!(died.is_err(), "{crash} was never reached");
        let now = fs::metadata(scene.data().join("store")).expect("it is there").ino();
        assert_eq!(now != old, is_new, "{crash}");
        let mut host = scene.host().start();
        assert!(!scene.data().join("store.compact").exists(), "what is left of it is removed");
        works_and_agrees(&mut scene, &mut host, seed);
    }
    let mut host = scene.host().failing("compact::worth=return").start();
    assert!(host.log().contains("written anew"), "{}", host.log());
    works_and_agrees(&mut scene, &mut host, seed);
}

/// A disk in memory that is soon full; gone when dropped.
struct Small(PathBuf);

impl Small {
    fn mounted_at(path: &Path) -> Self {
        fs::create_dir_all(path).expect("the folder can be made");
        run("mount", Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m,mode=0700", "none"]).arg(path));
        Self(path.to_owned())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// The folders and the log of a store, made unwritable; writable again when dropped.
struct Frozen([PathBuf; 3]);

impl Frozen {
    fn new(data: &Path) -> Self {
        let frozen = Self([data.join("store/db"), data.join("store"), data.to_owned()]);
        // Root may write into whatever it has the mode to; this the file system refuses to everybody.
        run("chattr", Command::new("chattr").arg("+i").args(&frozen.0));
        frozen
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = Command::new("chattr").arg("-i").args(&self.0).status();
    }
}

fn run(what: &str, command: &mut Command) {
    let said = match command.output() {
        Ok(output) if output.status.success() => return,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    panic!("the fault can't be made, because `{what}` failed: {}\nIt needs root and ext4.", said.trim());
}
