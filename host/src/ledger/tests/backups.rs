//! Backups: taken while calls run, restored elsewhere, and not restored if anything about them is not as it was.

use std::fs;
use std::path::Path;

use super::*;
use crate::store::tests::stop::Stop;

/// A world on what a backup was restored to.
pub(super) fn restored(world: &World, backup: &Path) -> World {
    let parent = tempfile::tempdir().expect("a temporary folder");
    restore(backup, &parent.path().join("data"), &world.store).expect("it can be restored");
    // The world's folder is the one that holds the data.
    let dir = tempfile::tempdir().expect("a temporary folder");
    fs::remove_dir(dir.path()).expect("removable");
    fs::rename(parent.path().join("data"), dir.path()).expect("movable");
    World::open(Arc::new(dir), world.store.clone(), LedgerConfig::default(), Arc::clone(&world.now)).expect("it opens")
}

pub(super) async fn back_up(world: &World, to: &Path) -> Result<Backup, LedgerError> {
    let (ledger, to) = (world.ledger.clone(), to.to_owned());
    tokio::task::spawn_blocking(move || ledger.backup(&to, "the tests")).await.expect("no panic")
}

#[tokio::test]
async fn what_a_backup_holds_is_there_after_restoring_it_and_so_is_a_backup_of_that() {
    let to = tempfile::tempdir().expect("a temporary folder");
    let world = World::new();
    let (short, long, running) = (write("key-1"), write("key-2"), write("key-3"));
    world.run(&short, &answer("paid")).await;
    world.run(&long, &answer(&"x".repeat(20_000))).await;
    let lease = world.lease(&running);
    let open = world.intent(&running, Some(lease)).await.expect("recorded");
    let first = back_up(&world, &to.path().join("first")).await.expect("it is taken");
    let tip = world.ledger.tip().expect("readable");
    assert_eq!((first.seq, first.tip), (tip.seq, tip.hash));
    world.end(open, Disposition::Done, &answer("paid later")).await.expect("recorded");
    world.run(&write("key-4"), &answer("after the backup")).await;

    let copy = restored(&world, &to.path().join("first"));
    assert_eq!(copy.recovery.outcome_unknown, 1, "it ran when the backup was taken");
    assert!(matches!(copy.claim(&short.again()), Ok(Claim::Replay(replay)) if replay.response == answer("paid")));
    assert!(matches!(copy.claim(&long.again()), Ok(Claim::Replay(replay)) if replay.response == answer(&"x".repeat(20_000))));
    assert!(matches!(copy.claim(&running.again()), Ok(Claim::Unknown { first }) if first == running.id));
    assert_eq!(copy.verified().open_calls, 0);
    copy.run(&write("key-5"), &answer("on the copy")).await;

    back_up(&copy, &to.path().join("second")).await.expect("it is taken");
    let again = restored(&copy, &to.path().join("second"));
    assert!(matches!(again.claim(&short.again()), Ok(Claim::Replay(replay)) if replay.response == answer("paid")));
    assert_eq!(again.verified().broken, None);
}

#[tokio::test]
async fn that_a_backup_is_taken_is_a_record_in_it_and_the_admin_token_is_not() {
    let to = tempfile::tempdir().expect("a temporary folder");
    let world = World::new();
    for name in ["admin-token", "admin-token.new"] {
        fs::write(world.dir.path().join("keys").join(name), "tga_secret").expect("writable");
    }
    let (backup, before) = (to.path().join("backup"), world.ledger.tip().expect("readable").seq);
    let taken = back_up(&world, &backup).await.expect("it is taken");
    assert_eq!(taken.seq, before + 1);
    let said = |world: &World| {
        let record = world.ledger.records(taken.seq, 1).expect("readable").pop().expect("the record");
        serde_json::from_slice::<serde_json::Value>(&record.body.expect("it can be read")).expect("JSON")
    };
    let act = serde_json::json!({ "action": "backup", "by": "the tests", "dir": backup });
    assert_eq!(said(&world), act);
    let has_token = |keys: PathBuf| {
        let mut names = fs::read_dir(keys).expect("readable").map(|entry| entry.expect("readable").file_name());
        names.any(|name| name.to_string_lossy().starts_with("admin-token"))
    };
    assert!(has_token(world.dir.path().join("keys")) && !has_token(backup.join("keys")));
    assert_eq!(said(&restored(&world, &backup)), act);
    // One that is refused at once was never begun.
    let tip = world.ledger.tip().expect("readable").seq;
    back_up(&world, &backup).await.expect_err("it is not empty");
    assert_eq!(world.ledger.tip().expect("readable").seq, tip);
}

#[tokio::test]
async fn a_backup_that_is_not_what_was_taken_is_not_restored() {
    let to = tempfile::tempdir().expect("a temporary folder");
    let world = World::new();
    world.run(&write("key-1"), &answer(&"x".repeat(20_000))).await;
    let backup = to.path().join("backup");
    back_up(&world, &backup).await.expect("it is taken");
    let data = to.path().join("data");
    let refused = |why: &str| {
        let refused = restore(&backup, &data, &world.store).expect_err("it must not be restored").to_string();
        assert!(refused.contains(why), "{refused}");
        assert!(!data.exists() && !to.path().join("data.restoring").exists(), "nothing was begun");
    };
    let body = fs::read_dir(backup.join("bodies")).expect("readable").next().expect("a body").expect("readable").path();
    for file in [backup.join("rows"), body, backup.join("keys/ledger.key")] {
        let whole = fs::read(&file).expect("readable");
        let mut changed = whole.clone();
        *changed.last_mut().expect("not empty") ^= 1;
        fs::write(&file, changed).expect("writable");
        refused("is not what was written");
        fs::remove_file(&file).expect("removable");
        refused("cannot read");
        fs::write(&file, whole).expect("writable");
    }
    let manifest = fs::read_to_string(backup.join("manifest.json")).expect("readable");
    fs::write(backup.join("manifest.json"), manifest.replace("\"format\": 2", "\"format\": 3")).expect("writable");
    refused("has format 3");
    fs::remove_file(backup.join("manifest.json")).expect("removable");
    refused("not finished");
    fs::write(backup.join("manifest.json"), manifest).expect("writable");
    fs::create_dir(&data).expect("creatable");
    fs::write(data.join("precious"), b"v").expect("writable");
    let occupied = restore(&backup, &data, &world.store).expect_err("it is not empty").to_string();
    assert!(occupied.contains("is not empty"), "{occupied}");
    fs::remove_file(data.join("precious")).expect("removable");
    restore(&backup, &data, &world.store).expect("into an empty folder it is restored");
}

#[tokio::test]
async fn a_backup_goes_into_a_folder_of_its_own() {
    let to = tempfile::tempdir().expect("a temporary folder");
    let world = World::new();
    world.run(&write("key-1"), &answer("paid")).await;
    fs::write(to.path().join("precious"), b"v").expect("writable");
    for (dir, why) in [
        (to.path().to_owned(), "is not empty"),
        (PathBuf::from("relative"), "absolute"),
        (world.dir.path().join("backup"), "outside the data folder"),
    ] {
        let refused = back_up(&world, &dir).await.expect_err("not there").to_string();
        assert!(refused.contains(why), "{refused}");
    }
    assert!(to.path().join("precious").exists() && !world.dir.path().join("backup").exists());
    // What can't be finished leaves nothing behind.
    let keys = world.dir.path().join("keys");
    fs::rename(&keys, world.dir.path().join("elsewhere")).expect("movable");
    assert!(back_up(&world, &to.path().join("half")).await.is_err());
    assert!(!to.path().join("half").exists());
}

/// Takes a backup on a thread that stops once the rows and bodies are copied, and the keys are not.
fn half_a_backup(world: &World, to: &Path) -> (Stop, std::thread::JoinHandle<Result<Backup, LedgerError>>) {
    // Named after what no other test backs up.
    let name = to.display().to_string();
    let stop = Stop::at("backup::copied", {
        let name = name.clone();
        move |thread| thread.name() == Some(&name)
    });
    let (ledger, to) = (world.ledger.clone(), to.to_owned());
    let thread = std::thread::Builder::new().name(name).spawn(move || ledger.backup(&to, "the tests")).expect("there is room");
    stop.reached();
    (stop, thread)
}

#[tokio::test]
async fn an_erasure_while_a_backup_is_taken_leaves_it_whole() {
    let to = tempfile::tempdir().expect("a temporary folder");
    let world = World::new();
    let call = write("key-1");
    world.run(&call, &answer("paid")).await;
    let (stop, backup) = half_a_backup(&world, &to.path().join("backup"));
    let tip = world.ledger.tip().expect("readable").seq;
    let (ledger, issuer) = (world.ledger.clone(), call.principal.issuer.clone());
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send(ledger.erase(&issuer, "u1", "ada", "asked").expect("writable")));
    while world.ledger.tip().expect("readable").seq == tip {
        std::thread::yield_now();
    }
    // It is written down by now, and waits for the backup.
    assert!(told.recv_timeout(Duration::from_millis(500)).is_err(), "the key is still to be copied");
    drop(stop);
    backup.join().expect("no panic").expect("it is taken");
    assert_eq!(told.recv().expect("it goes on"), 1);
    assert_eq!(world.verified().erased_bodies, 2);
    assert_eq!(restored(&world, &to.path().join("backup")).verified().erased_bodies, 0, "it is of the moment before");
}

#[tokio::test]
async fn erasures_while_a_backup_is_taken_have_their_turns_one_after_the_other_and_hold_one_thread() {
    let to = tempfile::tempdir().expect("a temporary folder");
    let world = World::new();
    let call = write("key-1");
    world.run(&call, &answer("paid")).await;
    let (stop, backup) = half_a_backup(&world, &to.path().join("backup"));
    let turn = world.ledger.erasure_turn().await;
    let (ledger, issuer) = (world.ledger.clone(), call.principal.issuer.clone());
    let first = tokio::task::spawn_blocking(move || {
        let _until_it_is_done = turn;
        ledger.erase(&issuer, "u1", "ada", "asked")
    });
    let next = tokio::time::timeout(Duration::from_millis(200), world.ledger.erasure_turn()).await;
    assert!(next.is_err() && !first.is_finished(), "the first one waits for the backup, the next one for the first");
    let next = world.ledger.erasure_turn();
    drop(stop);
    drop(next.await);
    assert_eq!(first.await.expect("no panic").expect("writable"), 1);
    backup.join().expect("no panic").expect("it is taken");
}

#[tokio::test]
async fn of_two_backups_at_once_the_second_is_refused_and_takes_nothing_from_the_first() {
    let to = tempfile::tempdir().expect("a temporary folder");
    let world = World::new();
    world.run(&write("key-1"), &answer("paid")).await;
    let (stop, first) = half_a_backup(&world, &to.path().join("first"));
    let tip = world.ledger.tip().expect("readable").seq;
    for name in ["first", "second"] {
        let refused = back_up(&world, &to.path().join(name)).await.expect_err("one at a time").to_string();
        assert!(refused.contains("another backup is being taken"), "{refused}");
    }
    assert_eq!(world.ledger.tip().expect("readable").seq, tip, "none was begun");
    assert!(!to.path().join("second").exists());
    drop(stop);
    first.join().expect("no panic").expect("it is taken");
    restored(&world, &to.path().join("first")).verified();
}
