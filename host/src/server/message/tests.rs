//! Bodies that are messages, and those that are not.

use serde_json::json;

use super::*;

fn parse(text: &str) -> Result<Message, RpcError> {
    read(text.as_bytes(), JsonLimits::default())
}

fn refusal(text: &str) -> (i32, Option<Id>) {
    let error = parse(text).expect_err("not a message");
    (error.code, error.id)
}

#[test]
fn a_request_keeps_its_id_method_and_params() {
    let message = parse(r#"{"jsonrpc":"2.0","id":"a","method":"tools/list","params":{"x":1}}"#).expect("a request");
    let params = json!({"x": 1}).as_object().cloned().expect("an object");
    assert_eq!(message, Message::Request { id: Id::Text("a".into()), method: "tools/list".into(), params });
}

#[test]
fn a_message_without_an_id_is_a_notification_and_one_without_a_method_a_response() {
    assert!(matches!(parse(r#"{"jsonrpc":"2.0","method":"notifications/x"}"#), Ok(Message::Notification { .. })));
    assert_eq!(parse(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), Ok(Message::Response));
}

#[test]
fn an_id_that_is_null_or_fractional_is_refused_without_repeating_it() {
    for id in ["null", "1.5", "{}", "true", "[1]"] {
        assert_eq!(refusal(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"m"}}"#)), (-32600, None), "{id}");
    }
}

#[test]
fn a_refusal_names_the_request_whenever_its_id_can_be_read() {
    let five = Some(Id::Number(5));
    assert_eq!(refusal(r#"{"jsonrpc":"1.0","id":5,"method":"m"}"#), (-32600, five.clone()));
    assert_eq!(refusal(r#"{"jsonrpc":"2.0","id":5}"#), (-32600, five.clone()));
    assert_eq!(refusal(r#"{"jsonrpc":"2.0","id":5,"method":7}"#), (-32600, five.clone()));
    assert_eq!(refusal(r#"{"jsonrpc":"2.0","id":5,"method":"m","params":[1]}"#), (-32602, five.clone()));
    assert_eq!(refusal(r#"{"jsonrpc":"2.0","method":"m","params":{"a":1,"a":2},"id":5}"#), (-32600, five));
}

#[test]
fn what_is_no_message_at_all_is_refused_without_an_id() {
    assert_eq!(refusal("not json"), (-32700, None));
    assert_eq!(refusal("[]"), (-32600, None));
    assert_eq!(refusal(r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#), (-32600, None));
    assert_eq!(refusal("42"), (-32600, None));
}
