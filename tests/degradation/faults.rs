//! Every way in which a backend can fail, and the word for it.

use super::*;

/// Holds that a fault is told with this code, wears the backend out or does not, and is over when it is over.
fn passes(demo: &Demo, fault: &str, code: &str, opens: bool) {
    demo.billing.fails(fault);
    for n in 0..6 {
        let told = demo.list();
        // The first ones find out; from when the breaker is open on, nobody has to.
        let expected =
            if opens && n > 0 { ["backend_unavailable", code].contains(&told.error().as_str()) } else { told.error() == code };
        assert!(told.status == 200 && expected, "{fault}: {told:?}");
        assert_eq!(told.envelope()["effect"], json!("none"));
    }
    assert_eq!(demo.breaker() != "closed", opens, "{fault}");
    demo.billing.fails("");
    until_back(|| demo.list());
}

#[test]
fn a_backend_that_hangs_is_a_timeout_until_its_breaker_opens() {
    let demo = Demo::new(&[], "timeout = \"200ms\"\nretry = { attempts = 1 }\n");
    passes(&demo, "hang", "backend_timeout", true);
    assert!(demo.attempts("timed_out") >= 5.0);
}

#[test]
fn a_backend_that_hangs_longer_than_the_call_may_take_is_to_blame_and_not_the_tool() {
    // The tool may take two seconds, the backend a minute: its guest is told in time, and can still say so.
    let demo = Demo::new(&["--fault", "hang"], "timeout = \"1m\"\n");
    let careless = |then: &str| demo.client.call("careless_read", json!({ "invoice_id": "inv_0001", "then": then }));
    let told = careless("shrug");
    assert_eq!((told.error().as_str(), &told.envelope()["retryable"]), ("backend_timeout", &json!(true)), "{told:?}");
    let outcome = demo.outcome_of(&told);
    assert_eq!((&outcome["sent"][0]["error"], &outcome["sent"][0]["status"]), (&json!("timed_out"), &Value::Null));
    assert!(outcome["sent"][0]["latency_us"].as_u64().is_some_and(|micros| micros > 1_000_000), "{outcome}");
    // Nor does it hang for ever: such timeouts wear it out too.
    for _ in 0..4 {
        careless("boast");
    }
    assert_eq!(demo.breaker(), "open");
}

#[test]
fn a_slow_backend_is_no_failure() {
    let demo = Demo::new(&["--latency", "300ms"], "");
    for _ in 0..6 {
        demo.list().structured();
    }
    assert_eq!((demo.breaker().as_str(), demo.attempts("ok")), ("closed", 6.0));
}

#[test]
fn garbage_is_a_failure_of_the_call_and_no_outage() {
    let demo = Demo::new(&[], "");
    passes(&demo, "garbage", "failed", false);
}

#[test]
fn an_answer_that_breaks_off_is_an_outage() {
    let demo = Demo::new(&[], "");
    passes(&demo, "truncated", "backend_unavailable", true);
    assert!(demo.attempts("broken_off") >= 5.0);
    assert_eq!(demo.metric("tidegate_backend_retries_total{backend=\"billing\"}"), 0.0, "some of it had gone to the guest");
}

#[test]
fn headers_without_end_are_not_read_to_their_end() {
    let demo = Demo::new(&[], "");
    passes(&demo, "headers", "backend_unavailable", true);
    assert!(demo.attempts("not_http") >= 5.0);
}

#[test]
fn a_backend_out_of_order_opens_its_breaker_and_a_gateway_without_one_too() {
    let demo = Demo::new(&[], "");
    passes(&demo, "unavailable", "backend_unavailable", true);
    passes(&demo, "gateway", "backend_unavailable", true);
}

#[test]
fn a_backend_that_is_asked_too_often_is_left_alone_for_as_long_as_it_says() {
    let demo = Demo::new(&["--fault", "busy"], "");
    let told = demo.list();
    let envelope = told.envelope();
    assert_eq!(
        (told.error().as_str(), &envelope["retry_after_seconds"], &envelope["retryable"]),
        ("rate_limited", &json!(1), &json!(true))
    );
    // Others are told the same without being sent, whatever they ask for, until that second is over.
    let deadline = Instant::now() + PATIENCE;
    while demo.attempts("told_to_wait") == 0.0 {
        assert!(Instant::now() < deadline, "nobody is told to wait");
        let told = demo.list();
        assert_eq!((told.error().as_str(), &told.envelope()["retry_after_seconds"]), ("rate_limited", &json!(1)));
    }
    assert_eq!(demo.breaker(), "closed", "it lives");
    assert_eq!(demo.metric("tidegate_backend_retries_total{backend=\"billing\"}"), 0.0);
    demo.billing.fails("");
    while demo.list().body["result"]["isError"] == json!(true) {
        assert!(Instant::now() < deadline, "it is never asked again");
    }
}
