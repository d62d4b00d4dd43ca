//! Who may run with an idempotency key, who is answered instead, and for how long.

use super::*;
use crate::store::tests::stop::Armed;

#[tokio::test]
async fn a_replayed_key_gets_the_first_answer() {
    let world = World::new();
    let first = write("key-1");
    let answer = answer("paid");
    world.run(&first, &answer).await;
    let completed_at = Timestamp(world.now.load(Ordering::SeqCst));
    world.pass(HOUR);
    let again = match world.claim(&first.again()).expect("readable") {
        Claim::Replay(replay) => replay,
        other => panic!("{other:?}"),
    };
    assert_eq!(again, Replay { first: first.id, response: answer.clone(), completed_at });

    let world = world.reopen().await;
    assert!(
        matches!(world.claim(&first.again()), Ok(Claim::Replay(replay)) if replay.response == answer),
        "it survives a restart"
    );
}

#[tokio::test]
async fn a_replayed_error_is_still_an_error() {
    let world = World::new();
    let first = write("key-1");
    let answer = StoredResponse { value: json!({ "error": "conflict" }), is_error: true };
    world.run(&first, &answer).await;
    assert!(matches!(world.claim(&first.again()), Ok(Claim::Replay(replay)) if replay.response == answer));
}

#[tokio::test]
async fn an_answer_longer_than_a_row_is_replayed_whole() {
    let world = World::new();
    let first = write("key-1");
    let answer = answer(&"long ".repeat(40_000));
    world.run(&first, &answer).await;
    let world = world.reopen().await;
    assert!(matches!(world.claim(&first.again()), Ok(Claim::Replay(replay)) if replay.response == answer));
    world.verified();
}

#[tokio::test]
async fn a_key_whose_answer_is_lost_or_damaged_stands_for_a_call_that_has_ended() {
    let world = World::new();
    let (call, long) = (write("key-1"), "x".repeat(100_000));
    world.run(&call, &answer(&long)).await;
    let bodies: Vec<_> = files(&world.dir.path().join("bodies"));
    assert!(!bodies.is_empty());
    for spoil in [|body: &Path| std::fs::write(body, b"forged"), |body: &Path| std::fs::remove_file(body)] {
        bodies.iter().for_each(|body| spoil(body).expect("writable"));
        let claim = world.claim(&call.again()).expect("the key is there to be found");
        assert!(matches!(&claim, Claim::Unreadable { first, .. } if *first == call.id), "{claim:?}");
        assert!(!matches!(claim, Claim::Unreadable { why: LedgerError::Refused { .. }, .. }), "nobody erased it");
    }
    // Neither is one whose call is lost altogether free to run.
    let ended = keys::ended(&call.id);
    let lose = move |tx: &mut Tx<'_>| {
        tx.delete(ended);
        Ok::<_, LedgerError>(())
    };
    world.ledger.store().commit(lose).await.expect("writable");
    let claim = world.claim(&call.again()).expect("the key is there to be found");
    assert!(matches!(&claim, Claim::Unreadable { first, .. } if *first == call.id), "{claim:?}");
}

#[tokio::test]
async fn a_key_that_was_used_with_other_arguments_is_told_so_also_if_its_call_is_lost() {
    let world = World::new();
    let call = write("key-1");
    world.run(&call, &answer("paid")).await;
    let ended = keys::ended(&call.id);
    world.ledger.store().commit(move |tx| tx.put(ended, b"nonsense".to_vec())).await.expect("writable");
    assert!(matches!(world.claim(&call.again()), Ok(Claim::Unreadable { first, .. }) if first == call.id));
    let other = call.again().with(json!({ "invoice_id": "inv-2", "amount_cents": 4200 }));
    assert!(matches!(world.claim(&other), Ok(Claim::Reused { first }) if first == call.id));
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("readable").map(|entry| entry.expect("readable").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn a_key_in_use_is_in_flight_from_the_claim_to_the_durable_outcome() {
    let world = World::new();
    let first = write("key-1");
    let in_flight =
        |world: &World| matches!(world.claim(&first.again()), Ok(Claim::InFlight { first: call, .. }) if call == first.id);
    let lease = world.lease(&first);
    assert!(in_flight(&world), "claimed");
    assert_eq!(world.status(&first), None, "nothing is recorded yet");
    let intent = world.intent(&first, Some(lease)).await.expect("recorded");
    assert!(in_flight(&world), "running");
    assert_eq!(world.status(&first), Some(CallStatus::Running));
    world.end(intent, Disposition::Done, &answer("paid")).await.expect("recorded");
    assert!(!in_flight(&world), "ended");
    assert_eq!(world.status(&first), Some(CallStatus::Done));
}

#[tokio::test]
async fn a_dropped_lease_gives_the_key_back() {
    let world = World::new();
    let call = write("key-1");
    drop(world.lease(&call));
    drop(world.lease(&call.again()));
}

#[tokio::test]
async fn another_use_of_the_key_is_refused_in_every_state() {
    let world = World::new();
    let first = write("key-1");
    let other = || first.again().with(json!({ "invoice_id": "inv-2" }));
    let reused = |world: &World| matches!(world.claim(&other()), Ok(Claim::Reused { first: call }) if call == first.id);
    let lease = world.lease(&first);
    assert!(reused(&world), "claimed");
    let intent = world.intent(&first, Some(lease)).await.expect("recorded");
    assert!(reused(&world), "running");
    world.end(intent, Disposition::Unknown, &answer("?")).await.expect("recorded");
    assert!(reused(&world), "unknown");
}

#[tokio::test]
async fn the_same_key_of_another_caller_or_tool_is_another_key() {
    let world = World::new();
    let first = write("key-1");
    let _held = world.lease(&first);
    let mut subject = first.again();
    subject.principal.subject = "u2".to_owned();
    let mut issuer = first.again();
    issuer.principal.issuer = "https://other.example".to_owned();
    let tool = Call { tool: "create_invoice".parse().expect("a tool name"), ..first.again() };
    for other in [subject, issuer, tool] {
        drop(world.lease(&other));
    }
    // The client that asks on the caller's behalf does not matter: registering anew must not pay twice.
    let mut client = first.again();
    client.principal.client = Some("client-2".to_owned());
    assert!(matches!(world.claim(&client), Ok(Claim::InFlight { .. })));
}

#[tokio::test]
async fn the_key_among_the_arguments_does_not_count_as_one() {
    let world = World::new();
    let first = write("key-1").with(json!({ "invoice_id": "inv-1", "idempotency_key": "key-1" }));
    world.run(&first, &answer("paid")).await;
    let by_header = first.again().with(json!({ "invoice_id": "inv-1" }));
    assert!(matches!(world.claim(&by_header), Ok(Claim::Replay(_))));
}

#[tokio::test]
async fn arguments_are_compared_by_meaning_but_to_the_last_digit() {
    let world = World::new();
    let first = write("key-1").with(serde_json::from_str(r#"{"a":1.0,"b":{"c":"é","d":[9007199254740993]}}"#).expect("JSON"));
    world.run(&first, &answer("paid")).await;
    let same = first.again().with(serde_json::from_str(r#"{"b":{"d":[9007199254740993],"c":"\u00e9"},"a":1}"#).expect("JSON"));
    assert!(matches!(world.claim(&same), Ok(Claim::Replay(_))), "order, escapes and 1.0 for 1 do not matter");
    let other = first.again().with(serde_json::from_str(r#"{"a":1,"b":{"c":"é","d":[9007199254740992]}}"#).expect("JSON"));
    assert!(matches!(world.claim(&other), Ok(Claim::Reused { .. })), "a long number is not rounded");
}

#[tokio::test]
async fn a_released_key_may_run_again() {
    let world = World::new();
    let first = write("key-1");
    let lease = world.lease(&first);
    let intent = world.intent(&first, Some(lease)).await.expect("recorded");
    world.end(intent, Disposition::Released, &answer("backend down")).await.expect("recorded");
    world.run(&first.again(), &answer("paid")).await;
    world.verified();
}

#[tokio::test]
async fn an_unknown_outcome_is_never_forgotten_and_never_run_again() {
    let world = World::new();
    let first = write("key-1");
    let lease = world.lease(&first);
    let intent = world.intent(&first, Some(lease)).await.expect("recorded");
    world.end(intent, Disposition::Unknown, &answer("?")).await.expect("recorded");
    let world = world.reopen().await;
    world.pass(24 * 365 * HOUR);
    world.ledger.inner.forget_expired().expect("writable");
    assert!(matches!(world.claim(&first.again()), Ok(Claim::Unknown { first: call }) if call == first.id));
    assert_eq!(world.status(&first), Some(CallStatus::Unknown));
}

#[tokio::test]
async fn an_answer_expires_a_day_after_completion_with_or_without_the_sweep() {
    let world = World::new();
    let first = write("key-1");
    world.run(&first, &answer("paid")).await;
    world.pass(24 * HOUR - 1);
    assert!(matches!(world.claim(&first.again()), Ok(Claim::Replay(_))));
    world.pass(1);
    assert_eq!(world.status(&first), None);
    drop(world.lease(&first.again()));
    // A new call takes the key over before the sweep comes; the sweep must not take it from that call.
    let second = first.again();
    world.run(&second, &answer("paid again")).await;
    world.pass(120_000);
    world.ledger.inner.forget_expired().expect("writable");
    let swept = world.ledger.store().get(&crate::ledger::keys::ended(&first.id)).expect("readable");
    assert_eq!(swept, None, "the sweep has come");
    assert!(matches!(world.claim(&first.again()), Ok(Claim::Replay(replay)) if replay.first == second.id));
}

#[tokio::test]
async fn the_sweep_takes_everything_that_expired_and_nothing_else() {
    let world = World::new();
    world.run(&write("old-long"), &answer(&"long ".repeat(2_000))).await;
    for n in 1..300 {
        world.run(&write(&format!("old-{n}")), &answer("paid")).await;
    }
    world.pass(12 * HOUR);
    let young = write("young");
    world.run(&young, &answer("kept")).await;
    world.pass(13 * HOUR);
    // The ledger's own upkeep may be at it as well.
    while world.ledger.inner.forget_expired().expect("writable") > 0 {}
    assert!(matches!(world.claim(&young.again()), Ok(Claim::Replay(_))));
    let left = |prefix: &[u8], end: &[u8]| world.ledger.store().scan(prefix, end, 1000).expect("scannable").len();
    assert_eq!((left(b"c/", b"c0"), left(b"i/", b"i0"), left(b"x/", b"x0")), (1, 1, 1));
    world.verified();
}

#[tokio::test]
async fn a_key_that_the_sweep_takes_while_it_is_looked_at_is_free() {
    let world = World::new();
    let first = write("key-1");
    world.run(&first, &answer("paid")).await;
    world.pass(25 * HOUR);
    let inner = Arc::clone(&world.ledger.inner);
    let this = std::thread::current().id();
    let sweep = move || assert_eq!(inner.forget_expired().expect("writable"), 1);
    let armed = Armed::at("claim::held", move |thread| thread.id() == this, sweep);
    drop(world.lease(&first.again()));
    drop(armed);
    assert_eq!(world.status(&first), None);
}

#[tokio::test]
async fn a_clock_set_back_keeps_answers_longer_and_brings_none_back() {
    let world = World::new();
    let (swept, kept) = (write("swept"), write("kept"));
    world.run(&swept, &answer("paid")).await;
    world.pass(30 * HOUR);
    world.ledger.inner.forget_expired().expect("writable");
    world.run(&kept, &answer("paid")).await;
    world.now.fetch_sub(20 * HOUR, Ordering::SeqCst);
    assert!(matches!(world.claim(&kept.again()), Ok(Claim::Replay(_))));
    drop(world.lease(&swept.again()));
}

#[tokio::test]
async fn of_two_calls_with_one_key_the_writer_lets_only_one_pass() {
    let world = World::new();
    let (first, second) = (write("key-1"), write("key-1"));
    // A second ledger on the same store knows nothing of the reservation: the batch that records the intent decides.
    let (other, _) = Ledger::open_with(
        world.ledger.store().clone(),
        &world.dir.path().join("keys"),
        &LedgerConfig::default(),
        Clock::default(),
    )
    .expect("the store is open");
    let lease = world.lease(&first);
    let Ok(Claim::Fresh(late)) = other.claim(&second.request()) else { panic!("nothing is on disk yet") };
    let _intent = world.intent(&first, Some(lease)).await.expect("recorded");
    let refused = other.record_intent(&second.facts(), Some(late)).await.expect_err("the key is taken");
    assert!(matches!(refused, LedgerError::Claimed { first: call } if call == first.id), "{refused}");
    assert_eq!(world.ledger.tip().expect("readable").seq, 1, "nothing of the second was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_calls_with_one_key_one_runs() {
    let world = Arc::new(World::new());
    let first = write("key-1");
    let runs = Arc::new(AtomicU64::new(0));
    let storm: Vec<_> = (0..1000)
        .map(|_| {
            let (world, call, runs) = (Arc::clone(&world), first.again(), Arc::clone(&runs));
            tokio::spawn(async move {
                loop {
                    match world.claim(&call).expect("readable") {
                        Claim::Fresh(lease) => {
                            let intent = world.intent(&call, Some(lease)).await.expect("recorded");
                            runs.fetch_add(1, Ordering::SeqCst);
                            tokio::task::yield_now().await;
                            world.end(intent, Disposition::Done, &answer("paid once")).await.expect("recorded");
                            return call.id;
                        }
                        Claim::InFlight { .. } => tokio::task::yield_now().await,
                        Claim::Replay(replay) => return replay.first,
                        other => panic!("{other:?}"),
                    }
                }
            })
        })
        .collect();
    let mut winners = std::collections::BTreeSet::new();
    for caller in storm {
        winners.insert(caller.await.expect("the task ends"));
    }
    assert_eq!((winners.len(), runs.load(Ordering::SeqCst)), (1, 1));
    assert_eq!(world.verified().records, 2);
}

#[tokio::test]
async fn a_call_with_a_handle_is_remembered_without_a_key() {
    let world = World::new();
    let (plain, polled) = (read("-"), read("-"));
    for (call, handle_given) in [(&plain, false), (&polled, true)] {
        let intent = world.intent(call, None).await.expect("recorded");
        let (outcome, answer) = (outcome(), answer("found"));
        let facts = OutcomeFacts { handle_given, ..ended(&outcome, &answer) };
        world.ledger.record_outcome(intent, &facts).await.expect("recorded");
    }
    world.settle().await;
    assert_eq!(world.status(&plain), None);
    let state = world.ledger.call(&polled.id).expect("readable").expect("remembered");
    assert_eq!((state.status, state.response.clone()), (CallStatus::Done, Some(answer("found"))));
}
