//! The schema of a form, held to the shapes that every client can draw (MCP 2026-07-28, elicitation, "Requested Schema").
//!
//! What is left of JSON Schema is cheap to compile, whoever wrote it: no pattern, no reference, nothing nested.

#![expect(dead_code, reason = "these shapes are there to be read into, and nothing else")]

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// The whole form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Form {
    r#type: Object,
    properties: BTreeMap<String, Value>,
    required: Option<Vec<String>>,
    #[serde(rename = "$schema")]
    dialect: Option<String>,
    title: Option<String>,
    description: Option<String>,
    additional_properties: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Object {
    Object,
}

/// One field (`PrimitiveSchemaDefinition`).
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", rename_all_fields = "camelCase", deny_unknown_fields)]
enum Field {
    String {
        title: Option<String>,
        description: Option<String>,
        default: Option<String>,
        min_length: Option<u64>,
        max_length: Option<u64>,
        format: Option<Format>,
        r#enum: Option<Vec<String>>,
        enum_names: Option<Vec<String>>,
        one_of: Option<Vec<Choice>>,
    },
    Number {
        title: Option<String>,
        description: Option<String>,
        default: Option<f64>,
        minimum: Option<f64>,
        maximum: Option<f64>,
    },
    Integer {
        title: Option<String>,
        description: Option<String>,
        default: Option<i64>,
        minimum: Option<f64>,
        maximum: Option<f64>,
    },
    Boolean {
        title: Option<String>,
        description: Option<String>,
        default: Option<bool>,
    },
    Array {
        title: Option<String>,
        description: Option<String>,
        default: Option<Vec<String>>,
        min_items: Option<u64>,
        max_items: Option<u64>,
        items: Choices,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Format {
    Email,
    Uri,
    Date,
    DateTime,
}

/// What several can be chosen of.
#[derive(Deserialize)]
#[serde(untagged)]
enum Choices {
    Plain(Plain),
    Titled(Titled),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    r#type: Text,
    r#enum: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Text {
    String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Titled {
    any_of: Vec<Choice>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    r#const: String,
    title: String,
}

/// Whether a schema is that of a form.
///
/// # Errors
/// What clients would not draw, for the tool's author.
pub fn check(schema: &Value) -> Result<(), String> {
    let form = Form::deserialize(schema).map_err(|error| format!("`requestedSchema` is not that of a form: {error}"))?;
    for (name, field) in &form.properties {
        Field::deserialize(field).map_err(|error| {
            format!("the field `{name}` of `requestedSchema` is none that clients draw (a text, a number, a yes or no, a choice): {error}")
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn field(field: &Value) -> Result<(), String> {
        check(&json!({ "type": "object", "properties": { "field": field }, "required": ["field"] }))
    }

    #[test]
    fn what_mcp_has_is_a_form() {
        for one in [
            json!({ "type": "string", "title": "T", "format": "email", "minLength": 1, "maxLength": 9, "default": "a@b.c" }),
            json!({ "type": "string", "format": "date-time" }),
            json!({ "type": "boolean", "default": false }),
            json!({ "type": "integer", "minimum": 1, "maximum": 9, "default": 2 }),
            json!({ "type": "number", "minimum": 0.5, "description": "D" }),
            json!({ "type": "string", "enum": ["a", "b"], "enumNames": ["A", "B"], "default": "a" }),
            json!({ "type": "string", "oneOf": [{ "const": "a", "title": "A" }] }),
            json!({ "type": "array", "items": { "type": "string", "enum": ["a"] }, "minItems": 1, "maxItems": 2, "default": ["a"] }),
            json!({ "type": "array", "items": { "anyOf": [{ "const": "a", "title": "A" }] } }),
        ] {
            assert_eq!(field(&one), Ok(()), "{one}");
        }
        let dialect = "https://json-schema.org/draft/2020-12/schema";
        assert_eq!(
            check(
                &json!({ "$schema": dialect, "type": "object", "title": "T", "properties": {}, "additionalProperties": false })
            ),
            Ok(())
        );
    }

    #[test]
    fn nothing_else_is() {
        let bomb = json!({ "pattern": "(a{9999}){9999}" });
        for other in [
            json!({ "type": "object" }),
            json!({ "type": ["string", "null"] }),
            json!({ "type": "string", "pattern": "(a{9999}){9999}" }),
            json!({ "type": "string", "format": "ipv4" }),
            json!({ "type": "string", "default": 7 }),
            json!({ "type": "string", "oneOf": [{ "const": "a" }] }),
            json!({ "type": "string", "allOf": [bomb] }),
            json!({ "type": "array", "items": {} }),
            json!({ "type": "array", "items": { "enum": ["a"] } }),
            json!({ "type": "array", "items": { "anyOf": [bomb] } }),
            json!({ "type": "array", "items": { "type": "string", "enum": ["a"], "pattern": "a" } }),
            json!({ "$ref": "#" }),
            json!(true),
        ] {
            assert!(field(&other).expect_err("no client draws that").contains("`field`"), "{other}");
        }
        for other in [
            json!({ "type": "object", "properties": {}, "additionalProperties": bomb }),
            json!({ "type": "object", "properties": {}, "allOf": [bomb] }),
            json!({ "type": "array", "properties": {} }),
            json!({ "type": "object" }),
            json!(7),
        ] {
            assert!(check(&other).is_err(), "{other}");
        }
    }
}
