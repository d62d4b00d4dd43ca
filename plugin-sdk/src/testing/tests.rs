//! The stand-in for the host does as it is told, and no more.

use serde_json::json;

use super::*;

#[test]
fn the_host_tells_a_call_what_it_was_told() {
    let host = Host::new().subject("u7").attempt(2).idempotency_key("k").row_filter(&json!({ "eq": ["user_id", "u7"] }));
    let context = host.context();
    assert_eq!((context.subject(), context.attempt(), context.idempotency_key()), ("u7", 2, Some("k")));
    assert_eq!(context.row_filter().and_then(|filter| filter.only("user_id").cloned()), Some(json!("u7")));
    assert_eq!(context.trace_id().len(), 32);
}

#[test]
fn an_untold_host_permits_nothing() {
    let context = Host::new().context();
    assert!(!context.permits("invoices", &json!({ "user_id": "u1" })));
    assert!(!context.is_cancelled());
    assert_eq!((context.idempotency_key(), context.now()), (None, noon()));
    let refused = context.backend("billing").get(&[]).send().expect_err("there is no backend");
    assert_eq!(refused, HttpError::Refused { backend: "billing".to_owned() });
}

#[test]
fn the_host_remembers_what_a_call_reported() {
    let host = Host::new().permits(|_, row| row["id"] == 1);
    let context = host.context();
    context.progress(1, Some(2), "half");
    context.log(Level::Warning, "careful");
    host.cancel();
    assert!(context.is_cancelled());
    assert_eq!(host.progress(), [Progress { done: 1, total: Some(2), message: "half".to_owned() }]);
    assert_eq!(host.logs(), [(Level::Warning, "careful".to_owned())]);
    assert_eq!([1, 2].map(|id| context.permits("rows", &json!({ "id": id }))), [true, false]);
    let decided: Vec<_> = host.decisions().into_iter().map(|Decision { row, permitted, .. }| (row, permitted)).collect();
    assert_eq!(decided, [(json!({ "id": 1 }), true), (json!({ "id": 2 }), false)]);
}

#[test]
fn answers_are_given_once_each_and_in_order() {
    let host = Host::new()
        .answer("billing", Method::Get, "/invoices?page=1", reply(200, &json!([1])))
        .answer("billing", Method::Post, "/invoices", unreachable())
        .answer("billing", Method::Post, "/invoices", reply(201, &json!({})));
    let context = host.context();
    let create = || context.backend("billing").post(&["invoices"]).send();
    assert_eq!(create(), Err(HttpError::Unavailable { backend: "billing".to_owned(), reason: "connection refused".to_owned() }));
    assert_eq!(create().expect("it is back").status(), 201);
    let left = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| host.assert_all_asked()));
    let left = left.expect_err("one is left").downcast::<String>().expect("a message");
    assert_eq!(*left, "nobody asked for `GET /invoices?page=1` of `billing`");
    let page = context.backend("billing").get(&["invoices"]).query("page", 1).send().expect("it is ready");
    assert_eq!(page.json::<Value>().expect("JSON"), json!([1]));
    host.assert_all_asked();
}

#[test]
#[should_panic(
    expected = "the tool asked for `GET /invoices/2` of `billing`, to which no answer is ready; there is one for `GET /invoices/1`"
)]
fn a_request_that_nobody_foresaw_fails_the_test() {
    let host = Host::new().answer("billing", Method::Get, "/invoices/1", reply(200, &json!({})));
    let _ = host.context().backend("billing").get(&["invoices", "2"]).send();
}

#[test]
fn nothing_is_changed_behind_a_gate_before_a_row_was_permitted() {
    let host = Host::new()
        .gated()
        .permits(|_, _| true)
        .answer("billing", Method::Get, "/invoices/1", reply(200, &json!({})))
        .answer("billing", Method::Post, "/invoices/1/pay", too_slow());
    let context = host.context();
    let pay = || context.backend("billing").post(&["invoices", "1", "pay"]).send();
    assert!(context.backend("billing").get(&["invoices", "1"]).send().is_ok());
    assert_eq!(pay(), Err(HttpError::Refused { backend: "billing".to_owned() }));
    assert!(context.permits("invoices", &json!({})));
    assert!(matches!(pay(), Err(HttpError::Timeout { .. })), "it left");
}
