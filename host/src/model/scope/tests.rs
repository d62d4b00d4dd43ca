//! The grammar of scopes, and what covers what.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::model::Principal;

fn scope(text: &str) -> Scope {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn principal() -> Principal {
    Principal {
        issuer: "https://id.example".into(),
        subject: "u1".into(),
        client: None,
        tenant: Some("acme".into()),
        groups: Vec::new(),
        scopes: Vec::new(),
        claims: BTreeMap::from([("pay_limit".into(), json!(500)), ("teams".into(), json!(["a", "b"]))]),
    }
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().expect("an object")
}

fn covers(held: &str, needed: &str, arguments: Option<Value>) -> bool {
    let (principal, arguments) = (principal(), arguments.map(object));
    scope(held).covers(&scope(needed), &Bindings { principal: &principal, arguments: arguments.as_ref() })
}

#[test]
fn an_error_names_the_column_what_was_expected_and_what_was_meant() {
    for (text, column, expected, hint) in [
        ("invoices", 9, "`:`", "write `action:resource`"),
        ("read:", 6, "a resource", ""),
        ("read:invoices.were(a=1)", 14, "the end, or `.where(`", "did you mean `.where(`?"),
        ("read:invoices.where()", 21, "an attribute", ""),
        ("read:invoices.where(user_id='u1'", 33, "`,` or `)`", ""),
        ("read:invoices.where(user_id=='u1')", 28, "a comparison", "did you mean `=`?"),
        ("read:invoices.where(n=<3)", 22, "a comparison", "did you mean `<=`?"),
        ("read:invoices.where(user_id=$princpal.sub)", 29, "`$principal.` or `$args/`", "did you mean `$principal`?"),
        ("read:invoices.where(user_id=u1)", 29, "an integer, a text", "did you mean `'u1'`?"),
        ("read:invoices.where(user_id='a b')", 31, "`'`", "percent-encoded"),
        ("read:invoices.where(n=01)", 23, "without leading zeros", ""),
        ("read:invoices.where(n=9223372036854775808)", 23, "64 bits", ""),
        ("read:invoices.where(user_id:in:'u1')", 32, "a list", ""),
        ("read:invoices.where(user_id<'u1')", 29, "an integer", ""),
        ("read:invoices.where(user_id='%zz')", 30, "two hex digits", ""),
        ("read:invoices.where(user_id=$args)", 34, "`/` and the name", ""),
        ("read:invoices.where(n=1) ", 25, "the end", ""),
        ("read:invoices where", 14, "the end, or `.where(`", ""),
    ] {
        let error = text.parse::<Scope>().expect_err(text);
        assert_eq!(error.column, column, "{error}");
        assert!(error.expected.contains(expected), "{error}");
        assert!(error.hint.clone().unwrap_or_default().contains(hint), "{error}");
        assert!(error.to_string().contains(&format!("at column {column}, expected ")), "{error}");
    }
}

#[test]
fn texts_beyond_the_limits_are_refused() {
    assert!(format!("read:{}", "x".repeat(1020)).parse::<Scope>().is_err());
    let many = vec!["a=1"; 17].join(",");
    assert!(format!("read:x.where({many})").parse::<Scope>().expect_err("too many").expected.contains("16"));
}

#[test]
fn a_scope_without_conditions_covers_every_narrower_one_and_never_the_reverse() {
    assert!(covers("read:invoices", "read:invoices.where(user_id=$principal.sub)", None));
    assert!(!covers("read:invoices.where(user_id=$principal.sub)", "read:invoices", None));
    assert!(!covers("read:invoices", "write:invoices", None));
    assert!(!covers("read:invoices", "read:payments", None));
}

#[test]
fn names_are_compared_by_what_they_stand_for_in_the_call() {
    let needed = "read:invoices.where(user_id=$principal.sub)";
    assert!(covers("read:invoices.where(user_id='u1')", needed, None));
    assert!(!covers("read:invoices.where(user_id='u2')", needed, None));
    let chosen = "read:invoices.where(user_id=$args/user_id)";
    assert!(covers("read:invoices.where(user_id=$principal.sub)", chosen, Some(json!({"user_id": "u1"}))));
    assert!(!covers("read:invoices.where(user_id=$principal.sub)", chosen, Some(json!({"user_id": "u2"}))));
    assert!(!covers("read:invoices.where(user_id=$principal.sub)", chosen, Some(json!({}))), "an absent argument fits nothing");
    assert!(covers("read:invoices.where(user_id=$principal.sub)", chosen, None), "a listing knows no arguments yet");
    assert!(!covers("read:x.where(a=$principal.absent)", "read:x.where(a=1)", None));
    assert!(!covers("read:x.where(a=1)", "read:x.where(a=$principal.absent)", None));
}

#[test]
fn bounds_and_lists_are_compared_as_sets_of_values() {
    let covers = |held: &str, needed: &str| covers(&format!("w:x.where({held})"), &format!("w:x.where({needed})"), None);
    assert!(covers("n<=500", "n<=$principal.pay_limit"));
    assert!(covers("n<=$principal.pay_limit", "n<=500"));
    assert!(covers("n<=500", "n<501") && covers("n<501", "n<=500"));
    assert!(!covers("n<=499", "n<=$principal.pay_limit"));
    assert!(covers("n!=7", "n>7") && covers("n!=7", "n=8") && !covers("n!=7", "n>6"));
    assert!(covers("n>=1", "n=$principal.pay_limit") && !covers("n<=1", "n>=1"));
    assert!(covers("t:in:$principal.teams", "t='a'") && !covers("t:in:$principal.teams", "t='c'"));
    assert!(covers("t!='c'", "t:in:$principal.teams") && !covers("t='a'", "t:in:$principal.teams"));
    assert!(covers("a=1,b=2", "b=2,a=1") && !covers("a=1,b=2", "a=1"));
    assert!(!covers("n=1", "n='1'") && !covers("n!=1", "n='1'"), "values of different types are not compared");
}

#[test]
fn the_delta_names_all_that_is_missing_and_all_that_goes_beyond() {
    let principal = principal();
    let bindings = Bindings { principal: &principal, arguments: None };
    let held = [scope("read:invoices"), scope("use:echo")];
    let needed = [scope("read:invoices.where(user_id=$principal.sub)"), scope("write:invoices"), scope("use:echo")];
    let delta = Delta::of(&held, &needed, &bindings);
    assert_eq!(delta, Delta { missing: vec![scope("write:invoices")], excess: vec![scope("read:invoices")] });
}

#[test]
fn a_row_is_admitted_only_if_every_condition_holds() {
    let principal = principal();
    let bindings = Bindings { principal: &principal, arguments: None };
    let admits = |text: &str, row: Value| scope(text).bind(&bindings).admits(&object(row));
    let own = "read:invoices.where(user_id=$principal.sub,amount_cents<=$principal.pay_limit)";
    assert!(admits(own, json!({"user_id": "u1", "amount_cents": 500})));
    assert!(!admits(own, json!({"user_id": "u1", "amount_cents": 501})));
    assert!(!admits(own, json!({"user_id": "u2", "amount_cents": 1})));
    assert!(!admits(own, json!({"user_id": "u1"})) && !admits(own, json!({"user_id": 1, "amount_cents": 1})));
    assert!(!admits("read:x.where(status!='void')", json!({})), "an absent attribute fails");
    assert!(admits("read:x", json!({})));
}

prop_compose! {
    fn any_condition()(
        attribute in "[a-z_][a-zA-Z0-9_-]{0,8}",
        comparison in proptest::sample::select(Comparison::ALL.map(|(comparison, _)| comparison).to_vec()),
        number in any::<i64>(),
        text in any::<String>(),
        kind in 0..4,
    ) -> Condition {
        let term = match kind {
            0 if comparison != Comparison::In => Term::Integer(number),
            1 if comparison != Comparison::In && !comparison.is_order() => Term::Text(text),
            2 => Term::Argument(format!("/{text}")),
            _ => Term::Principal(format!("c{text}")),
        };
        Condition { attribute, comparison, term }
    }
}

/// Conditions on few values of one attribute, so that they often meet.
fn small_condition() -> impl Strategy<Value = Condition> {
    let comparison = proptest::sample::select(Comparison::ALL.map(|(comparison, _)| comparison).to_vec());
    (comparison, -2_i64..3).prop_map(|(comparison, number)| {
        let term = if comparison == Comparison::In { Term::Principal("list".into()) } else { Term::Integer(number) };
        Condition { attribute: "n".into(), comparison, term }
    })
}

proptest! {
    #[test]
    fn a_scope_reads_back_what_it_prints(
        action in "[a-zA-Z0-9_-]{1,9}",
        resource in "[a-zA-Z0-9_-]{1,9}",
        conditions in proptest::collection::vec(any_condition(), 0..4),
    ) {
        let made = Scope { action, resource, conditions };
        let text = made.to_string();
        prop_assume!(text.len() <= Scope::MAX_LENGTH);
        prop_assert_eq!(text.parse::<Scope>().map_err(|error| error.to_string()), Ok(made));
        // RFC 6749 §3.3: scope-token = 1*( %x21 / %x23-5B / %x5D-7E )
        prop_assert!(text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E)), "{}", text);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "(r:x\\.where\\()?.{0,40}") {
        let _ = text.parse::<Scope>();
    }

    #[test]
    fn what_is_covered_admits_no_row_that_the_cover_does_not(
        held in proptest::collection::vec(small_condition(), 0..3),
        needed in proptest::collection::vec(small_condition(), 0..3),
        list in proptest::collection::vec(-2_i64..3, 0..3),
        row in -4_i64..5,
    ) {
        let mut principal = principal();
        principal.claims.insert("list".into(), json!(list));
        let bindings = Bindings { principal: &principal, arguments: None };
        let of = |conditions| Scope { action: "r".into(), resource: "x".into(), conditions };
        let (held, needed, row) = (of(held), of(needed), object(json!({ "n": row })));
        if held.covers(&needed, &bindings) && needed.bind(&bindings).admits(&row) {
            prop_assert!(held.bind(&bindings).admits(&row), "{} covers {}", held, needed);
        }
    }
}
