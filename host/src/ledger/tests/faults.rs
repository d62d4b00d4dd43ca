//! Faults of the store while the host runs: nothing runs unrecorded, nothing stays open that nobody ends, and work goes on.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::doomed::{impatient, timed_out};
use super::*;
use crate::store::StoreError;
use crate::store::tests::folder::Mounted;
use crate::store::tests::reopening::reopened;

/// Holds the writer thread until the sender is dropped or used: what is handed in meanwhile becomes one group.
pub(super) fn hold(world: &World) -> Sender<()> {
    let (free, arrived) = about_to_hold(world);
    // Else what is handed in next could become one group with this.
    arrived.recv().expect("it has its turn");
    free
}

/// Holds the writer thread from when it tells so until the sender is dropped or used.
fn about_to_hold(world: &World) -> (Sender<()>, Receiver<()>) {
    let ((free, held), (arrives, arrived)) = (channel::<()>(), channel());
    let wait = move |_: &mut Tx<'_>| Ok(arrives.send(()).is_ok() && held.recv().is_ok());
    drop(world.ledger.store().submit::<_, LedgerError, _>(None, Urgency::Now, wait));
    (free, arrived)
}

/// Makes the group fail that this gets into.
pub(super) fn fail(world: &World) {
    drop(world.ledger.store().submit::<(), LedgerError, _>(None, Urgency::Now, |_| panic!("a fault")));
}

/// Fails the store while it does nothing.
pub(super) async fn fail_alone(world: &World) {
    let panicked: Result<(), LedgerError> = world.ledger.store().commit(|_| panic!("a fault")).await;
    assert!(matches!(panicked, Err(LedgerError::Store(StoreError::Closed { .. }))), "{panicked:?}");
}

#[tokio::test]
async fn a_store_that_failed_refuses_claims_and_intents_until_it_is_open_again() {
    let world = World::new();
    let call = write("key-1");
    let lease = world.lease(&call);
    fail_alone(&world).await;
    let refused = world.intent(&call, Some(lease)).await.expect_err("nothing can be recorded");
    assert!(refused.to_string().contains("takes no writes"), "{refused}");
    assert!(world.claim(&call.again()).is_err());
    reopened(world.ledger.store()).await;
    world.run(&call.again(), &answer("paid")).await;
    assert_eq!((world.verified().records, world.verified().open_calls), (2, 0));
}

#[tokio::test]
async fn a_call_that_runs_through_a_fault_gets_its_true_outcome() {
    let world = World::new();
    let (early, late) = (write("key-early"), write("key-late"));
    let lease = world.lease(&early);
    let early_intent = world.intent(&early, Some(lease)).await.expect("recorded");
    let lease = world.lease(&late);
    let late_intent = world.intent(&late, Some(lease)).await.expect("recorded");
    fail_alone(&world).await;
    // Ends while the store is shut: it waits for the store.
    world.end(early_intent, Disposition::Done, &answer("early")).await.expect("recorded once the store is open again");
    assert_eq!(world.status(&late), Some(CallStatus::Running));
    assert!(matches!(world.claim(&late.again()), Ok(Claim::InFlight { first, .. }) if first == late.id));
    world.end(late_intent, Disposition::Done, &answer("late")).await.expect("recorded");
    for (call, text) in [(&early, "early"), (&late, "late")] {
        assert_eq!(ended_as(&world, call), ["completed"]);
        assert!(matches!(world.claim(&call.again()), Ok(Claim::Replay(replay)) if replay.response == answer(text)));
    }
    assert_eq!(world.verified().open_calls, 0);
}

#[tokio::test]
async fn outcomes_that_a_fault_swallows_are_unknown_or_interrupted() {
    let world = World::new();
    let (paying, reading) = (write("key-w"), read("key-r"));
    let lease = world.lease(&paying);
    let paid = world.intent(&paying, Some(lease)).await.expect("recorded");
    let lease = world.lease(&reading);
    let read = world.intent(&reading, Some(lease)).await.expect("recorded");
    let free = hold(&world);
    let break_it = async {
        fail(&world);
        free.send(()).expect("the writer thread is held");
    };
    let (paid_answer, read_answer) = (answer("paid"), answer("read"));
    let (told, _, ()) = tokio::join!(
        world.end(paid, Disposition::Done, &paid_answer),
        world.end(read, Disposition::Done, &read_answer),
        break_it
    );
    assert!(matches!(told, Err(LedgerError::Store(StoreError::Closed { .. }))), "{told:?}");
    reopened(world.ledger.store()).await;
    assert_eq!(ended_as(&world, &paying), ["outcome_unknown"]);
    assert_eq!(ended_as(&world, &reading), ["interrupted"]);
    assert!(matches!(world.claim(&paying.again()), Ok(Claim::Unknown { first }) if first == paying.id));
    world.run(&reading.again(), &answer("read")).await;
    world.settle().await;
    assert_eq!(world.verified().open_calls, 0);
    // Their places are given out again, and to one call each.
    let mut open = Vec::new();
    for n in 0..30 {
        let call = write(&format!("key-{n}"));
        let lease = world.lease(&call);
        open.push(world.intent(&call, Some(lease)).await.expect("recorded"));
    }
    for intent in open {
        world.end(intent, Disposition::Done, &answer("paid")).await.expect("recorded");
    }
    assert_eq!(world.verified().open_calls, 0);
}

#[tokio::test]
async fn an_intent_that_a_fault_swallows_leaves_its_key_free() {
    let world = World::new();
    let call = write("key-1");
    let lease = world.lease(&call);
    let free = hold(&world);
    let break_it = async {
        fail(&world);
        free.send(()).expect("the writer thread is held");
    };
    let (refused, ()) = tokio::join!(world.intent(&call, Some(lease)), break_it);
    assert!(matches!(refused, Err(LedgerError::Store(StoreError::Closed { .. }))), "{refused:?}");
    reopened(world.ledger.store()).await;
    world.settle().await;
    assert_eq!(world.ledger.tip().expect("readable").seq, 0, "nothing came to stand");
    world.run(&call.again(), &answer("paid")).await;
    assert_eq!(world.verified().open_calls, 0);
}

#[tokio::test]
async fn an_erasure_that_a_fault_swallows_takes_nothing_from_what_is_written_behind_it() {
    let world = impatient();
    let call = write("key-1");
    let lease = world.lease(&call);
    let intent = world.intent(&call, Some(lease)).await.expect("recorded");
    let free = hold(&world);
    timed_out(world.ledger.erase(&call.principal.issuer, "u1", "ada", "asked").map(drop));
    fail(&world);
    // In the same group, behind the fault: it is held back, and has its turn when the store is open again.
    let paid = answer("paid");
    let (_, ()) =
        tokio::join!(world.end(intent, Disposition::Done, &paid), async { free.send(()).expect("the writer thread is held") });
    reopened(world.ledger.store()).await;
    world.settle().await;
    let said: Vec<_> = world.bodies().into_iter().map(|(_, body)| body["tool"].clone()).collect();
    assert_eq!(said, ["pay_invoice", "pay_invoice"], "nobody was erased");
    world.run(&write("key-2"), &answer("paid")).await;
    let subjects = &world.ledger.inner.subjects;
    let tag = world.ledger.inner.secret.subject(&call.principal.issuer, "u1");
    assert_eq!(subjects.ids(&tag).expect("readable").len(), 1, "one key was enough");
    assert_eq!(world.ledger.erase(&call.principal.issuer, "u1", "ada", "asked again").expect("writable"), 1);
    assert_eq!((world.verified().erased_bodies, world.verified().open_calls), (4, 0));
}

#[tokio::test]
async fn an_erasure_that_came_to_stand_stays_in_force_through_faults() {
    let world = impatient();
    let call = write("key-1");
    world.run(&call, &answer("paid")).await;
    let inner = &world.ledger.inner;
    let old = inner.subjects.ids(&inner.secret.subject(&call.principal.issuer, "u1")).expect("readable")[0];
    let free = hold(&world);
    timed_out(world.ledger.erase(&call.principal.issuer, "u1", "ada", "asked").map(drop));
    free.send(()).expect("the writer thread is held");
    world.settle().await;
    for is_destroyed in [false, true] {
        if is_destroyed {
            inner.destroy_doomed().expect("destroyable");
        }
        assert_eq!(inner.subjects.by_id(&old).expect("readable").is_none(), is_destroyed);
        fail_alone(&world).await;
        reopened(world.ledger.store()).await;
        assert!(inner.subjects.is_retired(&old), "destroyed: {is_destroyed}");
    }
    assert_eq!(world.verified().erased_bodies, 2);
}

#[tokio::test]
async fn a_log_that_has_lost_its_end_keeps_the_store_shut() {
    let world = World::new();
    world.run(&write("key-1"), &answer("paid")).await;
    let engine = world.dir.path().join("store");
    let copy = tempfile::tempdir().expect("a temporary folder");
    copy_folder(&engine, copy.path());
    world.run(&write("key-2"), &answer("paid")).await;
    let free = hold(&world);
    fail(&world);
    // As a disk that has forgotten what it had confirmed.
    std::fs::remove_dir_all(&engine).expect("removable");
    std::fs::create_dir(&engine).expect("creatable");
    copy_folder(copy.path(), &engine);
    free.send(()).expect("the writer thread is held");
    let refused = world.ledger.store().submit::<_, LedgerError, _>(None, Urgency::Now, |_| Ok(())).durable().await;
    let refused = refused.expect_err("nothing is taken any more").to_string();
    assert!(refused.contains("record 4 was durable before") && refused.contains("stays shut"), "{refused}");
    assert!(world.claim(&write("key-3")).is_err());
}

#[tokio::test]
async fn on_a_full_disk_nothing_runs_nothing_is_half_recorded_and_with_room_again_work_goes_on() {
    let disk = Mounted::new("24m");
    let dir = Arc::new(tempfile::tempdir_in(disk.path()).expect("a temporary folder"));
    let store = StoreConfig { min_free: Bytes(0), ..StoreConfig::default() };
    let world = World::open(dir, store, LedgerConfig::default(), Arc::new(AtomicU64::new(1_800_000_000_000)))
        .expect("an empty folder opens");
    let (mut paid, mut unsure) = (Vec::new(), Vec::new());
    let refused = loop {
        let call = write(&format!("key-{}", paid.len()));
        let lease = match world.claim(&call) {
            Ok(Claim::Fresh(lease)) => lease,
            other => break other.expect_err("the store has failed"),
        };
        match world.intent(&call, Some(lease)).await {
            Ok(intent) => match world.end(intent, Disposition::Done, &answer(&"x".repeat(1000))).await {
                Ok(()) => paid.push(call),
                Err(error) => {
                    unsure.push(call);
                    break error;
                }
            },
            Err(error) => break error,
        }
    };
    assert!(refused.to_string().contains("takes no writes"), "{refused}");
    assert!(world.claim(&write("meanwhile")).is_err());

    disk.resize("128m");
    reopened(world.ledger.store()).await;
    world.settle().await;
    for call in &paid {
        assert!(matches!(world.claim(&call.again()), Ok(Claim::Replay(replay)) if replay.first == call.id));
    }
    for call in &unsure {
        // It was applied and may have come to stand, or not.
        assert!(matches!(world.claim(&call.again()), Ok(Claim::Unknown { .. } | Claim::Replay(_))));
    }
    world.run(&write("after"), &answer("paid")).await;
    assert_eq!(world.verified().open_calls, 0);
    assert!(paid.len() > 100, "{}", paid.len());
}

/// Has a commit written for somebody who stops waiting for it before it is durable. It becomes so when the sender is used.
pub(super) async fn given_up<T>(world: &World, commit: impl Future<Output = T>) -> (T, Sender<()>) {
    // One commit holds the writer thread until the other two are queued behind it. These form the next group, in which the second
    // holds the writer thread.
    let free_first = hold(world);
    let queue_second = async {
        // The clock moves only when there is nothing else left to do: the commit is handed in by then, however busy the machine is.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let (free_second, arrived) = about_to_hold(world);
        free_first.send(()).expect("the writer thread is held");
        arrived.recv().expect("it has its turn");
        free_second
    };
    tokio::time::pause();
    let given_up = tokio::join!(commit, queue_second);
    tokio::time::resume();
    given_up
}

/// The same, and waits until it is durable.
pub(super) async fn unwaited<T>(world: &World, commit: impl Future<Output = T>) -> T {
    let (given_up, free) = given_up(world, commit).await;
    free.send(()).expect("the writer thread is held");
    while world.ledger.store().commit(|_| Ok::<_, LedgerError>(())).await.is_err() {}
    world.settle().await;
    given_up
}
