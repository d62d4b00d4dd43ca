//! An erasure while its person is at work: what is written behind it can be read, and is no alarm.

use super::doomed::{impatient, timed_out};
use super::faults::hold;
use super::*;
use crate::model::Rejection;

/// Checks the part of the log from a record on, with nothing but that part.
fn verified_from(world: &World, from: u64) -> Verification {
    let mut export = serde_json::to_string(&world.ledger.export_header(from).expect("readable")).expect("JSON");
    for line in world.ledger.export(from, usize::MAX).expect("readable") {
        export += &format!("\n{}", serde_json::to_string(&line).expect("JSON"));
    }
    let (verification, _) = verify_export(export.as_bytes(), None, None).expect("an export");
    assert_eq!(verification.broken, None);
    verification
}

/// The bodies of the records from one on, all of which can be read.
fn bodies_from(world: &World, from: u64) -> Vec<Value> {
    let records = world.ledger.records(from, usize::MAX).expect("readable").into_iter();
    records.map(|record| serde_json::from_slice(&record.body.expect("nobody erased it")).expect("JSON")).collect()
}

#[tokio::test]
async fn the_outcome_of_a_call_whose_caller_was_erased_meanwhile_can_be_read() {
    let world = World::new();
    let call = write("key-1");
    let lease = world.lease(&call);
    let intent = world.intent(&call, Some(lease)).await.expect("recorded");
    assert_eq!(world.ledger.erase(&call.principal.issuer, "u1", "ada", "asked").expect("writable"), 1);
    let erasure = world.ledger.tip().expect("readable").seq;
    world.end(intent, Disposition::Done, &answer("paid")).await.expect("recorded");
    assert_eq!(bodies_from(&world, erasure + 1)[0]["ended"], "completed");
    assert!(matches!(world.claim(&call.again()), Ok(Claim::Replay(replay)) if replay.response == answer("paid")));
    assert_eq!(world.verified().erased_bodies, 1, "what it was to do");
    assert_eq!(verified_from(&world, erasure + 1).erased_bodies, 0);
}

/// Has a person erased, and something written about them behind that, which was sealed before.
async fn erased_meanwhile<T>(world: &World, writing: impl Future<Output = T>) -> (u64, T) {
    let free = hold(world);
    let erased = world.ledger.erase("https://issuer.example", "u1", "ada", "asked");
    timed_out(erased.map(drop));
    // It is handed in by now, and its turn comes as soon as the writer thread is free.
    let tip = world.ledger.tip().expect("readable").seq;
    let (written, ()) = tokio::join!(writing, async { free.send(()).expect("the writer thread is held") });
    world.settle().await;
    world.ledger.inner.destroy_doomed().expect("destroyable");
    (tip + 1, written)
}

#[tokio::test]
async fn an_outcome_at_the_very_moment_of_an_erasure_says_what_it_can_say_of_nobody() {
    for text in ["paid".to_owned(), "x".repeat(20_000)] {
        let world = impatient();
        let call = write("key-1");
        let lease = world.lease(&call);
        let intent = world.intent(&call, Some(lease)).await.expect("recorded");
        let kept = answer(&text);
        let (erasure, told) = erased_meanwhile(&world, world.end(intent, Disposition::Done, &kept)).await;
        told.expect("recorded");
        let said = json!({ "disposition": "done", "ended": "completed", "intent": 1, "risk": "high" });
        assert_eq!(bodies_from(&world, erasure + 1), [said]);
        let again = world.claim(&call.again()).expect("readable");
        assert!(matches!(again, Claim::Unreadable { why: LedgerError::Refused { .. }, .. }), "{again:?}");
        assert_eq!((world.verified().erased_bodies, world.verified().open_calls), (1, 0));
        verified_from(&world, erasure + 1);
    }
}

#[tokio::test]
async fn a_call_at_the_very_moment_of_an_erasure_does_not_run_and_one_behind_it_does() {
    let world = impatient();
    world.run(&write("key-1"), &answer("paid")).await;
    let call = write("key-2");
    let lease = world.lease(&call);
    let (erasure, refused) = erased_meanwhile(&world, world.intent(&call, Some(lease))).await;
    let refused = refused.expect_err("what it was to do could be read by nobody").to_string();
    assert!(refused.contains("try again"), "{refused}");
    assert_eq!(world.ledger.tip().expect("readable").seq, erasure);
    world.run(&call.again(), &answer("paid")).await;
    assert_eq!(bodies_from(&world, erasure + 1).len(), 2);
    verified_from(&world, erasure + 1);
}

#[tokio::test]
async fn a_call_that_is_to_wait_is_not_accepted_at_the_very_moment_of_an_erasure_and_one_behind_it_is() {
    let world = impatient();
    world.run(&write("key-1"), &answer("paid")).await;
    let call = write("key-2");
    let lease = world.lease(&call);
    let (_, refused) = erased_meanwhile(&world, world.enqueue(&call, Some(lease))).await;
    let refused = refused.expect_err("what it is to do could be read by nobody").to_string();
    assert!(refused.contains("try again"), "{refused}");
    assert_eq!((world.status(&call), world.rows("w/")), (None, 0));
    let again = call.again();
    drop(world.wait(&again).await);
    let taken = world.ledger.queued_calls().expect("readable").pop().expect("it can be read");
    assert_eq!((taken.queued.call(), taken.arguments), (again.id, again.arguments));
}

#[tokio::test]
async fn a_call_that_has_waited_runs_also_if_it_starts_at_the_very_moment_of_an_erasure() {
    for length in [3, 20_000] {
        let world = impatient();
        let call = write("key-1").with(json!({ "text": "x".repeat(length) }));
        let queued = world.wait(&call).await;
        let (erasure, intent) = erased_meanwhile(&world, world.start(&call, queued)).await;
        world.end(intent.expect("it was accepted"), Disposition::Done, &answer("paid")).await.expect("recorded");
        let bodies = bodies_from(&world, erasure + 1);
        assert_eq!(bodies[0], json!({ "effect": "write", "risk": "high" }), "what can be said of nobody");
        assert_eq!((bodies[1]["ended"].as_str(), bodies.len()), (Some("completed"), 2));
        assert!(matches!(world.claim(&call.again()), Ok(Claim::Replay(replay)) if replay.response == answer("paid")));
        assert_eq!((world.verified().erased_bodies, world.verified().open_calls), (0, 0));
        verified_from(&world, erasure + 1);
        let report = world.ledger.report(&call.id).expect("readable").expect("remembered");
        assert!(report.summary.intent.tool.is_none());
        assert_eq!(world.ledger.decisions(Timestamp(0), |_| ()).expect("the log makes sense"), 1, "whose it was is gone");
        world.keep(true).await;
        assert_eq!((world.rows("w/"), world.rows("d/"), world.epoch_keys().len()), (0, 0, 0), "nothing of it is left");
    }
}

#[tokio::test]
async fn a_rejection_at_the_very_moment_of_an_erasure_says_what_it_can_say_of_nobody() {
    let world = impatient();
    let call = write("key-1");
    world.run(&call, &answer("paid")).await;
    let (again, denied) = (call.again(), Rejection::Denied(call.verdict.clone()));
    let facts = records::rejection(&again, &denied);
    let (erasure, told) = erased_meanwhile(&world, world.ledger.record_rejection(&facts)).await;
    told.expect("recorded");
    assert_eq!(bodies_from(&world, erasure + 1), [json!({ "code": "permission_denied" })]);
    verified_from(&world, erasure + 1);
    let mut decisions = 0;
    let erased = world.ledger.decisions(Timestamp(0), |_| decisions += 1).expect("the log makes sense");
    assert_eq!((erased, decisions), (2, 0), "whose decision it was is gone");
}
