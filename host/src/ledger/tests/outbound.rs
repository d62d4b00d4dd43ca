//! The outbound ledger in the record of an outcome, and outcomes from before there was one.

use serde_json::value::RawValue;

use super::*;
use crate::ledger::{cloudevents, ocsf};
use crate::model::SentError;

/// A body as it was once written, kept under `tests/golden/audit`.
fn golden(name: &str) -> String {
    let path = format!("{}/../tests/golden/audit/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// An outcome with attempts of every kind.
fn stumbling() -> Outcome {
    let first = outcome().sent.remove(0);
    let lost = Sent { status: None, error: Some(SentError::TimedOut), bytes_in: 0, ..first.clone() };
    let again = Sent { attempt: 2, ..first.clone() };
    let refused = Sent {
        left: false,
        error: Some(SentError::BreakerOpen),
        latency: Duration::ZERO,
        request: 3,
        bytes_out: 0,
        ..lost.clone()
    };
    Outcome { sent: vec![lost, again, refused], ..outcome() }
}

async fn record(world: &World, call: &Call, outcome: &Outcome) -> Record {
    let lease = world.lease(call);
    let intent = world.intent(call, Some(lease)).await.expect("recorded");
    let answer = StoredResponse { value: json!({ "paid": true }), is_error: false };
    let facts = OutcomeFacts { despite_backend_error: true, ..ended(outcome, &answer) };
    world.ledger.record_outcome(intent, &facts).await.expect("recorded");
    world.ledger.records(2, 1).expect("readable").remove(0)
}

#[tokio::test]
async fn every_attempt_is_written_down_and_what_did_not_leave_apart() {
    let world = World::new();
    let mut call = write("key-1");
    call.trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().expect("a traceparent");
    let record = record(&world, &call, &stumbling()).await;
    let body = String::from_utf8(record.body.clone().expect("there")).expect("JSON");
    let wanted = golden("outcome");
    assert_eq!(body, wanted, "the format is public: only add to it");
    let canonical = serde_json_canonicalizer::to_vec(&serde_json::from_str::<Value>(&body).expect("JSON")).expect("canonical");
    assert_eq!(body.as_bytes(), canonical);
    let event = ocsf::event("log", &record, None);
    assert_eq!((&event["status"], &event["severity"]), (&json!("Success"), &json!("Medium")), "it may be made up");
    assert!(event["status_detail"].as_str().is_some_and(|detail| detail.contains("although a backend failed")), "{event}");
    assert_eq!(event["unmapped"]["body"]["unsent"][0]["error"], json!("breaker_open"));
    world.verified();
}

#[tokio::test]
async fn outcomes_from_before_there_were_attempts_are_read_verified_and_exported() {
    let world = World::new();
    let bodies = [(Kind::Intent, golden("intent")), (Kind::Outcome, golden("outcome-without-attempts"))];
    let call = Some(CallId::random());
    let written = bodies.clone();
    let append = move |tx: &mut Tx<'_>| {
        for (kind, body) in &written {
            let body = body::Body::plain(&RawValue::from_string(body.clone()).expect("JSON"));
            let draft = audit::Draft { kind: *kind, call, generation: GENERATION, body };
            audit::append(tx, draft, Timestamp(1_800_000_000_000))?;
        }
        Ok::<_, LedgerError>(())
    };
    world.ledger.store().commit(append).await.expect("writable");
    let records = world.ledger.records(1, 10).expect("readable");
    let texts: Vec<_> = records.iter().map(|record| record.body.clone().expect("there")).collect();
    assert_eq!(texts, bodies.map(|(_, body)| body.into_bytes()));
    let event = ocsf::event("log", &records[1], Some(&records[0]));
    assert_eq!((&event["status"], &event["severity"]), (&json!("Success"), &json!("Informational")));
    let event = cloudevents::event("log", &records[1], Some(&records[0]));
    assert_eq!(event["data"]["body"]["sent"][0]["status"], json!(201));
    world.verified();
}
