//! Requests and responses, against a stand-in for the host.

use serde_json::{Value, json};

use super::*;
use crate::testing::{Host, reply};

#[test]
fn an_argument_can_not_leave_its_place_in_the_path() {
    let host = Host::new().backend("billing", |_| Ok(reply(200, &json!({}))));
    let context = host.context();
    let billing = context.backend("billing");
    billing.get(&["invoices", "../../admin?x#y"]).query("a&b", "1=2 ü").send().expect("it is sent");
    assert_eq!(host.requests()[0].path, "/invoices/..%2F..%2Fadmin%3Fx%23y?a%26b=1%3D2%20%C3%BC");
    for segment in ["", ".", ".."] {
        let error = billing.get(&["invoices", segment]).send().expect_err("it can't be a segment");
        assert_eq!(Failure::from(error).code, code::INVALID_ARGUMENTS);
    }
    assert_eq!(host.requests().len(), 1, "what is invalid is not sent");
}

#[test]
fn a_json_body_carries_its_type() {
    let host = Host::new().backend("billing", |_| Ok(reply(201, &json!({ "id": "i1" }))));
    let context = host.context();
    let response = context.backend("billing").post(&["invoices"]).json(&json!({ "a": 1 })).send().expect("sent");
    assert_eq!((response.status(), response.json::<Value>()), (201, Ok(json!({ "id": "i1" }))));
    let request = &host.requests()[0];
    assert_eq!(request.method, Method::Post);
    assert_eq!(request.body, br#"{"a":1}"#);
    assert_eq!(request.headers, [("content-type".to_owned(), "application/json".to_owned())]);
}

#[test]
fn a_bad_status_becomes_the_failure_that_fits() {
    for (status, expected) in [
        (400, code::INVALID_ARGUMENTS),
        (403, code::FAILED),
        (404, code::NOT_FOUND),
        (409, code::CONFLICT),
        (429, code::RATE_LIMITED),
        (500, code::BACKEND_UNAVAILABLE),
        (504, code::BACKEND_TIMEOUT),
    ] {
        let response = Response::new("billing", status, Vec::new(), b"because\n".to_vec());
        let failure = response.success().expect_err("the status is bad");
        assert_eq!(failure.code, expected, "{status}");
        assert_eq!(failure.message, format!("the backend `billing` answered {status}: because"));
    }
    assert!(Response::new("billing", 204, Vec::new(), Vec::new()).success().is_ok());
}

#[test]
fn a_backends_retry_after_reaches_the_agent() {
    let response = |value: &[u8]| Response::new("billing", 503, vec![("Retry-After".to_owned(), value.to_vec())], Vec::new());
    assert_eq!(response(b"7").success().expect_err("503").retry_after_seconds, Some(7));
    assert_eq!(response(b"soon").success().expect_err("503").retry_after_seconds, None);
}

#[test]
fn a_backend_that_does_not_answer_is_unavailable_not_an_empty_answer() {
    let host = Host::new();
    let error = host.context().backend("billing").get(&["x"]).send().expect_err("nobody plays `billing`");
    assert_eq!(Failure::from(error).code, code::PERMISSION_DENIED);

    let host = host.backend("billing", |request| {
        Err(HttpError::Unavailable { backend: request.backend.clone(), reason: "connection refused".to_owned() })
    });
    let error = host.context().backend("billing").get(&["x"]).send().expect_err("it is down");
    assert_eq!(Failure::from(error).code, code::BACKEND_UNAVAILABLE);
}

#[test]
fn a_body_over_the_limit_is_an_error() {
    let host = Host::new().backend("billing", |_| Ok(reply(200, &json!("0123456789"))));
    let context = host.context();
    let send = |limit| context.backend("billing").get(&["x"]).max_body_bytes(limit).send();
    assert!(send(12).is_ok());
    assert_eq!(send(11), Err(HttpError::TooLarge { backend: "billing".to_owned(), limit_bytes: 11 }));
}
