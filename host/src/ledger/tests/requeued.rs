//! Calls that wait through restarts, crashes, faults, backups and erasures: none is lost, none runs twice.

use std::fs;

use super::super::calls::Verdict;
use super::super::idempotency::ClaimRow;
use super::super::queue::{EPOCHS_FOLDER, QueuedRow};
use super::super::reask::Reasking;
use super::super::resolve::Resolution;
use super::backups::{back_up, restored};
use super::faults::{fail, fail_alone, hold, unwaited};
use super::queued::in_flight;
use super::*;
use crate::store::StoreError;
use crate::store::tests::folder::Mounted;
use crate::store::tests::reopening::reopened;

fn taken(world: &World) -> Vec<Requeued> {
    world.ledger.queued_calls().expect("readable")
}

#[tokio::test]
async fn what_waits_is_given_out_again_after_a_restart_in_its_order_and_as_it_was() {
    let mut world = World::new();
    let mut calls = Vec::new();
    for n in 0..30_u64 {
        let mut call = write(&format!("key-{n}")).with(json!({ "text": "x".repeat(if n == 7 { 20_000 } else { 3 }) }));
        call.arguments.insert("exact".into(), json!([0.1 + 0.2, 1e-7, 5e-324, i64::MIN, u64::MAX]));
        call.principal.claims = [("dept".to_owned(), json!({ "id": 7 }))].into();
        call.principal.groups = vec!["staff".to_owned()];
        call.trace.state = Some("vendor=1".to_owned());
        // The clock is set back all the time; the order is that of their coming, over restarts too.
        world.now.store(1_800_000_000_000 - n * 1000, Ordering::SeqCst);
        drop(world.wait(&call).await);
        calls.push(call);
        if n % 10 == 9 {
            world = if n == 9 { world.reopen().await } else { world.crash() };
        }
    }
    let requeued = taken(&world);
    assert_eq!(requeued.len(), calls.len());
    for (n, (requeued, call)) in requeued.into_iter().zip(&calls).enumerate() {
        let Requeued { queued, trace, principal, tool, plugin, face, effect, arguments, key, until, dialogue, asks } = requeued;
        assert_eq!((effect, dialogue, asks), (Effect::Write, Dialogue::default(), vec![]));
        assert_eq!((queued.call(), &trace, &principal), (call.id, &call.trace, &call.principal));
        assert_eq!((&tool, plugin.as_str(), face), (&call.tool, "invoices", Digest([7; 32])));
        assert_eq!((&arguments, key.as_ref()), (&call.arguments, Some(&call.key)));
        let queued_at = 1_800_000_000_000 - n as u64 * 1000;
        assert_eq!((queued.queued_at(), until), (Timestamp(queued_at), Timestamp(queued_at + HOUR)));
        assert_eq!(queued.lease().map(Lease::claim), Some(call.request().claim()));
        assert!(in_flight(&world, call));
        let intent = world.start(call, queued).await.expect("recorded");
        world.end(intent, Disposition::Done, &answer("paid")).await.expect("recorded");
        assert!(matches!(world.claim(&call.again()), Ok(Claim::Replay(replay)) if replay.first == call.id));
    }
    assert_eq!((world.verified().records, world.rows("w/")), (60, 0));
}

#[tokio::test]
async fn a_crash_between_any_two_steps_loses_nothing_and_doubles_nothing() {
    let mut world = World::new();
    let (paying, reading) = (write("key-w"), read("key-r"));
    let mut held = vec![world.wait(&paying).await, world.wait(&reading).await];
    for _ in 0..2 {
        world = world.crash();
        drop(std::mem::take(&mut held));
        assert_eq!((world.recovery.interrupted, world.recovery.outcome_unknown), (0, 0));
        assert!(in_flight(&world, &paying) && in_flight(&world, &reading));
        assert_eq!(world.status(&paying), Some(CallStatus::Queued));
        held = taken(&world).into_iter().map(|taken| taken.queued).collect();
        assert_eq!(held.len(), 2);
    }
    let [pay, look] = <[QueuedCall; 2]>::try_from(held).expect("two wait");
    let running = [world.start(&paying, pay).await.expect("recorded"), world.start(&reading, look).await.expect("recorded")];
    let world = world.crash();
    drop(running);
    assert_eq!((world.recovery.interrupted, world.recovery.outcome_unknown), (1, 1));
    assert!(taken(&world).is_empty(), "what began does not begin again");
    let (paid, looked) = (world.state(&paying), world.state(&reading));
    assert_eq!((paid.status, looked.status), (CallStatus::Unknown, CallStatus::Released));
    assert!(paid.response.is_none() && looked.response.is_none() && paid.queued_at.is_some());
    assert!(matches!(world.claim(&paying.again()), Ok(Claim::Unknown { first }) if first == paying.id));

    let ended = write("key-e");
    let queued = world.wait(&ended).await;
    world.ledger.dequeue(queued, &ended.principal, &answer("cancelled"), true).await.expect("it ends");
    let world = world.crash();
    assert!(taken(&world).is_empty());
    assert_eq!((world.state(&ended).response, world.state(&ended).cancelled), (Some(answer("cancelled")), true));
    drop(world.lease(&ended.again()));
    assert_eq!((world.verified().open_calls, world.rows("w/")), (0, 0));
}

#[tokio::test]
async fn a_start_destroys_the_keys_that_nothing_needs_and_keeps_the_others() {
    let world = World::new();
    let call = write("key-1");
    drop(world.wait(&call).await);
    let key = world.epoch_keys().remove(0);
    let folder = world.dir.path().join("keys").join(EPOCHS_FOLDER);
    // What crashes leave: a key that was made for nobody, one half written, one overwritten and not yet removed.
    for (name, content) in [("01", &[1_u8; 36][..]), ("02", &[1; 7]), ("03", &[0; 36])] {
        fs::write(folder.join(name), content).expect("writable");
    }
    let world = world.crash();
    assert_eq!(world.epoch_keys().iter().map(|path| path.file_name()).collect::<Vec<_>>(), [key.file_name()]);
    let intent = world.start(&call, taken(&world).pop().expect("it waits").queued).await.expect("recorded");
    world.keep(false).await;
    assert!(world.epoch_keys().is_empty(), "the epochs of earlier starts are over");
    world.end(intent, Disposition::Done, &answer("paid")).await.expect("recorded");
    // One key more, and none after closing.
    let cancelled = write("key-2");
    let queued = world.wait(&cancelled).await;
    world.ledger.dequeue(queued, &cancelled.principal, &answer("no"), true).await.expect("it ends");
    world.ledger.close().await.expect("closes");
    assert!(world.epoch_keys().is_empty());
}

#[tokio::test]
async fn what_an_erased_person_waited_for_can_be_read_by_nobody_and_ends_at_the_next_start() {
    let world = World::new();
    let (before, running) = (write("key-1"), write("key-2"));
    drop(world.wait(&before).await);
    let queued = world.wait(&running).await;
    assert_eq!(world.ledger.erase(&before.principal.issuer, "u1", "ada", "asked").expect("erased"), 1);
    // The host that accepted it still knows what to do.
    let intent = world.start(&running, queued).await.expect("recorded");
    world.end(intent, Disposition::Done, &answer("paid")).await.expect("recorded");
    let world = world.reopen().await;
    assert!(taken(&world).is_empty());
    let state = world.state(&before);
    assert_eq!((state.status, state.response, state.started), (CallStatus::Released, None, None));
    drop(world.lease(&before.again()));
    world.keep(false).await;
    assert_eq!((world.rows("w/"), world.epoch_keys().len()), (0, 0));
}

#[tokio::test]
async fn what_waited_when_a_backup_was_taken_does_not_run_after_restoring_it() {
    let to = tempfile::tempdir().expect("a temporary folder");
    let world = World::new();
    let (paying, reading) = (write("key-w"), read("key-r"));
    let queued = [world.wait(&paying).await, world.wait(&reading).await];
    back_up(&world, &to.path().join("backup")).await.expect("it is taken");
    assert!(!to.path().join("backup/keys").join(EPOCHS_FOLDER).exists(), "nobody can read from it what they ask for");
    let [pay, _look] = queued;
    let intent = world.start(&paying, pay).await.expect("recorded");
    world.end(intent, Disposition::Done, &answer("paid")).await.expect("recorded");

    let copy = restored(&world, &to.path().join("backup"));
    assert!(in_flight(&copy, &paying));
    assert!(taken(&copy).is_empty());
    assert_eq!((copy.status(&paying), copy.status(&reading)), (Some(CallStatus::Unknown), Some(CallStatus::Released)));
    assert!(matches!(copy.claim(&paying.again()), Ok(Claim::Unknown { first }) if first == paying.id), "it may have run since");
    drop(copy.lease(&reading.again()));
    let by = "ada".to_owned();
    let resolution = Resolution { call: paying.id, verdict: Verdict::Executed, answer: answer("so"), by, note: None };
    copy.ledger.resolve(resolution).expect("it is unknown");
    assert_eq!(copy.state(&paying).resolved, Some(Verdict::Executed));
    assert_eq!((copy.verified().records, copy.rows("u/")), (2, 0), "that a backup was taken, and how the call stood");
}

#[tokio::test]
async fn a_call_that_asks_again_for_an_outcome_may_wait_like_any_other() {
    const REASKING: Reasking = Reasking { executor: Digest([1; 32]), window: Duration::from_secs(24 * 60 * 60) };
    let world = World::new();
    let lease_again = |world: &World, call: &Call| match world
        .ledger
        .claim(&ClaimRequest { reasking: Some(REASKING), ..call.request() })
        .expect("readable")
    {
        Claim::Fresh(lease) => lease,
        other => panic!("it may be asked again, and yet: {other:?}"),
    };
    let first = write("key-1");
    let intent = world.intent(&first, Some(lease_again(&world, &first))).await.expect("recorded");
    world.end(intent, Disposition::Unknown, &answer("?")).await.expect("recorded");
    let second = first.again();
    let queued = world.enqueue(&second, Some(lease_again(&world, &second))).await.expect("there is room");
    assert!(in_flight(&world, &second));
    let resolution = |verdict| Resolution { call: first.id, verdict, answer: answer("so"), by: "ada".into(), note: None };
    let refused = world.ledger.resolve(resolution(Verdict::Executed)).expect_err("somebody is about to ask").to_string();
    assert!(refused.contains(&second.id.to_string()), "{refused}");
    world.ledger.dequeue(queued, &second.principal, &answer("no"), true).await.expect("it ends");
    assert_eq!((world.status(&first), world.status(&second)), (Some(CallStatus::Unknown), Some(CallStatus::Released)));

    let third = first.again();
    drop(world.enqueue(&third, Some(lease_again(&world, &third))).await.expect("there is room"));
    let world = world.crash();
    let mut queued = taken(&world).pop().expect("it waits").queued;
    let again = queued.lease().and_then(Lease::again).expect("it asks again");
    assert_eq!((again.first, again.attempt), (first.id, 2), "a try that was none does not count");
    let elsewhere = Reasking { executor: Digest([2; 32]), ..REASKING };
    assert!(!queued.run_by(Some(&elsewhere)) && !queued.run_by(None), "another backend may do it a second time");
    assert!(queued.run_by(Some(&REASKING)));
    let intent = world.start(&third, queued).await.expect("recorded");
    world.end(intent, Disposition::Done, &answer("paid")).await.expect("recorded");
    assert_eq!((world.status(&first), world.status(&third)), (Some(CallStatus::Done), Some(CallStatus::Done)));
    assert!(matches!(world.claim(&first.again()), Ok(Claim::Replay(replay)) if replay.first == first.id));
}

#[tokio::test]
async fn a_call_that_asks_again_and_is_restored_from_a_backup_leaves_the_first_one_unknown() {
    let to = tempfile::tempdir().expect("a temporary folder");
    let world = World::new();
    let reasking = Reasking { executor: Digest([1; 32]), window: Duration::from_secs(24 * 60 * 60) };
    let (first, second) = (write("key-1"), write("key-1"));
    for call in [&first, &second] {
        let claim = world.ledger.claim(&ClaimRequest { reasking: Some(reasking), ..call.request() }).expect("readable");
        let Claim::Fresh(lease) = claim else { panic!("{claim:?}") };
        if call.id == second.id {
            drop(world.enqueue(call, Some(lease)).await.expect("there is room"));
            continue;
        }
        let intent = world.intent(call, Some(lease)).await.expect("recorded");
        world.end(intent, Disposition::Unknown, &answer("?")).await.expect("recorded");
    }
    back_up(&world, &to.path().join("backup")).await.expect("it is taken");
    let copy = restored(&world, &to.path().join("backup"));
    assert!(taken(&copy).is_empty());
    assert_eq!((copy.status(&first), copy.status(&second)), (Some(CallStatus::Unknown), Some(CallStatus::Unknown)));
    assert!(matches!(copy.claim(&first.again()), Ok(Claim::Unknown { first: call }) if call == first.id));
    let by = "ada".to_owned();
    let resolution = Resolution { call: first.id, verdict: Verdict::NotExecuted, answer: answer("so"), by, note: None };
    copy.ledger.resolve(resolution).expect("nobody asks any more");
}

#[tokio::test]
async fn a_damaged_row_is_ended_and_keeps_no_key_and_no_other_call_from_running() {
    let world = World::new();
    let (torn, forged, whole) = (write("key-1"), write("key-2"), write("key-3"));
    for call in [&torn, &forged, &whole] {
        drop(world.wait(call).await);
    }
    let (torn_row, forged_row) = (keys::queued(&torn.id), keys::queued(&forged.id));
    let damage = move |tx: &mut Tx<'_>| {
        tx.put(torn_row, b"nonsense".to_vec())?;
        let mut row = tx.get(&forged_row)?.expect("it waits");
        *row.iter_mut().nth_back(8).expect("it is longer") ^= 1;
        Ok::<_, LedgerError>(tx.put(forged_row, row)?)
    };
    world.ledger.store().commit(damage).await.expect("writable");
    let world = world.reopen().await;
    let calls: Vec<_> = taken(&world).into_iter().map(|taken| taken.queued.call()).collect();
    assert_eq!(calls, [whole.id]);
    for call in [&torn, &forged] {
        assert_eq!(world.status(call), Some(CallStatus::Released));
        drop(world.lease(&call.again()));
    }
}

#[tokio::test]
async fn what_a_fault_swallows_is_as_if_it_had_not_been_and_what_waits_waits_on() {
    let world = World::new();
    let (waiting, new, starting) = (write("key-1"), write("key-2"), write("key-3"));
    let held = world.wait(&waiting).await;
    let start = world.wait(&starting).await;
    let lease = world.lease(&new);
    let free = hold(&world);
    let break_it = async {
        fail(&world);
        free.send(()).expect("the writer thread is held");
    };
    let (refused, not_started, ()) = tokio::join!(world.enqueue(&new, Some(lease)), world.start(&starting, start), break_it);
    assert!(matches!(refused, Err(LedgerError::Store(StoreError::Closed { .. }))), "{refused:?}");
    assert!(matches!(not_started, Err(LedgerError::Store(StoreError::Closed { .. }))), "{not_started:?}");
    assert_eq!(world.status(&waiting), Some(CallStatus::Queued), "also while the store is shut");
    reopened(world.ledger.store()).await;
    world.settle().await;
    assert_eq!((world.status(&new), world.status(&starting)), (None, Some(CallStatus::Queued)));
    drop(world.lease(&new.again()));
    assert!(in_flight(&world, &waiting) && in_flight(&world, &starting));
    let again = taken(&world).pop().expect("nobody holds it").queued;
    assert_eq!(again.call(), starting.id);
    for (call, queued) in [(&waiting, held), (&starting, again)] {
        let intent = world.start(call, queued).await.expect("recorded");
        world.end(intent, Disposition::Done, &answer("paid")).await.expect("recorded");
    }
    assert_eq!((world.verified().records, world.rows("w/"), world.rows("i/")), (4, 0, 2));
}

/// A call whose request may be too long for a row, but not its intent.
fn long(key: &str, length: usize) -> Call {
    Call { redact: vec!["/text".to_owned()], ..write(key).with(json!({ "text": "x".repeat(length) })) }
}

#[tokio::test]
async fn a_start_that_nobody_waited_for_leaves_the_call_waiting_as_it_was() {
    let world = World::new();
    for length in [3, 20_000] {
        let call = long(&format!("key-{length}"), length);
        let queued = world.wait(&call).await;
        let start = unwaited(&world, world.start(&call, queued)).await;
        assert!(matches!(start, Err(LedgerError::Store(StoreError::Timeout { .. }))), "{start:?}");
        assert_eq!((ended_as(&world, &call), world.status(&call)), (vec!["not_started".to_owned()], Some(CallStatus::Queued)));
        assert!(in_flight(&world, &call), "its key is its own");
        world.ledger.inner.remove_doomed_files().expect("removable");
        let again = taken(&world).pop().expect("nobody holds it");
        assert_eq!((again.queued.call(), &again.arguments), (call.id, &call.arguments));
        let intent = world.start(&call, again.queued).await.expect("recorded");
        world.end(intent, Disposition::Done, &answer("paid")).await.expect("recorded");
        assert_eq!((world.verified().open_calls, world.rows("w/")), (0, 0));
    }
}

#[tokio::test]
async fn a_start_that_nobody_waited_for_ends_if_what_to_do_is_gone() {
    let world = World::new();
    let call = long("key", 20_000);
    let queued = world.wait(&call).await;
    fs::remove_dir_all(world.dir.path().join("bodies")).expect("removable");
    let start = unwaited(&world, world.start(&call, queued)).await;
    assert!(start.is_err());
    assert_eq!((ended_as(&world, &call), world.status(&call)), (vec!["not_started".to_owned()], Some(CallStatus::Released)));
    assert!(taken(&world).is_empty());
    drop(world.lease(&call.again()));
}

#[tokio::test]
async fn an_end_that_a_fault_swallows_is_made_up_for() {
    let world = World::new();
    let (cancelled, shut) = (write("key-1"), write("key-2"));
    let (first, second) = (world.wait(&cancelled).await, world.wait(&shut).await);
    let free = hold(&world);
    let told = answer("cancelled");
    let break_it = async {
        fail(&world);
        free.send(()).expect("the writer thread is held");
    };
    let (lost, ()) = tokio::join!(world.ledger.dequeue(first, &cancelled.principal, &told, true), break_it);
    assert!(matches!(lost, Err(LedgerError::Store(StoreError::Closed { .. }))), "{lost:?}");
    // Handed in while the store is shut.
    world.ledger.dequeue(second, &shut.principal, &told, true).await.expect("it waits for the store");
    for call in [&cancelled, &shut] {
        assert_eq!((world.status(call), world.state(call).response), (Some(CallStatus::Released), Some(told.clone())));
        drop(world.lease(&call.again()));
    }
    assert!(taken(&world).is_empty());
    let world = world.reopen().await;
    assert_eq!((world.state(&cancelled).response, world.rows("w/")), (Some(told), 0));
}

#[tokio::test]
async fn a_row_that_came_to_stand_although_its_commit_failed_is_removed_after_the_fault() {
    let world = World::new();
    let (told, untold) = (write("key-1"), write("key-2"));
    let _held = world.wait(&told).await;
    // As the engine may have it after a sync that failed: the row and the claim of a call that this process does not know.
    let (row, claim) = (keys::queued(&told.id), told.request().claim());
    let (other, other_claim) = (untold.id, untold.request().claim());
    let copy = move |tx: &mut Tx<'_>| {
        let row = tx.get(&row)?.expect("it waits");
        let row = QueuedRow { claim: Some(other_claim), ..QueuedRow::decode(&other, &row)? };
        let held = ClaimRow::get(tx, &claim)?.expect("it is claimed");
        ClaimRow { call: other, ..held }.put(tx, &other_claim)?;
        row.put(tx, &other)
    };
    world.ledger.store().commit(copy).await.expect("writable");
    assert_eq!((world.rows("w/"), world.rows("i/")), (2, 2));
    fail_alone(&world).await;
    reopened(world.ledger.store()).await;
    assert_eq!((world.rows("w/"), world.rows("i/")), (1, 1));
    assert_eq!((world.status(&untold), world.status(&told)), (None, Some(CallStatus::Queued)));
    drop(world.lease(&untold));
}

#[tokio::test]
async fn on_a_full_disk_what_was_accepted_waits_on_and_nothing_is_half_accepted() {
    let disk = Mounted::new("24m");
    let dir = Arc::new(tempfile::tempdir_in(disk.path()).expect("a temporary folder"));
    let store = StoreConfig { min_free: Bytes(0), ..StoreConfig::default() };
    let world = World::open(dir, store, LedgerConfig::default(), Arc::new(AtomicU64::new(1_800_000_000_000)))
        .expect("an empty folder opens");
    let mut accepted = Vec::new();
    let refused = loop {
        let call = write(&format!("key-{}", accepted.len())).with(json!({ "text": "x".repeat(1500) }));
        let lease = world.lease(&call);
        match world.enqueue(&call, Some(lease)).await {
            Ok(queued) => accepted.push((call, queued)),
            Err(error) => break (call, error),
        }
    };
    disk.resize("128m");
    reopened(world.ledger.store()).await;
    world.settle().await;
    assert_eq!(world.status(&refused.0), None, "{}", refused.1);
    drop(world.lease(&refused.0.again()));
    assert_eq!(world.rows("w/"), accepted.len());
    assert!(accepted.len() > 100, "{}", accepted.len());
    let calls: Vec<_> = accepted.into_iter().map(|(call, _)| call.id).collect();
    let world = world.reopen().await;
    let found: Vec<_> = taken(&world).into_iter().map(|taken| taken.queued.call()).collect();
    assert_eq!(found, calls);
}
