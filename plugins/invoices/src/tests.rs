//! The tools against a stand-in for the host, with a scripted billing.

use serde_json::{Value, json};
use tidegate_plugin_sdk::http::{HttpError, Method, Response};
use tidegate_plugin_sdk::testing::{Host, reply};
use tidegate_plugin_sdk::{Failure, code};

use crate::PLUGIN;

fn invoice(id: &str, status: &str) -> Value {
    json!({ "id": id, "user_id": "u1", "status": status, "amount_cents": 1250, "description": "Dues",
        "created_at": "2026-01-01T00:00:00Z" })
}

fn call(host: &Host, tool: &str, arguments: &Value) -> Result<Value, Failure> {
    let output = PLUGIN.call(tool, &arguments.to_string(), &host.context())?;
    Ok(serde_json::from_str(&output.structured.expect("the tools answer with data")).expect("the answer is JSON"))
}

#[test]
fn a_listing_asks_only_for_what_was_asked() {
    let answer = json!({ "invoices": [invoice("inv_0001", "open")], "truncated": false });
    let expected = answer.clone();
    let host = Host::new().backend("billing", move |_| Ok(reply(200, &answer)));
    assert_eq!(call(&host, "list_invoices", &json!({})), Ok(expected.clone()));
    let filtered = json!({ "user_id": "u&1", "status": "open" });
    assert_eq!(call(&host, "list_invoices", &filtered), Ok(expected));
    let paths: Vec<_> = host.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/invoices", "/invoices?user_id=u%261&status=open"]);
}

#[test]
fn an_invoice_is_read_created_and_paid_on_its_own_route() {
    let host = Host::new().permits(|_, row| row["user_id"] == "u1").backend("billing", |request| {
        let status = if request.path.ends_with("/pay") { "paid" } else { "open" };
        Ok(reply(200, &invoice("inv_0001", status)))
    });
    let id = json!({ "invoice_id": "inv_0001" });
    let new = json!({ "user_id": "u1", "amount_cents": 1250, "description": "Dues" });
    assert_eq!(call(&host, "get_invoice", &id), Ok(invoice("inv_0001", "open")));
    assert_eq!(call(&host, "create_invoice", &new), Ok(invoice("inv_0001", "open")));
    assert_eq!(call(&host, "pay_invoice", &id), Ok(invoice("inv_0001", "paid")));
    let requests = host.requests();
    let routes: Vec<_> = requests.iter().map(|request| (request.method, request.path.as_str())).collect();
    assert_eq!(
        routes,
        [
            (Method::Get, "/invoices/inv_0001"),
            (Method::Post, "/invoices"),
            (Method::Get, "/invoices/inv_0001"),
            (Method::Post, "/invoices/inv_0001/pay"),
        ]
    );
    assert_eq!(serde_json::from_slice::<Value>(&requests[1].body).expect("JSON"), new);
    assert!(requests[3].headers.is_empty(), "the idempotency key is the host's business");
}

#[test]
fn what_the_host_does_not_permit_is_neither_created_nor_paid_nor_told_apart_from_what_is_not_there() {
    let host = Host::new().permits(|_, row| row["user_id"] == "u2").backend("billing", |request| {
        let there = request.path == "/invoices/inv_0001";
        Ok(if there { reply(200, &invoice("inv_0001", "open")) } else { reply(404, &json!({ "message": "no inv_0002" })) })
    });
    let new = json!({ "user_id": "u1", "amount_cents": 1250 });
    assert_eq!(call(&host, "create_invoice", &new).expect_err("not for u1").code, code::PERMISSION_DENIED);
    let pay = |id: &str| call(&host, "pay_invoice", &json!({ "invoice_id": id })).expect_err("it may not be paid");
    assert_eq!(pay("inv_0001"), pay("inv_0002"));
    assert_eq!(pay("inv_0001").code, code::NOT_FOUND);
    assert!(host.requests().iter().all(|request| request.method == Method::Get));
}

#[test]
fn a_listing_asks_only_for_what_the_caller_may_see() {
    let answer = json!({ "invoices": [], "truncated": false });
    let filter = json!({ "and": [{ "eq": ["user_id", "u1"] }, { "ne": ["status", "void"] }] });
    let host = Host::new().row_filter(&filter).backend("billing", move |_| Ok(reply(200, &answer)));
    assert!(call(&host, "list_invoices", &json!({})).is_ok());
    assert!(call(&host, "list_invoices", &json!({ "user_id": "u2" })).is_ok());
    let paths: Vec<_> = host.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/invoices?user_id=u1", "/invoices?user_id=u2"], "what was asked for goes first");
}

#[test]
fn an_invoice_id_can_not_name_another_route() {
    let host = Host::new().backend("billing", |_| Ok(reply(404, &json!({ "message": "no" }))));
    let arguments = json!({ "invoice_id": "inv_0001/pay?x=" });
    assert_eq!(call(&host, "get_invoice", &arguments).expect_err("there is none").code, code::NOT_FOUND);
    assert_eq!(host.requests()[0].path, "/invoices/inv_0001%2Fpay%3Fx%3D");
    let failure = call(&host, "pay_invoice", &json!({ "invoice_id": ".." })).expect_err("it is no id");
    assert_eq!((failure.code.as_str(), host.requests().len()), (code::INVALID_ARGUMENTS, 1));
}

#[test]
fn what_billing_refuses_is_told_in_its_words() {
    for (status, expected) in [(404, code::NOT_FOUND), (409, code::CONFLICT), (422, code::INVALID_ARGUMENTS)] {
        let host = Host::new()
            .backend("billing", move |_| Ok(reply(status, &json!({ "error": "x", "message": "the invoice is paid" }))));
        let failure = call(&host, "get_invoice", &json!({ "invoice_id": "inv_0001" })).expect_err("it is refused");
        assert_eq!(failure, Failure::new(expected, "the invoice is paid"), "{status}");
    }
}

#[test]
fn a_billing_in_trouble_is_unavailable_says_when_to_try_again_and_keeps_its_secrets() {
    let arguments = json!({ "invoice_id": "inv_0001" });
    let broken = |headers: Vec<(String, Vec<u8>)>| {
        Host::new().backend("billing", move |_| {
            Ok(Response::new("billing", 500, headers.clone(), b"panicked at password=hunter2".to_vec()))
        })
    };
    let failure = call(&broken(Vec::new()), "pay_invoice", &arguments).expect_err("it is broken");
    assert_eq!((failure.code.as_str(), failure.retry_after_seconds), (code::BACKEND_UNAVAILABLE, None));
    assert!(!failure.message.contains("hunter2"));
    let told = broken(vec![("retry-after".to_owned(), b"3".to_vec())]);
    assert_eq!(call(&told, "pay_invoice", &arguments).expect_err("it is broken").retry_after_seconds, Some(3));
}

#[test]
fn a_billing_that_does_not_answer_never_becomes_an_empty_answer() {
    for (error, expected) in [
        (HttpError::Unavailable { backend: "billing".to_owned(), reason: "refused".to_owned() }, code::BACKEND_UNAVAILABLE),
        (HttpError::Timeout { backend: "billing".to_owned(), reason: "first byte".to_owned() }, code::BACKEND_TIMEOUT),
    ] {
        let host = Host::new().backend("billing", move |_| Err(error.clone()));
        let failure = call(&host, "list_invoices", &json!({})).expect_err("there is no answer");
        assert_eq!((failure.code.as_str(), failure.retry_after_seconds), (expected, None));
    }
    for body in ["", "{}", "<html>", r#"{"invoices":[{"id":1}]}"#] {
        let host =
            Host::new().backend("billing", move |_| Ok(Response::new("billing", 200, Vec::new(), body.as_bytes().to_vec())));
        let failure = call(&host, "list_invoices", &json!({})).expect_err("that is no listing");
        assert_eq!(failure.code, code::FAILED, "{body}");
    }
}

#[test]
fn the_schemas_say_what_billing_will_accept() {
    let definitions = PLUGIN.describe();
    let schema = |name| &definitions.iter().find(|tool| tool.name == name).expect("the tool exists").input_schema;
    assert_eq!(schema("list_invoices")["properties"]["status"]["enum"], json!(["open", "paid", "void", null]));
    assert_eq!(schema("create_invoice")["properties"]["amount_cents"]["minimum"], 1);
    assert_eq!(schema("create_invoice")["required"], json!(["user_id", "amount_cents"]));
    assert_eq!(schema("pay_invoice")["required"], json!(["invoice_id"]));
    assert!(definitions.iter().all(|tool| tool.input_schema["additionalProperties"] == false));
}
