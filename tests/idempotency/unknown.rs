//! What becomes of a write whose outcome nobody knows: asked for again where the backend honours keys, and only there.

use super::*;
use crate::harness::tidegate;

fn wait_for_effect(billing: &Billing, invoice: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while billing.effects_on(invoice).is_empty() {
        assert!(Instant::now() < deadline, "billing never paid");
        std::thread::yield_now();
    }
}

/// Asks for a payment, and kills the host once billing has paid and before it has said so.
fn kill_mid_payment(host: &mut Started, billing: &Billing, invoice: &str, key: &'static str) {
    let caller = std::thread::spawn({
        let (client, invoice) = (host.client(), invoice.to_owned());
        move || pay(&client, &invoice, key)
    });
    wait_for_effect(billing, invoice);
    host.kill();
    assert!(caller.join().is_err(), "the host died before it could answer");
}

/// The records of a stopped host, all of them in order and every intent with exactly one outcome.
fn records(host: &Started) -> Vec<Value> {
    let data = host.data.display().to_string();
    let verified = tidegate(&["audit", "verify", "--data", &data]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let listed = tidegate(&["audit", "list", "--output", "json", "--data", &data]);
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let records: Vec<Value> = serde_json::from_slice(&listed.stdout).expect("JSON");
    let calls = |kind: &str| {
        let mut calls: Vec<_> =
            records.iter().filter(|record| record["kind"] == kind).map(|record| record["call"].to_string()).collect();
        calls.sort();
        calls
    };
    assert_eq!(calls("intent"), calls("outcome"));
    records
}

#[test]
fn a_payment_cut_off_by_a_crash_is_asked_for_again_and_gets_the_true_answer() {
    let (billing, plugins) = (Billing::start(&["--lose-answers", "1"]), plugins(&["invoices"]));
    let invoice = billing.open_invoices("u1").remove(0);
    let mut host = patient(&billing, &plugins).start();
    kill_mid_payment(&mut host, &billing, &invoice, "cut-off-000000001");

    let mut again = patient(&billing, &plugins).on(&host.data).start();
    let client = again.client();
    let settled = pay(&client, &invoice, "cut-off-000000001");
    assert!(!settled.is_replayed(), "it is the answer to this very try: {settled:?}");
    assert_eq!((&settled.structured()["id"], &settled.structured()["status"]), (&json!(invoice), &json!("paid")));
    let replayed = pay(&client, &invoice, "cut-off-000000001");
    assert!(replayed.is_replayed());
    assert_eq!(replayed.structured(), settled.structured());
    assert_eq!(billing.effects_on(&invoice).len(), 1, "paid once");

    assert!(again.stop("-TERM").success());
    let records = records(&again);
    let intents: Vec<_> = records.iter().filter(|record| record["kind"] == "intent").collect();
    assert_eq!(intents.len(), 2);
    assert_eq!(intents[1]["body"]["reask_of"], intents[0]["call"], "the log tells why it ran again");
    assert_eq!(intents[1]["body"]["claim"], intents[0]["body"]["claim"]);
    let outcome = |call: &Value| {
        records.iter().find(|record| record["kind"] == "outcome" && record["call"] == *call).expect("an outcome")["body"].clone()
    };
    assert_eq!(outcome(&intents[0]["call"])["disposition"], "unknown");
    assert_eq!(outcome(&intents[1]["call"])["disposition"], "done");
    let first = intents[0]["call"].as_str().expect("an id");
    assert_eq!(replayed.body["result"]["_meta"]["dev.tidegate/replay-of"], json!(first));
}

#[test]
fn an_answer_that_was_lost_on_the_way_is_asked_for_until_it_comes() {
    let (host, mut billing, _plugins) = demo(&["--lose-answers", "2"], "");
    let (client, invoice) = (host.client(), billing.open_invoices("u1").remove(0));
    for _ in 0..2 {
        let lost = pay(&client, &invoice, "lost-000000000001");
        assert_eq!((lost.error().as_str(), &lost.envelope()["effect"]), ("outcome_unknown", &json!("possible")));
        let message = lost.envelope()["message"].as_str().expect("a text").to_owned();
        assert!(message.contains("call again with the same key"), "{message}");
    }
    // A backend that cannot be asked tells nothing about what it did.
    billing.kill();
    assert_eq!(pay(&client, &invoice, "lost-000000000001").error(), "outcome_unknown");
    billing.restart();
    let settled = pay(&client, &invoice, "lost-000000000001");
    assert_eq!(settled.structured()["status"], json!("paid"));
    assert!(pay(&client, &invoice, "lost-000000000001").is_replayed());
    assert_eq!(billing.effects_on(&invoice).len(), 1);
}

#[test]
fn other_arguments_do_not_ask_for_what_is_unknown() {
    let (host, billing, _plugins) = demo(&["--lose-answers", "1"], "");
    let (client, invoices) = (host.client(), billing.open_invoices("u1"));
    assert_eq!(pay(&client, &invoices[0], "other-0000000001").error(), "outcome_unknown");
    assert_eq!(pay(&client, &invoices[1], "other-0000000001").error(), "idempotency_key_reused");
    assert!(billing.effects_on(&invoices[1]).is_empty());
}

#[test]
fn a_tool_whose_backend_promises_nothing_about_keys_is_never_run_again() {
    let (host, billing, _plugins) = demo(&["--lose-answers", "1"], "");
    let client = host.client();
    let create = || client.call_keyed("create_invoice", json!({"user_id": "u1", "amount_cents": 4321}), "unkeyed-00000001");
    let lost = create();
    assert_eq!(lost.error(), "outcome_unknown");
    let again = create();
    assert_eq!((again.error().as_str(), &again.envelope()["retryable"]), ("outcome_unknown", &json!(false)));
    let message = again.envelope()["message"].as_str().expect("a text").to_owned();
    assert!(message.contains(&call_id(&lost)) && !message.contains("with the same key"), "{message}");
    let created = client.call("list_invoices", json!({"user_id": "u1"}));
    let created = created.structured()["invoices"].as_array().expect("a list").clone();
    assert_eq!(created.iter().filter(|invoice| invoice["amount_cents"] == json!(4321)).count(), 1);
    drop(billing);
}

#[test]
fn a_backend_that_forgets_its_keys_or_is_another_one_is_not_asked() {
    let (billing, plugins) = (Billing::start(&["--lose-answers", "1"]), plugins(&["invoices"]));
    let invoice = billing.open_invoices("u1").remove(0);
    let mut host = patient(&billing, &plugins).start();
    kill_mid_payment(&mut host, &billing, &invoice, "doubt-00000000001");

    let mut forgetful = patient(&billing, &plugins).with_config("keyed_for = \"0s\"\n").on(&host.data).start();
    assert_eq!(pay(&forgetful.client(), &invoice, "doubt-00000000001").error(), "outcome_unknown");
    assert!(forgetful.stop("-TERM").success());

    let elsewhere = Billing::start(&[]);
    let mut moved = patient(&elsewhere, &plugins).on(&host.data).start();
    assert_eq!(pay(&moved.client(), &invoice, "doubt-00000000001").error(), "outcome_unknown");
    assert!(elsewhere.effects_on(&invoice).is_empty(), "another backend knows none of the keys");
    assert!(moved.stop("-TERM").success());

    let again = patient(&billing, &plugins).on(&host.data).start();
    assert_eq!(pay(&again.client(), &invoice, "doubt-00000000001").structured()["status"], json!("paid"));
    assert_eq!(billing.effects_on(&invoice).len(), 1);
}
