//! Headers that agree with their message, and those that don't.

use http::{HeaderName, HeaderValue};
use serde_json::json;

use super::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pairs = pairs.iter().map(|(name, value)| {
        (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).expect("a valid header value"))
    });
    let mut headers = HeaderMap::new();
    pairs.for_each(|(name, value)| {
        headers.append(name, value);
    });
    headers
}

fn key(pairs: &[(&'static str, &str)]) -> Result<Option<String>, i32> {
    offered_key(&headers(pairs)).map(|key| key.map(|key| key.text)).map_err(|error| error.code)
}

fn params(arguments: Value, pairs: &[(&'static str, &str)]) -> Result<(), i32> {
    let schema = json!({ "type": "object", "properties": {
        "region": { "type": "string", "x-mcp-header": "Region" },
        "count": { "type": "integer", "x-mcp-header": "Count" },
        "dry": { "type": "boolean", "x-mcp-header": "Dry" },
        "place": { "type": "object", "properties": { "zip": { "type": "string", "x-mcp-header": "Zip" } } },
        "plain": { "type": "string" },
    }});
    let (Value::Object(schema), Value::Object(arguments)) = (schema, arguments) else { unreachable!("both are objects") };
    check_params(&headers(pairs), &schema, &arguments).map_err(|error| error.code)
}

#[test]
fn a_key_may_be_quoted_or_bare() {
    assert_eq!(key(&[]), Ok(None));
    assert_eq!(
        key(&[("idempotency-key", "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"")]),
        Ok(Some("8e03978e-40d5-43dd-bc93-6894a57f9324".into()))
    );
    assert_eq!(key(&[("idempotency-key", "8e03978e")]), Ok(Some("8e03978e".into())));
    assert_eq!(key(&[("idempotency-key", r#""a\"b\\c""#)]), Ok(Some(r#"a"b\c"#.into())));
}

#[test]
fn two_keys_or_half_a_key_are_refused() {
    assert_eq!(key(&[("idempotency-key", "a"), ("idempotency-key", "a")]), Err(-32602));
    for broken in ["\"a", "\"a\"b", "\"a\\x\"", "a, b", "a;b", "", "a b", "\"a\";p=1"] {
        assert_eq!(key(&[("idempotency-key", broken)]), Err(-32602), "{broken}");
    }
}

#[test]
fn the_mirrors_of_a_call_must_be_there_once_and_agree() {
    let check =
        |pairs: &[(&'static str, &str)]| check(&headers(pairs), "tools/call", "params.name", "echo").map_err(|error| error.code);
    assert_eq!(check(&[("mcp-method", "tools/call"), ("mcp-name", "echo")]), Ok(()));
    assert_eq!(check(&[("mcp-method", "tools/call"), ("mcp-name", "  echo ")]), Ok(()));
    assert_eq!(check(&[("mcp-method", "tools/call"), ("mcp-name", "=?base64?ZWNobw==?=")]), Ok(()));
    for wrong in [
        &[("mcp-method", "tools/call")][..],
        &[("mcp-name", "echo")],
        &[("mcp-method", "TOOLS/CALL"), ("mcp-name", "echo")],
        &[("mcp-method", "tools/call"), ("mcp-name", "other")],
        &[("mcp-method", "tools/call"), ("mcp-name", "echo"), ("mcp-name", "echo")],
        &[("mcp-method", "tools/call"), ("mcp-name", "=?base64?!!?=")],
    ] {
        assert_eq!(check(wrong), Err(-32020), "{wrong:?}");
    }
}

#[test]
fn a_mirrored_argument_needs_its_header_and_an_absent_one_must_not_have_it() {
    assert_eq!(params(json!({ "region": "eu" }), &[("mcp-param-region", "eu")]), Ok(()));
    assert_eq!(params(json!({ "plain": "x" }), &[]), Ok(()));
    assert_eq!(params(json!({ "region": "eu" }), &[]), Err(-32020));
    assert_eq!(params(json!({}), &[("mcp-param-region", "eu")]), Err(-32020));
    assert_eq!(params(json!({ "region": null }), &[("mcp-param-region", "null")]), Err(-32020));
    assert_eq!(params(json!({ "region": "us" }), &[("mcp-param-region", "eu")]), Err(-32020));
}

#[test]
fn mirrors_of_nested_arguments_count_too() {
    assert_eq!(params(json!({ "place": { "zip": "8001" } }), &[("mcp-param-zip", "8001")]), Ok(()));
    assert_eq!(params(json!({ "place": { "zip": "8001" } }), &[]), Err(-32020));
    assert_eq!(params(json!({}), &[("mcp-param-zip", "8001")]), Err(-32020));
}

#[test]
fn numbers_are_mirrored_by_value_and_booleans_by_word() {
    for text in ["42", "42.0", "4.2e1"] {
        assert_eq!(params(json!({ "count": 42 }), &[("mcp-param-count", text)]), Ok(()), "{text}");
    }
    assert_eq!(params(json!({ "count": 42 }), &[("mcp-param-count", "43")]), Err(-32020));
    assert_eq!(params(json!({ "count": 9_007_199_254_740_993_i64 }), &[("mcp-param-count", "9007199254740992")]), Err(-32020));
    assert_eq!(params(json!({ "dry": true }), &[("mcp-param-dry", "true")]), Ok(()));
    assert_eq!(params(json!({ "dry": true }), &[("mcp-param-dry", "1")]), Err(-32020));
}

#[test]
fn only_a_complete_wrapping_is_base64() {
    assert_eq!(params(json!({ "region": "Hello" }), &[("mcp-param-region", "=?base64?SGVsbG8=?=")]), Ok(()));
    assert_eq!(params(json!({ "region": "SGVsbG8=" }), &[("mcp-param-region", "SGVsbG8=")]), Ok(()));
    assert_eq!(params(json!({ "region": "=?base64?SGVsbG8=" }), &[("mcp-param-region", "=?base64?SGVsbG8=")]), Ok(()));
    assert_eq!(params(json!({ "region": "Hello" }), &[("mcp-param-region", "=?base64?SGVsbG8?=")]), Err(-32020));
}
