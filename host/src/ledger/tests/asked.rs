//! Calls that ran, asked their callers something, and wait for the answers.

use super::*;
use crate::model::{Given, QuestionKind};

pub(super) fn question() -> Question {
    asking("Delete it?")
}

fn asking(message: &str) -> Question {
    let params = object(json!({ "message": message, "requestedSchema": { "type": "object", "properties": {} } }));
    Question { key: "ok".to_owned(), kind: QuestionKind::Form, params }
}

fn answered(question: &Question) -> Dialogue {
    let given = Given { question: Some(question.print()), answer: json!({ "action": "accept", "content": { "sure": true } }) };
    Dialogue { takes: BTreeSet::from([QuestionKind::Form]), given: BTreeMap::from([("ok".to_owned(), given)]) }
}

/// A call that runs, not having waited.
async fn running(world: &World, call: &Call) -> Intent {
    let lease = world.lease(call);
    world.intent(call, Some(lease)).await.expect("recorded")
}

#[tokio::test]
async fn what_a_run_asked_and_was_answered_outlives_a_crash_and_its_key_stays_taken() {
    let (mut world, paying) = (World::new(), write("key-1"));
    let open = Dialogue { takes: BTreeSet::from([QuestionKind::Form]), given: BTreeMap::new() };
    let held = world.ask(&paying, running(&world, &paying).await, &open, &[question()]).await.expect("recorded");
    assert_eq!(world.status(&paying), Some(CallStatus::Asking));
    let in_flight = |world: &World| matches!(world.claim(&paying.again()), Ok(Claim::InFlight { first, handle: true, .. }) if first == paying.id);
    assert!(in_flight(&world), "whoever comes with its key is told to wait");

    world = world.crash();
    drop(held);
    assert_eq!((world.recovery.interrupted, world.recovery.outcome_unknown), (0, 0));
    assert!(in_flight(&world));
    let taken = world.ledger.queued_calls().expect("readable").pop().expect("it waits");
    assert_eq!((&taken.dialogue, &taken.asks[..]), (&open, &[question()][..]));
    assert_eq!((taken.queued.call(), taken.effect, world.status(&paying)), (paying.id, Effect::Write, Some(CallStatus::Asking)));

    let dialogue = answered(&question());
    let until = Timestamp(world.now.load(Ordering::SeqCst) + 2 * HOUR);
    let facts = QueuedFacts { dialogue: &dialogue, until, ..paying.queued() };
    world.ledger.record_answers(&taken.queued, &facts).await.expect("recorded");
    assert_eq!(world.status(&paying), Some(CallStatus::Queued));

    world = world.crash();
    drop(taken);
    let taken = world.ledger.queued_calls().expect("readable").pop().expect("it waits");
    assert_eq!((&taken.dialogue, taken.asks.len(), taken.until), (&dialogue, 0, until));
    let intent = world.ledger.record_intent(&IntentFacts { dialogue: &dialogue, ..paying.facts() }, taken.queued).await;
    world.end(intent.expect("recorded"), Disposition::Done, &answer("deleted")).await.expect("recorded");
    assert!(matches!(world.claim(&paying.again()), Ok(Claim::Replay(replay)) if replay.first == paying.id));
    assert_eq!((world.verified().records, world.rows("w/")), (4, 0));

    let bodies: Vec<_> = world.bodies().into_iter().map(|(_, body)| body).collect();
    assert_eq!((&bodies[1]["ended"], &bodies[1]["disposition"]), (&json!("asked"), &json!("waiting")));
    assert_eq!((bodies[0].get("answers"), &bodies[2]["answers"]["ok"]["content"]["sure"]), (None, &json!(true)));
}

#[tokio::test]
async fn a_long_question_lies_in_a_file_that_goes_with_it() {
    let (world, paying) = (World::new(), write("key-1"));
    let long = asking(&"x".repeat(20_000));
    let held = world.ask(&paying, running(&world, &paying).await, &Dialogue::default(), std::slice::from_ref(&long)).await;
    let held = held.expect("recorded");
    let facts = QueuedFacts { dialogue: &answered(&long), ..paying.queued() };
    world.ledger.record_answers(&held, &facts).await.expect("recorded");
    drop(held);
    let taken = world.ledger.queued_calls().expect("readable").pop().expect("nobody holds it");
    assert_eq!((taken.dialogue, taken.asks), (answered(&long), vec![]));
    world.ledger.dequeue(taken.queued, &paying.principal, &answer("called off"), true).await.expect("recorded");
    assert_eq!(world.status(&paying), Some(CallStatus::Released));
    assert!(matches!(world.claim(&paying.again()), Ok(Claim::Fresh(_))), "its key is free again");
}

#[tokio::test]
async fn a_caller_who_is_erased_while_its_call_runs_is_asked_nothing_and_the_intent_is_given_back() {
    let (world, paying) = (World::new(), write("key-1"));
    let intent = running(&world, &paying).await;
    world.ledger.erase("https://issuer.example", "u1", "root (uid 0)", "asked for it").expect("erased");
    let refused = world.ask(&paying, intent, &Dialogue::default(), &[question()]).await.expect_err("nobody is left to ask");
    assert!(matches!(refused.error, LedgerError::Refused { .. }), "{}", refused.error);
    let intent = refused.intent.expect("its outcome is still owed");
    world.end(intent, Disposition::Released, &answer("nothing was changed")).await.expect("recorded");
    assert_eq!(world.verified().open_calls, 0);
}

/// The call that a state belongs to.
fn of(call: &Call) -> StateOf<'_> {
    let Call { principal, tool, key, arguments, .. } = call;
    StateOf { principal, plugin: "invoices", tool, key: Some(key), arguments }
}

#[test]
fn a_state_counts_for_the_call_it_was_made_for_and_for_an_hour() {
    let (world, paying) = (World::new(), write("key-1"));
    let until = Timestamp(world.now.load(Ordering::SeqCst) + HOUR);
    let state = RequestState {
        until,
        given: answered(&question()).given,
        open: BTreeMap::from([("next".to_owned(), question().print())]),
    };
    let text = world.ledger.seal_state(&of(&paying), &state);
    assert_eq!(world.ledger.open_state(&of(&paying), &text), Some(state));
    assert!(!text.contains("accept"), "nobody can read it");

    let mut others = vec![write("key-2"), paying.clone().with(json!({ "amount_cents": 1 })), paying.clone(), paying.clone()];
    others[2].principal.subject = "u2".to_owned();
    others[3].tool = "pay_all".parse().expect("a name");
    for other in &others {
        assert_eq!(world.ledger.open_state(&of(other), &text), None, "{:?} {:?}", other.key, other.tool);
    }
    for wrong in [format!("{text}-TAMPERED"), text.to_lowercase(), String::new(), "AAAA".to_owned()] {
        assert_eq!(world.ledger.open_state(&of(&paying), &wrong), None, "{wrong}");
    }
    world.pass(HOUR);
    assert_eq!(world.ledger.open_state(&of(&paying), &text), None, "too old");
}
