//! Keyed writes: whatever the backend does, exactly one effect, or the word that nobody knows.

use super::*;

#[test]
fn a_payment_whose_answer_is_lost_is_tried_again_with_its_key_and_paid_once() {
    let demo = Demo::new(&["--lose-answers", "1"], "timeout = \"500ms\"\n");
    let invoice = demo.billing.invoice_of("u1");
    let paid = demo.pay(&invoice, "settled-by-host-1");
    assert_eq!(paid.structured()["status"], json!("paid"));
    assert_eq!(demo.billing.effects_on(&invoice).len(), 1);
    let outcome = demo.outcome_of(&paid);
    let sent = outcome["sent"].as_array().expect("a list");
    assert_eq!((&sent[1]["error"], &sent[1]["attempt"]), (&json!("timed_out"), &Value::Null), "{outcome}");
    assert_eq!((&sent[2]["status"], &sent[2]["attempt"]), (&json!(200), &json!(2)));
    assert_eq!((&sent[1]["request"], &sent[2]["request"]), (&json!(2), &json!(2)), "one request, and one key");
    assert_eq!((&outcome["disposition"], &outcome["succeeded_despite_backend_error"]), (&json!("done"), &Value::Null));
}

#[test]
fn a_payment_that_a_gateway_lost_is_unknown_and_asking_again_settles_it() {
    let demo = Demo::new(&["--fault", "gateway changes"], "");
    let invoice = demo.billing.invoice_of("u1");
    let lost = demo.pay(&invoice, "lost-by-gateway-1");
    let envelope = lost.envelope();
    assert_eq!(
        (lost.error().as_str(), &envelope["effect"], &envelope["retryable"]),
        ("outcome_unknown", &json!("possible"), &json!(false))
    );
    assert!(envelope["message"].as_str().is_some_and(|message| message.contains("same key")), "{envelope}");
    assert!(envelope["retry_after_seconds"].as_u64().is_some_and(|wait| wait >= 1), "{envelope}");
    assert_eq!(demo.billing.effects_on(&invoice).len(), 1, "it was paid, though nobody could know");
    demo.billing.fails("");
    let deadline = Instant::now() + PATIENCE;
    let settled = loop {
        let answer = demo.pay(&invoice, "lost-by-gateway-1");
        if answer.body["result"]["isError"] != json!(true) {
            break answer;
        }
        assert_eq!(answer.error(), "outcome_unknown");
        assert!(Instant::now() < deadline);
    };
    assert_eq!(settled.structured()["status"], json!("paid"));
    assert_eq!(demo.billing.effects_on(&invoice).len(), 1);
}

#[test]
fn an_invoice_whose_creation_a_gateway_lost_is_unknown_and_never_created_twice() {
    let demo = Demo::new(&["--fault", "gateway changes"], "");
    let lost = demo.create("lost-creation-001");
    assert_eq!((lost.error().as_str(), &lost.envelope()["effect"]), ("outcome_unknown", &json!("possible")));
    demo.billing.fails("");
    assert_eq!(demo.create("lost-creation-001").error(), "outcome_unknown");
    assert_eq!(demo.created("lost-creation-001"), 1);
}

#[test]
fn a_payment_whose_answer_breaks_off_can_be_asked_for_again() {
    let demo = Demo::new(&["--fault", "truncated changes"], "");
    let invoice = demo.billing.invoice_of("u1");
    assert_eq!(demo.pay(&invoice, "broken-off-000001").error(), "outcome_unknown");
    demo.billing.fails("");
    assert_eq!(demo.pay(&invoice, "broken-off-000001").structured()["status"], json!("paid"));
    assert_eq!(demo.billing.effects_on(&invoice).len(), 1);
}

#[test]
fn a_change_that_the_backend_refuses_for_being_asked_too_often_gives_its_key_back() {
    let demo = Demo::new(&["--fault", "busy changes"], "");
    let refused = demo.create("too-often-0000001");
    let envelope = refused.envelope();
    assert_eq!(
        (refused.error().as_str(), &envelope["effect"], &envelope["retryable"]),
        ("rate_limited", &json!("none"), &json!(true))
    );
    assert_eq!(envelope["retry_after_seconds"], json!(1));
    demo.billing.fails("");
    let deadline = Instant::now() + PATIENCE;
    let created = loop {
        let answer = demo.create("too-often-0000001");
        if answer.body["result"]["isError"] != json!(true) {
            break answer;
        }
        assert_eq!(answer.error(), "rate_limited");
        assert!(Instant::now() < deadline);
    };
    assert!(!created.is_replayed());
    assert_eq!(demo.created("too-often-0000001"), 1);
}

#[test]
fn a_change_that_was_never_sent_gives_its_key_back() {
    let mut demo = Demo::new(&[], "");
    demo.billing.kill();
    demo.wear_out();
    let refused = demo.create("never-sent-000001");
    assert_eq!((refused.error().as_str(), &refused.envelope()["effect"]), ("backend_unavailable", &json!("none")));
    assert_eq!(demo.outcome_of(&refused)["disposition"], json!("released"));
    demo.billing.restart();
    let created = until_back(|| demo.create("never-sent-000001"));
    assert!(!created.is_replayed());
    assert_eq!(demo.created("never-sent-000001"), 1);
}

#[test]
fn a_change_that_hangs_is_unknown_and_not_tried_again_without_a_promise() {
    let demo = Demo::new(&["--fault", "hang changes"], "timeout = \"300ms\"\n");
    let lost = demo.create("hangs-00000000001");
    assert_eq!((lost.error().as_str(), &lost.envelope()["effect"]), ("outcome_unknown", &json!("possible")));
    assert_eq!(demo.attempts("timed_out"), 1.0);
    let outcome = demo.outcome_of(&lost);
    assert_eq!((&outcome["disposition"], &outcome["error"]), (&json!("unknown"), &json!("outcome_unknown")));
}
