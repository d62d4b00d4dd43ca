//! Files as sinks: they verify by themselves whatever happens to them, and nothing is left out in silence.

use std::fs::{self, File, OpenOptions};
use std::io::BufReader;
use std::path::Path;

use super::*;
use crate::ledger::export::verify_export;
use crate::ledger::sink::SinkConfig;

/// A ledger with one sink `copy`, started, whose file is `path`.
fn world_with(path: &Path, further: &str) -> World {
    let sink = format!("kind = \"file\"\npath = \"{}\"\n{further}", path.display());
    let sink: SinkConfig = toml::from_str(&sink).expect("a sink");
    let world = World::configured(LedgerConfig { sinks: BTreeMap::from([("copy".to_owned(), sink)]), ..LedgerConfig::default() });
    world.ledger.start_sinks().expect("the sink starts");
    world
}

impl World {
    /// The same ledger after a restart, with its sink.
    async fn restarted(self) -> Self {
        let world = self.reopen().await;
        world.ledger.start_sinks().expect("the sink starts");
        world
    }

    /// A file that verifies with the log's key: how many records it has.
    fn verified_file(&self, path: &Path) -> u64 {
        let file = BufReader::new(File::open(path).expect("the file is there"));
        let (verification, _) = verify_export(file, Some(self.ledger.public_key()), None).expect("it is an export");
        assert_eq!(verification.broken, None, "{}", path.display());
        verification.records
    }
}

/// The sequences of the records in a file of lines of an export.
fn sequences(path: &Path) -> Vec<u64> {
    let text = fs::read_to_string(path).expect("the file is there");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("lines are JSON"));
    lines.filter_map(|line| line["seq"].as_u64()).collect()
}

/// Waits until a file has the record `seq`.
async fn until_there(path: &Path, seq: u64) {
    let there = || fs::read_to_string(path).is_ok_and(|text| text.contains(&format!("{{\"seq\":{seq},")) && text.ends_with('\n'));
    let waited = async {
        while !there() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waited).await.unwrap_or_else(|_| panic!("record {seq} never came"));
}

#[tokio::test]
async fn a_file_is_an_export_that_goes_on_over_restarts() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("copy.jsonl");
    let mut world = world_with(&path, "batch = 3");
    for turn in 1..=3 {
        for number in 0..5 {
            world.run(&write(&format!("key-{turn}-{number}")), &answer("paid")).await;
        }
        world = world.restarted().await;
        let tip = world.ledger.tip().expect("readable").seq;
        assert_eq!(tip, turn * 11, "an intent and an outcome each, and a checkpoint at the end");
        assert_eq!(world.verified_file(&path), tip, "the end of the log is sent before it closes");
    }
}

#[tokio::test]
async fn what_a_crash_leaves_of_a_line_is_cut_off_and_nothing_comes_twice() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("copy.jsonl");
    let world = world_with(&path, "");
    world.run(&write("key-1"), &answer("paid")).await;
    let world = world.reopen().await;
    // As if the crash had come after the file was synced and before the cursor was, and in the middle of a line.
    let back = crate::ledger::keys::sink("copy");
    world
        .ledger
        .store()
        .commit(move |tx| {
            tx.delete(back);
            Ok::<_, LedgerError>(())
        })
        .await
        .expect("written");
    let whole = fs::read(&path).expect("there");
    fs::write(&path, [&whole[..], b"{\"seq\":4,\"at_ms\""].concat()).expect("written");
    world.ledger.start_sinks().expect("the sink starts");
    world.run(&write("key-2"), &answer("paid")).await;
    let world = world.reopen().await;
    assert_eq!(sequences(&path), (1..=6).collect::<Vec<_>>());
    assert_eq!(world.verified_file(&path), 6);
}

#[tokio::test]
async fn after_rotation_each_file_verifies_by_itself() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("copy.jsonl");
    let rotated = |number: u64| dir.path().join(format!("copy.jsonl.{number}"));
    let world = world_with(&path, "");
    for number in 1..=3 {
        world.run(&write(&format!("key-{number}")), &answer("paid")).await;
        until_there(&path, number * 2).await;
        fs::rename(&path, rotated(number)).expect("renamed");
        if number == 2 {
            // As some do: an empty file for whatever comes next.
            File::create(&path).expect("made");
        }
    }
    let open = world.intent(&write("key-4"), None).await.expect("an intent alone");
    until_there(&path, 7).await;
    fs::rename(&path, rotated(4)).expect("renamed");
    world.end(open, Disposition::Done, &answer("paid")).await.expect("recorded");
    until_there(&path, 8).await;
    // Cut to nothing in place, as others do.
    OpenOptions::new().write(true).open(&path).expect("there").set_len(0).expect("cut");
    world.run(&write("key-5"), &answer("paid")).await;
    let world = world.reopen().await;
    for number in 1..=3 {
        assert_eq!(world.verified_file(&rotated(number)), 2);
    }
    assert_eq!((sequences(&rotated(4)), world.verified_file(&rotated(4))), (vec![7], 1));
    assert_eq!((sequences(&path), world.verified_file(&path)), (vec![9, 10, 11], 3));
}

#[tokio::test]
async fn a_file_of_others_is_left_alone() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (path, other) = (dir.path().join("copy.jsonl"), dir.path().join("other.jsonl"));
    let others = world_with(&other, "");
    others.run(&write("key-1"), &answer("paid")).await;
    others.reopen().await;
    let foreign = fs::read(&other).expect("there");
    for content in [&b"root:x:0:0\n"[..], b"no line break", b"{}\n{\"torn", &foreign] {
        fs::write(&path, content).expect("written");
        let world = world_with(&path, "");
        world.run(&write("key-1"), &answer("paid")).await;
        let world = world.reopen().await;
        assert_eq!(fs::read(&path).expect("there"), content);
        // Moved away as the message says, everything arrives.
        fs::remove_file(&path).expect("removed");
        let world = world.restarted().await.reopen().await;
        assert_eq!(world.verified_file(&path), world.ledger.tip().expect("readable").seq);
        fs::remove_file(&path).expect("removed");
    }
}

#[tokio::test]
async fn what_a_sink_misses_is_in_the_log_and_the_file_begins_anew() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("copy.jsonl");
    let world = world_with(&path, "max_backlog = 10");
    world.run(&write("key-0"), &answer("paid")).await;
    let world = world.reopen().await;
    for number in 1..=20 {
        world.run(&write(&format!("key-{number}")), &answer("paid")).await;
    }
    let world = world.restarted().await.reopen().await;
    let skipped: Vec<Value> = world.bodies().into_iter().filter(|(kind, _)| *kind == Kind::Admin).map(|(_, body)| body).collect();
    let expected =
        json!({ "action": "sink_skipped", "from": 4, "reason": "the sink was too far behind", "sink": "copy", "to": 35 });
    assert_eq!(skipped, [expected], "44 records were there, 9 of them may still come");
    let aside = dir.path().join("copy.jsonl.until-3");
    assert_eq!((sequences(&aside), world.verified_file(&aside)), (vec![1, 2, 3], 3));
    let tip = world.ledger.tip().expect("readable").seq;
    assert_eq!(sequences(&path), (36..=tip).collect::<Vec<_>>());
    assert_eq!(world.verified_file(&path), tip - 35);
}

#[tokio::test]
async fn a_file_that_lost_its_end_gets_it_again() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("copy.jsonl");
    let world = world_with(&path, "");
    world.run(&write("key-1"), &answer("paid")).await;
    let world = world.reopen().await;
    let whole = fs::read_to_string(&path).expect("there");
    let two: Vec<&str> = whole.split_inclusive('\n').take(2).collect();
    fs::write(&path, two.concat()).expect("written");
    let world = world.restarted().await.reopen().await;
    assert!(fs::read_to_string(&path).expect("there").starts_with(&whole));
    assert_eq!(world.verified_file(&path), world.ledger.tip().expect("readable").seq);
}
