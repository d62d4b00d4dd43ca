//! Calls that wait: durable from the moment they are accepted, found at every moment of their life, and readable no longer than
//! they have to be.

use std::fs;
use std::path::Path;

use super::super::calls::{CallState, Verdict};
use super::super::idempotency::ClaimRow;
use super::super::listing::CallsQuery;
use super::super::resolve::Resolution;
use super::faults::{given_up, hold};
use super::*;
use crate::store::StoreError;

impl World {
    pub(super) fn state(&self, call: &Call) -> CallState {
        self.ledger.call(&call.id).expect("the store is readable").expect("it is remembered")
    }

    /// How many rows there are with this prefix.
    pub(super) fn rows(&self, prefix: &str) -> usize {
        let end = prefix.replace('/', "0");
        self.ledger.store().scan(prefix.as_bytes(), end.as_bytes(), usize::MAX).expect("scannable").len()
    }

    /// The keys of epochs on the disk.
    pub(super) fn epoch_keys(&self) -> Vec<PathBuf> {
        files(&self.dir.path().join("keys/epochs"))
    }

    /// Has the upkeep of this second done.
    pub(super) async fn keep(&self, closing: bool) {
        let ledger = self.ledger.clone();
        let upkeep = move || {
            ledger.inner.destroy_epochs(closing).expect("writable");
            ledger.inner.remove_doomed_files().expect("removable");
        };
        tokio::task::spawn_blocking(upkeep).await.expect("no panic");
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

pub(super) fn in_flight(world: &World, call: &Call) -> bool {
    matches!(world.claim(&call.again()), Ok(Claim::InFlight { first, handle: true, .. }) if first == call.id)
}

#[tokio::test]
async fn a_waiting_call_is_found_at_every_moment_until_it_is_forgotten() {
    let world = World::new();
    let call = write("key-1");
    let began = Timestamp(world.now.load(Ordering::SeqCst));
    let queued = world.wait(&call).await;
    let state = world.state(&call);
    assert_eq!((state.status, state.queued_at, state.started, state.ended), (CallStatus::Queued, Some(began), None, None));
    world.pass(1000);
    let intent = world.start(&call, queued).await.expect("recorded");
    let state = world.state(&call);
    let started = Timestamp(began.as_millis() + 1000);
    assert_eq!((state.status, state.queued_at, state.started), (CallStatus::Running, Some(began), Some(started)));
    assert_eq!(world.rows("w/"), 0, "the row goes with the intent");
    world.end(intent, Disposition::Done, &answer("paid")).await.expect("recorded");
    let state = world.state(&call);
    assert_eq!((state.status, state.queued_at, state.started), (CallStatus::Done, Some(began), Some(started)));
    assert_eq!((state.response, state.expires), (Some(answer("paid")), Some(Timestamp(started.as_millis() + 24 * HOUR))));
    assert!(matches!(world.claim(&call.again()), Ok(Claim::Replay(replay)) if replay.first == call.id));
    assert_eq!((world.verified().records, world.verified().open_calls), (2, 0));
}

#[tokio::test]
async fn a_call_is_its_callers_alone() {
    let world = World::new();
    let call = write("key-1");
    let _queued = world.wait(&call).await;
    let mut other = call.principal.clone();
    other.issuer = "https://other.example".to_owned();
    let mut client = call.principal.clone();
    client.client = Some("client-2".to_owned());
    let state = world.state(&call);
    assert!(state.is_of(&call.principal) && state.is_of(&client) && !state.is_of(&other));
}

#[tokio::test]
async fn a_key_is_in_flight_while_its_call_waits_and_whoever_comes_with_it_may_ask_for_the_call() {
    let world = World::new();
    let call = write("key-1");
    let lease = world.lease(&call);
    assert!(matches!(world.claim(&call.again()), Ok(Claim::InFlight { handle: false, .. })), "only in memory");
    let queued = world.enqueue(&call, Some(lease)).await.expect("there is room");
    assert!(in_flight(&world, &call));
    let other = call.again().with(json!({ "invoice_id": "inv-2" }));
    assert!(matches!(world.claim(&other), Ok(Claim::Reused { first }) if first == call.id));
    let intent = world.start(&call, queued).await.expect("recorded");
    assert!(in_flight(&world, &call));
    world.end(intent, Disposition::Released, &answer("nothing happened")).await.expect("recorded");
    let state = world.state(&call);
    assert_eq!((state.status, state.response), (CallStatus::Released, Some(answer("nothing happened"))), "somebody may ask");
    drop(world.lease(&call.again()));
}

#[tokio::test]
async fn a_released_call_that_nobody_may_ask_for_is_not_remembered() {
    let world = World::new();
    let call = write("key-1");
    let lease = world.lease(&call);
    let intent = world.intent(&call, Some(lease)).await.expect("recorded");
    world.end(intent, Disposition::Released, &answer("nothing happened")).await.expect("recorded");
    assert_eq!(world.status(&call), None);
}

#[tokio::test]
async fn a_call_with_a_handle_is_remembered_however_it_ends_reads_too() {
    let world = World::new();
    for (n, (effect, disposition, status)) in [
        (Effect::Read, Disposition::Done, CallStatus::Done),
        (Effect::Read, Disposition::Released, CallStatus::Released),
        (Effect::Write, Disposition::Done, CallStatus::Done),
        (Effect::Write, Disposition::Released, CallStatus::Released),
        (Effect::Write, Disposition::Unknown, CallStatus::Unknown),
    ]
    .into_iter()
    .enumerate()
    {
        let call = call(effect, &format!("key-{n}"));
        let intent = world.intent(&call, None).await.expect("recorded");
        let (outcome, answer) = (outcome(), answer("so"));
        let facts = OutcomeFacts { disposition, handle_given: true, cancelled: n == 1, ..ended(&outcome, &answer) };
        world.ledger.record_outcome(intent, &facts).await.expect("recorded");
        assert!(world.status(&call).is_some(), "also while the outcome is on its way");
        world.settle().await;
        let state = world.state(&call);
        let kept = (status != CallStatus::Unknown).then_some(answer);
        assert_eq!((state.status, state.response, state.cancelled), (status, kept, n == 1));
    }
}

#[tokio::test]
async fn a_call_that_ends_without_having_run_gives_its_key_back_and_keeps_its_answer() {
    let world = World::new();
    let (cancelled, late) = (write("key-1"), write("key-2"));
    let long = StoredResponse { value: json!("late ".repeat(40_000)), is_error: true };
    for (call, told, by_caller) in [(&cancelled, answer("cancelled"), true), (&late, long, false)] {
        let queued = world.wait(call).await;
        world.ledger.dequeue(queued, &call.principal, &told, by_caller).await.expect("it ends");
        let state = world.state(call);
        assert_eq!((state.status, state.cancelled, state.started), (CallStatus::Released, by_caller, None));
        assert_eq!((&state.response, state.ended.is_some()), (&Some(told.clone()), true));
        drop(world.lease(&call.again()));
    }
    let world = world.reopen().await;
    assert_eq!((world.status(&cancelled), world.rows("w/"), world.rows("i/")), (Some(CallStatus::Released), 0, 0));
    let listed = world.ledger.report(&cancelled.id).expect("readable").expect("remembered");
    assert!(listed.summary.cancelled && listed.summary.started.is_none() && listed.summary.queued.is_some());
    world.pass(25 * HOUR);
    while world.ledger.inner.forget_expired().expect("writable") > 0 {}
    assert_eq!((world.status(&late), world.rows("c/"), world.rows("d/")), (None, 0, 0));
    assert_eq!(world.verified().records, 0, "whether it was turned away is for others to write down");
}

#[tokio::test]
async fn a_read_without_a_key_waits_and_is_remembered_like_any_other() {
    let world = World::new();
    let call = read("key-1");
    drop(world.ledger.enqueue(&QueuedFacts { key: None, ..call.queued() }, None).await.expect("there is room"));
    let world = world.reopen().await;
    let taken = world.ledger.queued_calls().expect("readable").pop().expect("it waits");
    assert!(taken.key.is_none() && taken.queued.lease().is_none());
    let intent = world.start(&call, taken.queued).await.expect("recorded");
    let (outcome, told) = (outcome(), answer("42"));
    world.ledger.record_outcome(intent, &OutcomeFacts { handle_given: true, ..ended(&outcome, &told) }).await.expect("recorded");
    world.settle().await;
    assert_eq!((world.state(&call).status, world.state(&call).response), (CallStatus::Done, Some(told)));
    assert_eq!((world.rows("w/"), world.rows("i/")), (0, 0));
}

#[tokio::test]
async fn operators_see_what_waits_and_cannot_resolve_it() {
    let world = World::new();
    let (first, second) = (write("key-1"), write("key-2"));
    let queued = [world.wait(&first).await, world.wait(&second).await];
    let list = |state| world.ledger.calls(&CallsQuery { state, after: None, limit: 10 }).expect("readable").calls;
    let waiting = list(Some(CallStatus::Queued));
    let listed = waiting.iter().map(|listed| listed.call).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(listed, [first.id, second.id].into());
    assert_eq!((waiting[0].intent.tool.as_deref(), waiting[0].intent.subject.as_deref()), (Some("pay_invoice"), Some("u1")));
    assert!(waiting[0].intent.arguments.is_none(), "nobody here knows what is redacted in them");
    assert_eq!(list(None).len(), 2);
    let (verdict, answer, by) = (Verdict::Executed, answer("so"), "ada".to_owned());
    let refused = world.ledger.resolve(Resolution { call: first.id, verdict, answer, by, note: None });
    assert!(refused.expect_err("it waits").to_string().contains("has not begun"));
    drop(queued);
}

#[tokio::test]
async fn what_a_waiting_call_asks_for_never_stands_in_clear_on_the_disk_and_its_key_goes_when_it_starts() {
    const MARKS: [&str; 5] = ["secret-argument", "secret-subject", "secret-key", "secret-claim", "secret-state"];
    let world = World::new();
    let mut calls = Vec::new();
    for (n, filler) in [(0, 0), (1, 20_000)] {
        let mut call = write(&format!("secret-key-{n}"));
        call.arguments = object(json!({ "iban": "secret-argument", "filler": "x".repeat(filler), "exact": 0.1 + 0.2 }));
        call.principal.subject = "secret-subject".to_owned();
        call.principal.claims = [("mail".to_owned(), json!("secret-claim"))].into();
        call.trace.state = Some("vendor=secret-state".to_owned());
        calls.push((world.wait(&call).await, call));
    }
    for path in files(world.dir.path()) {
        let content = fs::read(&path).expect("readable");
        for mark in MARKS {
            let found = content.windows(mark.len()).any(|window| window == mark.as_bytes());
            assert!(!found, "{mark} in {}", path.display());
        }
    }
    let bodies = |world: &World| files(&world.dir.path().join("bodies")).len();
    assert_eq!((world.epoch_keys().len(), bodies(&world)), (1, 1), "a long one is in a file");
    let (key, copy) = (world.epoch_keys().remove(0), tempfile::NamedTempFile::new().expect("a temporary file"));
    fs::hard_link(&key, copy.path().with_extension("link")).expect("linkable");
    let mut running = Vec::new();
    for (queued, call) in calls {
        // The epoch is over, and a call of it still waits.
        world.keep(true).await;
        assert_eq!(world.epoch_keys(), std::slice::from_ref(&key));
        running.push(world.start(&call, queued).await.expect("recorded"));
    }
    world.keep(false).await;
    assert!(world.epoch_keys().is_empty());
    let link = copy.path().with_extension("link");
    assert_eq!(fs::read(&link).expect("readable"), [0; 36], "it was overwritten, not only removed");
    fs::remove_file(link).expect("removable");
    // The long one's intent is in a file of its own now.
    assert_eq!((bodies(&world), world.rows("d/")), (1, 0));
    drop(running);
}

#[tokio::test]
async fn an_epoch_ends_after_a_thousand_calls_and_calls_of_one_moment_share_one() {
    let world = World::new();
    let epochs = &world.ledger.inner.epochs;
    let first = epochs.current().await.expect("writable").id;
    for _ in 1..1000 {
        assert_eq!(epochs.current().await.expect("writable").id, first);
    }
    let begun = futures::future::join_all((0..100).map(|_| epochs.current())).await;
    let ids: std::collections::BTreeSet<_> = begun.iter().map(|epoch| epoch.as_ref().expect("writable").id).collect();
    assert!(ids.len() == 1 && !ids.contains(&first));
    assert_eq!(world.epoch_keys().len(), 2);
    drop(begun);
    world.keep(false).await;
    assert_eq!(world.epoch_keys().len(), 1, "the one that is over has no call");
}

#[tokio::test]
async fn a_call_that_waited_and_is_dropped_waits_on_with_its_key_and_can_be_taken_up_again() {
    let world = World::new();
    let call = write("key-1");
    drop(world.wait(&call).await);
    assert!(in_flight(&world, &call));
    assert_eq!(world.status(&call), Some(CallStatus::Queued));
    let taken = world.ledger.queued_calls().expect("readable").pop().expect("nobody holds it");
    assert!(world.ledger.queued_calls().expect("readable").is_empty(), "now somebody does");
    let intent = world.start(&call, taken.queued).await.expect("recorded");
    world.end(intent, Disposition::Done, &answer("paid")).await.expect("recorded");
    assert!(matches!(world.claim(&call.again()), Ok(Claim::Replay(_))));
}

#[tokio::test]
async fn a_waiting_call_that_nobody_was_told_of_is_taken_back() {
    let world = World::new();
    let call = write("key-1");
    world.ledger.inner.subject_key(&call.principal).await.expect("it can be made");
    drop(world.ledger.inner.epochs.current().await.expect("it can be made"));
    let lease = world.lease(&call);
    let (queued, free) = given_up(&world, world.enqueue(&call, Some(lease))).await;
    assert!(matches!(queued, Err(LedgerError::Store(StoreError::Timeout { .. }))), "{queued:?}");
    assert_eq!(world.status(&call), None, "nobody was told");
    free.send(()).expect("the writer thread is held");
    while world.ledger.store().commit(|_| Ok::<_, LedgerError>(())).await.is_err() {}
    world.settle().await;
    world.keep(true).await;
    assert_eq!((world.rows("w/"), world.rows("i/"), world.rows("c/")), (0, 0, 0));
    assert!(world.epoch_keys().is_empty());
    drop(world.lease(&call.again()));
}

#[tokio::test]
async fn a_waiting_call_that_is_given_up_before_its_turn_or_finds_its_key_claimed_leaves_nothing() {
    let world = World::new();
    let call = write("key-1").with(json!({ "text": "x".repeat(20_000) }));
    world.ledger.inner.subject_key(&call.principal).await.expect("it can be made");
    let lease = world.lease(&call);
    let free = hold(&world);
    let given_up = tokio::time::timeout(Duration::from_millis(20), world.enqueue(&call, Some(lease))).await;
    assert!(given_up.is_err());
    free.send(()).expect("the writer thread is held");
    world.settle().await;
    let lease = world.lease(&call.again());
    let (claim, first) = (lease.claim(), CallId::random());
    drop(lease);
    let call = call.again();
    let lease = world.lease(&call);
    let other = ClaimRow { call: first, print: Digest([1; 32]), executor: None, attempts: 1, asking: None };
    world.ledger.store().commit(move |tx| other.put(tx, &claim)).await.expect("writable");
    let refused = world.enqueue(&call, Some(lease)).await.expect_err("it is claimed");
    assert!(matches!(refused, LedgerError::Claimed { first: by } if by == first), "{refused}");
    // A file may still be being written for the one who has gone.
    while world.rows("d/") > 0 || !files(&world.dir.path().join("bodies")).is_empty() {
        world.settle().await;
        world.keep(true).await;
    }
    assert_eq!((world.rows("w/"), world.status(&call)), (0, None));
    assert!(world.epoch_keys().is_empty());
}

#[tokio::test]
async fn a_low_disk_takes_no_waiting_calls_and_ends_those_that_wait() {
    let world = World::new();
    let waits = write("key-1");
    drop(world.wait(&waits).await);
    let World { dir, config, now, ledger, .. } = world;
    ledger.close().await.expect("closes");
    drop(ledger);
    let store = StoreConfig { min_free: Bytes(u64::MAX), ..StoreConfig::default() };
    let world = World::open(dir, store, config, now).expect("it opens");
    for length in [10, 20_000] {
        let call = write("key-2").with(json!({ "text": "x".repeat(length) }));
        let lease = world.lease(&call);
        let refused = world.enqueue(&call, Some(lease)).await.expect_err("no disk is that empty").to_string();
        assert!(refused.contains("min_free"), "{refused}");
        assert_eq!((world.status(&call), world.rows("w/"), world.rows("i/")), (None, 1, 1));
        drop(world.lease(&call.again()));
    }
    assert!(files(&world.dir.path().join("bodies")).is_empty());
    let taken = world.ledger.queued_calls().expect("readable").pop().expect("it waits");
    let told = answer("too late");
    world.ledger.dequeue(taken.queued, &taken.principal, &told, false).await.expect("what has begun may be written down");
    assert_eq!(world.state(&waits).response, Some(told));
}

#[tokio::test]
async fn a_waiting_call_without_a_row_does_not_keep_the_others_waiting() {
    let world = World::new();
    let (gone, whole) = (write("key-1"), write("key-2"));
    for call in [&gone, &whole] {
        drop(world.wait(call).await);
    }
    let row = keys::queued(&gone.id);
    let remove = move |tx: &mut Tx<'_>| {
        tx.delete(row);
        Ok::<_, LedgerError>(())
    };
    world.ledger.store().commit(remove).await.expect("writable");
    let taken = world.ledger.queued_calls().expect("readable");
    assert_eq!(taken.iter().map(|taken| taken.queued.call()).collect::<Vec<_>>(), [whole.id]);
    assert!(!world.ledger.has_unheld_calls());
}

#[tokio::test]
async fn what_a_call_is_asked_to_do_is_kept_until_it_has_started() {
    let world = World::new();
    let call = write("key-1").with(json!({ "text": "x".repeat(20_000) }));
    let mut queued = world.wait(&call).await;
    let start = move |tx: &mut Tx<'_>| {
        queued.start(tx)?;
        Ok::<_, LedgerError>(queued)
    };
    let queued = world.ledger.store().commit(start).await.expect("writable");
    world.ledger.inner.remove_doomed_files().expect("removable");
    let put_back = move |tx: &mut Tx<'_>| Ok::<_, LedgerError>((queued.put_back(tx)?, queued));
    let (waits_on, queued) = world.ledger.store().commit(put_back).await.expect("writable");
    drop(queued);
    world.ledger.inner.remove_doomed_files().expect("removable");
    assert!(waits_on);
    let again = world.ledger.queued_calls().expect("readable").pop().expect("nobody holds it");
    assert_eq!(again.arguments, call.arguments);
    // Once it runs, nothing names the file.
    let intent = world.start(&call, again.queued).await.expect("recorded");
    world.ledger.inner.remove_doomed_files().expect("removable");
    assert_eq!(world.rows("d/"), 0);
    drop(intent);
}
