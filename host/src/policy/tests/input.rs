//! What policies see of JSON Schemas.

use serde_json::Map;

use super::super::input::{Input, InputType, VALUES};
use super::*;
use crate::model::scope::integer;

/// What policies see of a property with this schema: its type, whether it may be absent though required, or why not.
fn read(property: Value) -> Result<(InputType, bool), &'static str> {
    let schema = json!({ "properties": { "p": property }, "required": ["p"], "type": "object",
        "$defs": { "Text": { "type": "string" }, "a/b": { "type": "integer" } } });
    let mut input = Input::of(&schema);
    match input.attributes.remove("p") {
        Some(attribute) => Ok((attribute.kind, !attribute.required)),
        None => Err(input.invisible.iter().find(|(path, _)| path == "/p").expect("what is not seen is reported").1),
    }
}

#[test]
fn every_row_of_the_table_holds() {
    use InputType::{Bool, Long, Set, String};
    let text = || json!({ "type": "string" });
    for (schema, kind, optional) in [
        (json!({ "type": "boolean" }), Bool, false),
        (json!({ "type": ["integer", "null"] }), Long, true),
        (json!({ "type": "string", "pattern": "^a", "maxLength": 3 }), String, false),
        (json!({ "const": true }), Bool, false),
        (json!({ "enum": [1, 2, 3.0] }), Long, false),
        (json!({ "enum": ["a", null] }), String, true),
        (json!({ "type": "array", "items": { "type": "array", "items": text() } }), Set(Box::new(Set(Box::new(String)))), false),
        (json!({ "anyOf": [text(), { "type": "null" }] }), String, true),
        (json!({ "oneOf": [{ "const": "a" }, { "const": "b" }] }), String, false),
        (json!({ "$ref": "#/$defs/Text" }), String, false),
        (json!({ "$ref": "#/$defs/a~1b", "description": "siblings narrow" }), Long, false),
    ] {
        assert_eq!(read(schema.clone()), Ok((kind, optional)), "{schema}");
    }
    for schema in [
        json!({}),
        json!(true),
        json!(false),
        json!({ "type": "number" }),
        json!({ "type": "null" }),
        json!({ "type": ["string", "integer"] }),
        json!({ "enum": ["a", 1] }),
        json!({ "const": 0.5 }),
        json!({ "const": {} }),
        json!({ "oneOf": [text(), { "type": "integer" }] }),
        json!({ "type": "array" }),
        json!({ "type": "array", "items": [text()] }),
        json!({ "type": "array", "items": false, "prefixItems": [text()] }),
        json!({ "type": "array", "items": { "type": ["string", "null"] } }),
        json!({ "type": "object" }),
        json!({ "type": "object", "additionalProperties": text() }),
        json!({ "$ref": "#/$defs/None" }),
        json!({ "$ref": "#/definitions/Text" }),
        json!({ "$ref": "#" }),
        json!({ "type": "string", "$id": "https://example.com/" }),
    ] {
        assert!(read(schema.clone()).is_err(), "{schema}");
    }
}

#[test]
fn a_schema_that_multiplies_or_nests_without_end_is_cut() {
    let multiplying = |levels: usize, names: &[&str]| {
        let level = |level: usize| {
            let next = json!({ "$ref": format!("#/$defs/{}", level + 1) });
            let properties: Map<_, _> = names.iter().map(|name| ((*name).to_owned(), next.clone())).collect();
            (level.to_string(), json!({ "type": "object", "properties": properties }))
        };
        let mut definitions: Map<_, _> = (0..levels).map(level).collect();
        definitions.insert(levels.to_string(), json!({ "type": "string" }));
        Input::of(&json!({ "$defs": definitions, "properties": { "p": { "$ref": "#/$defs/0" } }, "type": "object" }))
    };
    let invisible = |reason| vec![("/p".to_owned(), reason)];
    assert_eq!(multiplying(60, &["a"]).invisible, invisible("it has no property that policies can see"));
    let wide = multiplying(6, &["a", "b", "c", "d", "e", "f"]);
    assert!(wide.invisible.iter().any(|(_, reason)| *reason == "the schema describes too much"));
    assert!(wide.invisible.len() < VALUES && wide.attributes.contains_key("p"));
}

#[test]
fn only_what_is_exactly_a_long_is_an_integer() {
    for (text, expected) in [
        ("9223372036854775807", Some(i64::MAX)),
        ("9223372036854775808", None),
        ("-9223372036854775808", Some(i64::MIN)),
        ("9223372036854775808.0", None),
        ("-9223372036854775808.0", Some(i64::MIN)),
        ("1.0", Some(1)),
        ("-0.0", Some(0)),
        ("1e3", Some(1000)),
        ("1.5", None),
        ("1e300", None),
    ] {
        let number: serde_json::Number = serde_json::from_str(text).expect("a number");
        assert_eq!(integer(&number), expected, "{text}");
    }
}
