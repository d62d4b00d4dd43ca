//! What decisions were based on is written down with them, and read back to decide again.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::model::Rejection;
use crate::model::scope::{Bindings, Delta};

fn caller() -> Principal {
    Principal {
        issuer: "https://id.example.com".into(),
        subject: "ann".into(),
        client: Some("desktop".into()),
        tenant: Some("acme".into()),
        groups: vec!["finance".into()],
        scopes: ["read:invoices", "read:things", "write:invoices"].map(|scope| scope.parse().expect("a scope")).into(),
        claims: BTreeMap::from([("pay_limit".to_owned(), json!(500)), ("email".to_owned(), json!("ann@example.com"))]),
    }
}

/// A write by [`caller`] of a tool that needs `write:invoices`.
fn call() -> Call {
    let principal = caller();
    let needed = ["write:invoices".parse().expect("a scope")];
    let delta = Delta::of(&principal.scopes, &needed, &Bindings { principal: &principal, arguments: None });
    Call { principal, delta, ..write("key-1") }
}

fn past(world: &World) -> Vec<PastDecision> {
    let mut found = Vec::new();
    let erased = world.ledger.decisions(Timestamp(0), |decision| found.push(decision)).expect("the log is readable");
    assert_eq!(erased, 0);
    found
}

#[tokio::test]
async fn a_decision_is_read_back_with_all_it_was_based_on() {
    let world = World::new();
    let mut call = call().with(json!({ "amount_cents": 700, "card": "4111" }));
    call.redact = vec!["/card".to_owned()];
    let limit = json!(500);
    let claims = BTreeMap::from([("pay_limit", &limit)]);
    let lease = world.lease(&call);
    let facts = IntentFacts { claims: &claims, ..call.facts() };
    let intent = world.ledger.record_intent(&facts, Some(lease)).await.expect("recorded");
    world.end(intent, Disposition::Done, &answer("paid")).await.expect("recorded");
    let denied = Rejection::Denied(call.verdict.clone());
    let again = call.again();
    let arguments = Some((&again.arguments, &call.redact[..]));
    let facts = RejectionFacts { claims: claims.clone(), arguments, ..super::records::rejection(&again, &denied) };
    world.ledger.record_rejection(&facts).await.expect("noted");
    world.settle().await;

    let [allowed, denied] = &past(&world)[..] else { panic!("two decisions") };
    assert_eq!((allowed.outcome, denied.outcome), (PastOutcome::Allowed, PastOutcome::Denied));
    for decision in [allowed, denied] {
        let known = Principal { claims: BTreeMap::from([("pay_limit".to_owned(), json!(500))]), ..caller() };
        assert_eq!(decision.principal, known);
        assert_eq!(decision.other_claims, ["email"], "its name, not its value");
        assert_eq!(decision.omitted, Vec::<String>::new());
        let arguments = decision.arguments.as_ref().expect("they were valid");
        assert_eq!(arguments["amount_cents"], json!(700));
        assert!(arguments["card"]["redacted"].is_string());
    }
    let written = world.bodies().into_iter().map(|(_, body)| body["basis"].to_string().len()).max();
    assert!(written.expect("records") < 200, "a basis is small: {written:?}");
}

#[tokio::test]
async fn what_is_too_long_of_a_basis_is_left_out_and_said() {
    let world = World::new();
    let mut call = call();
    call.principal.groups = (0..200).map(|number| format!("group-{number:04}")).collect();
    let many = (0..200).map(|number| format!("read:things{number}").parse().expect("a scope"));
    call.principal.scopes.extend(many);
    call.delta.excess = call.principal.scopes.clone();
    let lease = world.lease(&call);
    let intent = world.intent(&call, Some(lease)).await.expect("recorded");
    world.end(intent, Disposition::Done, &answer("paid")).await.expect("recorded");
    let [decision] = &past(&world)[..] else { panic!("one decision") };
    assert_eq!(decision.omitted, ["groups", "scopes"]);
    assert_eq!(decision.other_claims, ["email", "pay_limit"]);
}

#[tokio::test]
async fn a_basis_never_sends_a_record_into_a_file() {
    let world = World::new();
    let files = |world: &World| std::fs::read_dir(world.dir.path().join("bodies")).expect("readable").count();
    let before = files(&world);
    // Just fits with all else there is, but not with a basis.
    let mut call = call().with(json!({ "text": "x".repeat(2600) }));
    call.principal.groups = (0..40).map(|number| format!("group-{number:04}")).collect();
    call.principal.claims = (0..20).map(|number| (format!("claim-{number:04}"), json!(number))).collect();
    let lease = world.lease(&call);
    let intent = world.intent(&call, Some(lease)).await.expect("recorded");
    world.end(intent, Disposition::Done, &answer("paid")).await.expect("recorded");
    let [decision] = &past(&world)[..] else { panic!("one decision") };
    assert_eq!(decision.omitted, ["claims", "groups", "other_claims", "scopes"]);
    assert_eq!(decision.arguments.as_ref().map(|arguments| arguments["text"].to_string().len()), Some(2602));
    assert_eq!(files(&world), before);
}
