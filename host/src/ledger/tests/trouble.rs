//! Crashes, lost tasks, slow disks, missing keys: no intent without exactly one outcome, whatever happens.

use std::os::unix::fs::PermissionsExt;

use super::faults::unwaited;
use super::*;

#[tokio::test]
async fn a_crash_between_intent_and_outcome_is_closed_at_the_next_start_once() {
    let world = World::new();
    let (paying, reading) = (write("key-w"), read("key-r"));
    let lease = world.lease(&paying);
    let _paying = world.intent(&paying, Some(lease)).await.expect("recorded");
    let lease = world.lease(&reading);
    let _reading = world.intent(&reading, Some(lease)).await.expect("recorded");
    let world = world.crash();
    assert_eq!((world.recovery.interrupted, world.recovery.outcome_unknown), (1, 1));
    assert_eq!(ended_as(&world, &paying), ["outcome_unknown"]);
    assert_eq!(ended_as(&world, &reading), ["interrupted"]);
    assert!(matches!(world.claim(&paying.again()), Ok(Claim::Unknown { first }) if first == paying.id));
    drop(world.lease(&reading.again()));
    assert_eq!((world.status(&paying), world.status(&reading)), (Some(CallStatus::Unknown), Some(CallStatus::Released)));
    assert_eq!(world.verified().open_calls, 0);

    let world = world.crash();
    assert_eq!((world.recovery.interrupted, world.recovery.outcome_unknown), (0, 0));
    assert_eq!(ended_as(&world, &paying).len(), 1);
}

#[tokio::test]
async fn hundreds_of_open_calls_are_closed_after_a_crash() {
    let world = World::new();
    let mut open = Vec::new();
    for n in 0..300 {
        let call = write(&format!("key-{n}"));
        let lease = world.lease(&call);
        open.push(world.intent(&call, Some(lease)).await.expect("recorded"));
    }
    // Places are given back and taken again.
    for intent in open.drain(50..200) {
        world.end(intent, Disposition::Done, &answer("paid")).await.expect("recorded");
    }
    for n in 300..320 {
        let call = write(&format!("key-{n}"));
        let lease = world.lease(&call);
        open.push(world.intent(&call, Some(lease)).await.expect("recorded"));
    }
    let world = world.crash();
    assert_eq!(world.recovery.outcome_unknown, 170);
    assert_eq!((world.verified().records, world.verified().open_calls), (640, 0));
}

#[tokio::test]
async fn an_intent_that_is_dropped_gets_its_outcome() {
    let world = World::new();
    let (paying, reading) = (write("key-w"), read("key-r"));
    for call in [&paying, &reading] {
        let lease = world.lease(call);
        drop(world.intent(call, Some(lease)).await.expect("recorded"));
    }
    world.settle().await;
    assert_eq!(ended_as(&world, &paying), ["outcome_unknown"]);
    assert_eq!(ended_as(&world, &reading), ["interrupted"]);
    assert!(matches!(world.claim(&paying.again()), Ok(Claim::Unknown { .. })));
    drop(world.lease(&reading.again()));
    assert_eq!(world.verified().open_calls, 0);
}

#[tokio::test]
async fn an_intent_nobody_waited_for_is_closed_as_not_started() {
    let world = World::new();
    let call = write("key-1");
    // The caller's key is at hand, as it is but for a caller's first call.
    world.ledger.inner.subject_key(&call.principal).await.expect("it can be made");
    let lease = world.lease(&call);
    let intent = unwaited(&world, world.intent(&call, Some(lease))).await;
    assert!(matches!(intent, Err(LedgerError::Store(crate::store::StoreError::Timeout { .. }))), "{intent:?}");
    assert_eq!(ended_as(&world, &call), ["not_started"]);
    world.run(&call.again(), &answer("paid")).await;
    assert_eq!(world.verified().open_calls, 0);
}

#[tokio::test]
async fn an_intent_given_up_before_its_turn_leaves_nothing() {
    let world = World::new();
    let call = write("key-1");
    let lease = world.lease(&call);
    let (free, held) = std::sync::mpsc::channel::<()>();
    drop(world.ledger.store().submit::<_, LedgerError, _>(None, Urgency::Now, move |_| Ok(held.recv().is_ok())));
    let given_up = tokio::time::timeout(Duration::from_millis(20), world.intent(&call, Some(lease))).await;
    assert!(given_up.is_err());
    free.send(()).expect("the writer thread is held");
    world.settle().await;
    assert_eq!(world.ledger.tip().expect("readable").seq, 0);
    drop(world.lease(&call.again()));
}

#[tokio::test]
async fn a_call_that_is_not_open_gets_no_outcome() {
    let world = World::new();
    let call = write("key-1");
    let intent = world.intent(&call, None).await.expect("recorded");
    // As if another outcome had come before: it takes the entry of the open call away.
    let forget = |tx: &mut Tx<'_>| {
        tx.delete(keys::open(0));
        Ok::<_, LedgerError>(())
    };
    world.ledger.store().commit(forget).await.expect("writable");
    let second = world.end(intent, Disposition::Done, &answer("paid")).await;
    assert!(matches!(second, Err(LedgerError::NotOpen { .. })), "{second:?}");
    assert_eq!(world.ledger.tip().expect("readable").seq, 1, "nothing was written");
}

#[tokio::test]
async fn a_secret_that_cannot_be_trusted_is_refused() {
    let world = World::new();
    world.run(&write("key-1"), &answer("paid")).await;
    let path = world.dir.path().join("keys/ledger.key");
    let secret = std::fs::read_to_string(&path).expect("there");
    let mode = std::fs::metadata(&path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    world.ledger.close().await.expect("closes");
    let World { dir, store, now, ledger, .. } = world;
    drop(ledger);
    let open = || loop {
        match World::open(Arc::clone(&dir), store.clone(), LedgerConfig::default(), Arc::clone(&now)) {
            // The store of the last refusal is still being closed by its own thread.
            Err(LedgerError::Store(crate::store::StoreError::InUse { .. })) => std::thread::yield_now(),
            opened => break opened.map(|world| world.ledger),
        }
    };

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("changeable");
    assert!(refusal(open()).contains("chmod 600"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("changeable");
    std::fs::write(&path, &secret[..30]).expect("writable");
    assert!(refusal(open()).contains("damaged"));
    std::fs::remove_file(&path).expect("removable");
    assert!(refusal(open()).contains("missing"));
    let other = World::new();
    std::fs::copy(other.dir.path().join("keys/ledger.key"), &path).expect("copyable");
    assert!(refusal(open()).contains("not the one"));
    std::fs::write(&path, &secret).expect("writable");
    open().expect("the right one opens");
}

fn refusal(opened: Result<Ledger, LedgerError>) -> String {
    opened.err().expect("it must not open").to_string()
}

#[tokio::test]
async fn a_first_start_that_was_cut_off_is_finished() {
    let world = World::new();
    let keys = world.dir.path().join("keys");
    world.ledger.close().await.expect("closes");
    // As a crash between remembering the secret and putting it in its place leaves it.
    std::fs::rename(keys.join("ledger.key"), keys.join("ledger.key.new")).expect("movable");
    let world = world.open_again().expect("the secret aside is the right one");
    assert!(keys.join("ledger.key").exists());
    world.run(&write("key-1"), &answer("paid")).await;
}

#[tokio::test]
async fn a_low_disk_refuses_new_calls_and_still_gives_old_answers() {
    let world = World::new();
    let first = write("key-1");
    world.run(&first, &answer("paid")).await;
    let World { dir, store, now, ledger, .. } = world;
    ledger.close().await.expect("closes");
    drop(ledger);
    let low = StoreConfig { min_free: Bytes(u64::MAX), ..store };
    let world = World::open(dir, low, LedgerConfig::default(), now).expect("a low disk is no reason not to open");
    assert!(matches!(world.claim(&first.again()), Ok(Claim::Replay(_))));
    let call = write("key-2");
    let lease = world.lease(&call);
    let refused = world.intent(&call, Some(lease)).await.expect_err("no new work");
    assert!(refused.to_string().contains("min_free"), "{refused}");
    assert_eq!(world.ledger.tip().expect("readable").seq, 3, "the two of the first call, and a checkpoint");
    drop(world.lease(&call.again()));
}
