//! Settling what is unknown: by asking again, and by an operator.

use super::super::calls::Verdict;
use super::super::reask::Reasking;
use super::super::resolve::{NOTE_MAX, Resolution};
use super::*;

const REASKING: Reasking = Reasking { executor: Digest([1; 32]), window: Duration::from_secs(24 * 60 * 60) };

impl World {
    /// A claim of a call whose backend honours keys.
    fn ask_again(&self, call: &Call, reasking: Reasking) -> Claim {
        self.ledger.claim(&ClaimRequest { reasking: Some(reasking), ..call.request() }).expect("readable")
    }

    fn lease_again(&self, call: &Call) -> Lease {
        match self.ask_again(call, REASKING) {
            Claim::Fresh(lease) => lease,
            other => panic!("it may be asked again, and yet: {other:?}"),
        }
    }

    /// A call whose outcome nobody knows.
    async fn lose(&self, key: &str) -> Call {
        let first = write(key);
        let lease = self.lease_again(&first);
        let intent = self.intent(&first, Some(lease)).await.expect("recorded");
        self.end(intent, Disposition::Unknown, &answer("?")).await.expect("recorded");
        first
    }

    fn resolve(&self, call: CallId, verdict: Verdict) -> Result<(), LedgerError> {
        let answer = answer("an operator says so");
        self.ledger.resolve(Resolution { call, verdict, answer, by: "root (uid 0)".to_owned(), note: None })
    }
}

#[tokio::test]
async fn the_answer_that_asking_again_got_is_the_first_calls_also_a_long_one_and_after_a_restart() {
    let world = World::new();
    let first = world.lose("key-1").await;
    let second = first.again();
    let lease = world.lease_again(&second);
    assert_eq!(lease.again().map(|again| (again.first, again.attempt)), Some((first.id, 2)));
    let intent = world.intent(&second, Some(lease)).await.expect("recorded");
    let long = answer(&"long ".repeat(40_000));
    world.end(intent, Disposition::Done, &long).await.expect("recorded");

    let world = world.reopen().await;
    match world.claim(&first.again()).expect("readable") {
        Claim::Replay(replay) => assert_eq!((replay.first, &replay.response), (first.id, &long)),
        other => panic!("{other:?}"),
    }
    for call in [&first, &second] {
        let state = world.ledger.call(&call.id).expect("readable").expect("remembered");
        assert_eq!((state.status, state.response.as_ref()), (CallStatus::Done, Some(&long)));
    }
    world.pass(25 * HOUR);
    while world.ledger.inner.forget_expired().expect("writable") > 0 {}
    let left = |prefix: &[u8], end: &[u8]| world.ledger.store().scan(prefix, end, 1000).expect("scannable").len();
    let left = (left(b"c/", b"c0"), left(b"i/", b"i0"), left(b"u/", b"u0"), left(b"x/", b"x0"));
    assert_eq!(left, (0, 0, 0, 0), "nothing of either is left behind");
    assert_eq!(world.verified().records, 5, "two of each call, and the checkpoint at the close");
}

#[tokio::test]
async fn a_clock_that_was_set_back_or_a_window_that_has_closed_is_doubt() {
    let world = World::new();
    let first = world.lose("key-1").await;
    let is_unknown = || matches!(world.ask_again(&first.again(), REASKING), Claim::Unknown { first: call } if call == first.id);
    world.now.fetch_sub(1, Ordering::SeqCst);
    assert!(is_unknown(), "nobody knows how much time has passed");
    world.now.fetch_add(24 * HOUR, Ordering::SeqCst);
    assert!(!is_unknown(), "a millisecond is left");
    world.pass(1);
    assert!(is_unknown(), "the backend may have forgotten the key");
}

#[tokio::test]
async fn what_would_run_otherwise_than_the_first_time_is_not_asked_again() {
    let world = World::new();
    let first = world.lose("key-1").await;
    let other = Reasking { executor: Digest([2; 32]), ..REASKING };
    assert!(matches!(world.ask_again(&first.again(), other), Claim::Unknown { .. }));
    assert!(matches!(world.claim(&first.again()).expect("readable"), Claim::Unknown { .. }));
    let arguments = first.again().with(json!({ "invoice_id": "inv-2" }));
    assert!(matches!(world.ask_again(&arguments, REASKING), Claim::Reused { .. }));
}

#[tokio::test]
async fn while_one_asks_again_others_wait_and_operators_too() {
    let world = World::new();
    let first = world.lose("key-1").await;
    let second = first.again();
    let lease = world.lease_again(&second);
    let waits = || matches!(world.ask_again(&first.again(), REASKING), Claim::InFlight { first: call, .. } if call == second.id);
    assert!(waits());
    let intent = world.intent(&second, Some(lease)).await.expect("recorded");
    assert!(waits());
    let refused = world.resolve(first.id, Verdict::NotExecuted).expect_err("it is being asked for");
    assert!(refused.to_string().contains(&format!("{} asks its backend again", second.id)), "{refused}");
    drop(intent);
    world.settle().await;
    assert_eq!((world.status(&first), world.status(&second)), (Some(CallStatus::Unknown), Some(CallStatus::Unknown)));
    world.resolve(first.id, Verdict::NotExecuted).expect("nobody asks any more");
    assert_eq!((world.status(&first), world.status(&second)), (Some(CallStatus::Released), Some(CallStatus::Released)));
}

#[tokio::test]
async fn an_operator_who_is_quicker_than_a_second_try_keeps_it_from_running() {
    let world = World::new();
    let first = world.lose("key-1").await;
    let second = first.again();
    let lease = world.lease_again(&second);
    world.resolve(first.id, Verdict::Executed).expect("it is unknown");
    let refused = world.intent(&second, Some(lease)).await.expect_err("it is settled");
    assert!(matches!(refused, LedgerError::Claimed { first: call } if call == first.id), "{refused}");
    assert!(matches!(world.claim(&first.again()), Ok(Claim::Replay(replay)) if replay.response == answer("an operator says so")));
}

#[tokio::test]
async fn what_an_operator_settled_is_kept_for_a_day_from_then() {
    let world = World::new();
    let first = world.lose("key-1").await;
    world.pass(24 * 100 * HOUR);
    world.resolve(first.id, Verdict::Executed).expect("it is unknown, for however long");
    world.pass(24 * HOUR - 1);
    let world = world.reopen().await;
    assert!(matches!(world.claim(&first.again()), Ok(Claim::Replay(_))));
    world.pass(1);
    drop(world.lease(&first.again()));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_operators_who_settle_one_call_the_second_is_told() {
    let world = Arc::new(World::new());
    let first = world.lose("key-1").await;
    let settle = |verdict: Verdict| {
        let (world, call) = (Arc::clone(&world), first.id);
        tokio::task::spawn_blocking(move || world.resolve(call, verdict))
    };
    let (one, other) = (settle(Verdict::Executed), settle(Verdict::NotExecuted));
    let results = [one.await.expect("no panic"), other.await.expect("no panic")];
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    let refused = results.into_iter().find_map(Result::err).expect("one of them");
    assert!(refused.to_string().contains("already"), "{refused}");
    assert_eq!(world.verified().records, 3, "intent, outcome, and one resolution");
}

#[tokio::test]
async fn a_note_is_written_down_and_has_an_end() {
    let world = World::new();
    let first = world.lose("key-1").await;
    let resolution = |note: String| Resolution {
        call: first.id,
        verdict: Verdict::Executed,
        answer: answer("so"),
        by: "alice (uid 1000)".to_owned(),
        note: Some(note),
    };
    assert!(world.ledger.resolve(resolution("n".repeat(NOTE_MAX + 1))).is_err());
    // Every character of it may take six bytes as JSON.
    world.ledger.resolve(resolution("\u{1}".repeat(NOTE_MAX))).expect("it fits");
    let bodies = world.bodies();
    let (kind, body) = bodies.last().expect("a record");
    assert_eq!((*kind, &body["by"], &body["verdict"]), (Kind::Admin, &json!("alice (uid 1000)"), &json!("executed")));
    assert_eq!(body["note"].as_str().map(str::len), Some(NOTE_MAX));
}
