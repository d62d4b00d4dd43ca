//! Guests that do not care what their backend says, and hosts that do.

use super::*;

fn careless(demo: &Demo, tool: &str, then: &str, key: &str) -> Answer {
    let invoice = "inv_0001";
    demo.client.call_keyed(tool, json!({ "invoice_id": invoice, "then": then }), key)
}

#[test]
fn a_read_that_boasts_over_a_failed_backend_is_marked_in_the_log() {
    let demo = Demo::new(&["--fault", "unavailable"], "retry = { attempts = 1 }\n");
    let boasted = demo.client.call("careless_read", json!({ "invoice_id": "inv_0001", "then": "boast" }));
    assert_eq!(boasted.body["result"]["isError"], json!(false), "it may have another source: {boasted:?}");
    let outcome = demo.outcome_of(&boasted);
    assert_eq!((&outcome["ended"], &outcome["succeeded_despite_backend_error"]), (&json!("completed"), &json!(true)));
    assert_eq!(outcome["sent"][0]["status"], json!(503));
    demo.billing.fails("");
    let honest = until_back(|| demo.client.call("careless_read", json!({ "invoice_id": "inv_0001", "then": "boast" })));
    assert_eq!(demo.outcome_of(&honest)["succeeded_despite_backend_error"], Value::Null);
}

#[test]
fn a_write_that_boasts_over_a_change_without_an_answer_is_no_success() {
    let demo = Demo::new(&["--fault", "hang changes"], "timeout = \"200ms\"\nretry = { attempts = 1 }\n");
    let boasted = careless(&demo, "careless_write", "boast", "boasts-0000000001");
    assert_eq!((boasted.error().as_str(), &boasted.envelope()["effect"]), ("outcome_unknown", &json!("possible")));
    let outcome = demo.outcome_of(&boasted);
    assert_eq!((&outcome["ended"], &outcome["disposition"]), (&json!("completed"), &json!("unknown")));
    assert_eq!(outcome["succeeded_despite_backend_error"], json!(true));
    demo.billing.fails("");
    let settled = careless(&demo, "careless_write", "boast", "boasts-0000000001");
    assert_eq!(settled.body["result"]["isError"], json!(false), "{settled:?}");
    assert_eq!(demo.billing.effects_on("inv_0001").len(), 1);
}

#[test]
fn a_write_that_boasts_over_a_change_that_was_never_sent_is_a_failure() {
    let mut demo = Demo::new(&[], "");
    demo.billing.kill();
    let boasted = careless(&demo, "careless_write", "boast", "boasts-0000000002");
    assert_eq!((boasted.error().as_str(), &boasted.envelope()["effect"]), ("backend_unavailable", &json!("none")));
    assert_eq!(demo.outcome_of(&boasted)["disposition"], json!("released"));
    demo.billing.restart();
    until_back(|| careless(&demo, "careless_write", "boast", "boasts-0000000002"));
    assert_eq!(demo.billing.effects_on("inv_0001").len(), 1);
}

#[test]
fn a_write_whose_change_was_turned_away_is_a_failure_whatever_it_looks_at_afterwards() {
    let demo = Demo::new(&["--fault", "busy changes"], "retry = { attempts = 1 }\nbreaker = { max_retry_after = \"0s\" }\n");
    let boasted = careless(&demo, "careless_write", "look_away", "boasts-0000000003");
    assert_eq!((boasted.error().as_str(), &boasted.envelope()["effect"]), ("rate_limited", &json!("none")));
    let outcome = demo.outcome_of(&boasted);
    assert_eq!((&outcome["disposition"], &outcome["sent"][1]["status"]), (&json!("released"), &json!(200)), "{outcome}");
}

#[test]
fn a_write_that_boasts_over_a_change_that_its_backend_refused_is_marked_in_the_log() {
    let demo = Demo::new(&[], "");
    let none = json!({ "invoice_id": "inv_9999", "then": "boast" });
    let boasted = demo.client.call_keyed("careless_write", none, "boasts-0000000004");
    assert_eq!(boasted.body["result"]["isError"], json!(false), "it may mean just that: {boasted:?}");
    let outcome = demo.outcome_of(&boasted);
    assert_eq!((&outcome["sent"][0]["status"], &outcome["succeeded_despite_backend_error"]), (&json!(404), &json!(true)));
}

#[test]
fn a_guest_that_falls_over_a_dead_backend_is_not_to_blame() {
    let mut demo = Demo::new(&[], "");
    demo.billing.kill();
    for (tool, then, ended) in
        [("careless_read", "panic", "trapped"), ("careless_read", "shrug", "failed"), ("careless_write", "panic", "trapped")]
    {
        let fallen = careless(&demo, tool, then, "falls-over-000001");
        let envelope = fallen.envelope();
        assert_eq!((fallen.error().as_str(), &envelope["effect"]), ("backend_unavailable", &json!("none")), "{tool} {then}");
        assert!(envelope["retry_after_seconds"].as_u64().is_some_and(|wait| wait >= 1), "{envelope}");
        let outcome = demo.outcome_of(&fallen);
        assert_eq!((&outcome["ended"], &outcome["error"]), (&json!(ended), &json!("backend_unavailable")));
        assert!(outcome["detail"].is_string(), "operators see what it fell over: {outcome}");
    }
}

#[test]
fn a_guest_that_falls_by_itself_is() {
    let demo = Demo::new(&[], "");
    let missing = demo.client.call("careless_read", json!({ "invoice_id": "inv_9999", "then": "panic" }));
    assert_eq!(missing.error(), "plugin_trapped", "billing answered, only not what it hoped for");
}
