//! JSON that is refused before it is parsed.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const LIMITS: JsonLimits = JsonLimits { depth: 4, values: 20 };

fn flaw(text: &str) -> Option<Flaw> {
    read(text.as_bytes(), LIMITS).expect("well-formed JSON").flaw
}

#[test]
fn a_document_within_its_limits_is_read_whole() {
    let document = read(br#"{"a":[1,-2,3.5,"x",null,true],"b":{"c":{}}}"#, LIMITS).expect("JSON");
    assert_eq!(document, Document { value: json!({"a": [1, -2, 3.5, "x", null, true], "b": {"c": {}}}), flaw: None });
}

#[test]
fn a_member_that_stands_twice_is_found_at_any_depth() {
    assert_eq!(flaw(r#"{"a":1,"a":2}"#), Some(Flaw::Repeated("a".into())));
    assert_eq!(flaw(r#"{"p":{"q":{"amount":1,"amount":100}}}"#), Some(Flaw::Repeated("amount".into())));
    assert_eq!(flaw(r#"{"p":[{"a":1},{"a":1}]}"#), None);
}

#[test]
fn members_that_differ_only_in_their_escapes_are_the_same() {
    assert_eq!(flaw(r#"{"amount":1,"\u0061mount":100}"#), Some(Flaw::Repeated("amount".into())));
}

#[test]
fn a_depth_bomb_is_refused_and_its_id_is_still_known() {
    let bomb = format!(r#"{{"params":{}{},"id":7}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let document = read(bomb.as_bytes(), LIMITS).expect("well-formed JSON");
    assert_eq!((document.flaw, &document.value["id"]), (Some(Flaw::TooDeep(4)), &json!(7)));
}

#[test]
fn nesting_up_to_the_limit_is_fine() {
    assert_eq!(flaw(r#"{"a":{"b":{"c":{}}}}"#), None);
    assert_eq!(flaw(r#"{"a":{"b":{"c":{"d":[]}}}}"#), Some(Flaw::TooDeep(4)));
}

#[test]
fn a_flood_of_values_is_cut_off_and_its_id_is_still_known() {
    let flood = format!(r#"{{"params":[{}0],"id":"x"}}"#, "0,".repeat(1_000_000));
    let document = read(flood.as_bytes(), LIMITS).expect("well-formed JSON");
    assert_eq!((document.flaw, &document.value["id"]), (Some(Flaw::TooMany(20)), &json!("x")));
    assert!(document.value["params"].as_array().is_some_and(|kept| kept.len() <= 20));
}

#[test]
fn a_batch_is_not_even_read() {
    assert_eq!(read(br#"[{"a":1},2]"#, LIMITS).expect("JSON"), Document { value: json!([]), flaw: None });
}

#[test]
fn an_integer_that_would_be_rounded_is_refused() {
    assert_eq!(flaw(r#"{"amount":18446744073709551616}"#), Some(Flaw::Inexact("18446744073709551616".into())));
    assert_eq!(
        flaw(r#"{"note":"18446744073709551616","amount":-9223372036854775809}"#),
        Some(Flaw::Inexact("-9223372036854775809".into()))
    );
    assert_eq!(flaw(r#"{"amount":18446744073709551615,"x":1e30,"s":"\"99999999999999999999"}"#), None);
}

#[test]
fn a_number_beyond_all_doubles_is_not_json() {
    let error = read(br#"{"x":1e400}"#, LIMITS).expect_err("out of range");
    assert!(error.to_string().contains("out of range"), "{error}");
}

#[test]
fn what_is_not_json_is_an_error_with_its_place() {
    for text in ["", "{", "{'a':1}", "{\"a\":1} x", "nul", "{\"a\":\"\\ud800\"}"] {
        assert!(read(text.as_bytes(), LIMITS).is_err(), "{text}");
    }
    assert!(read(b"{\"a\":\"\xff\"}", LIMITS).is_err(), "invalid UTF-8");
    let error = read(b"{\"a\":1,}", LIMITS).expect_err("a trailing comma");
    assert!(error.to_string().contains("column 8"), "{error}");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes, LIMITS);
    }

    #[test]
    fn what_it_reads_is_what_serde_json_reads(numbers in proptest::collection::vec(any::<i64>(), 0..8), text in ".{0,20}") {
        let value = json!({ "numbers": numbers, "text": text });
        let document = read(value.to_string().as_bytes(), LIMITS).expect("JSON");
        prop_assert_eq!(document, Document { value, flaw: None });
    }
}
