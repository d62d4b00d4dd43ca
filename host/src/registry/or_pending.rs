//! Output schemas as clients see them: any call may also be answered with *pending*, and official clients throw away an answer that
//! its tool's schema does not allow.

use serde_json::{Map, Value, json};

/// Where a schema keeps what it refers to.
const DEFINITIONS: [&str; 2] = ["$defs", "definitions"];

/// The same schema, or *pending*. `None` if it refers to itself in a way that it could not from within another one: clients then
/// see no output schema, and check nothing.
pub fn allowing(schema: &Value) -> Option<Map<String, Value>> {
    if !may_be_moved(schema) {
        return None;
    }
    let mut own = schema.as_object()?.clone();
    let mut outer = Map::new();
    // Both stay at the root, where references look for them, and the dialect where it has to be said.
    for name in ["$schema"].iter().chain(&DEFINITIONS) {
        if let Some(value) = own.remove(*name) {
            outer.insert((*name).to_owned(), value);
        }
    }
    // The handshake protocols want it at the root.
    if own.get("type") == Some(&json!("object")) {
        outer.insert("type".to_owned(), json!("object"));
    }
    outer.insert("anyOf".to_owned(), json!([own, pending()]));
    Some(outer)
}

fn pending() -> Value {
    json!({
        "type": "object",
        "title": "Pending",
        "description": "The call goes on; ask for its result with `poll_tool`.",
        "properties": {
            "status": { "const": "pending" },
            "call_id": { "type": "string" },
            "state": { "enum": ["queued", "running"] },
            "retry_after_seconds": { "type": "integer" },
            "poll_tool": { "type": "string" },
            "poll_url": { "type": "string" },
            "message": { "type": "string" },
        },
        "required": ["status", "call_id", "state", "retry_after_seconds", "poll_tool", "poll_url", "message"],
    })
}

/// Whether every reference in it leads to its definitions.
fn may_be_moved(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => members.iter().all(|(name, value)| match name.as_str() {
            "$ref" => value.as_str().is_some_and(|to| {
                DEFINITIONS.iter().any(|at| to.strip_prefix("#/").is_some_and(|to| to.starts_with(&format!("{at}/"))))
            }),
            "$id" | "$anchor" | "$dynamicRef" | "$dynamicAnchor" => false,
            _ => may_be_moved(value),
        }),
        Value::Array(values) => values.iter().all(may_be_moved),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Schema;
    use super::*;

    fn answer() -> Value {
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": { "rows": { "type": "array", "items": { "$ref": "#/$defs/row" } } },
            "required": ["rows"],
            "additionalProperties": false,
            "$defs": { "row": { "type": "integer" } },
        })
    }

    #[test]
    fn a_schema_allows_what_it_did_and_pending_and_nothing_else() {
        let allowing = allowing(&answer()).expect("it may be moved");
        assert_eq!(allowing["type"], "object");
        let schema = Schema::compile(&Value::Object(allowing)).expect("a schema");
        let pending = json!({
            "status": "pending", "call_id": "call_x", "state": "queued", "retry_after_seconds": 1, "poll_tool": "t", "poll_url": "/", "message": "m",
        });
        assert!(schema.check(&json!({ "rows": [1, 2] })).is_ok() && schema.check(&pending).is_ok());
        for refused in [json!({ "rows": ["1"] }), json!({ "status": "pending" }), json!({}), json!([])] {
            assert!(schema.check(&refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_schema_that_refers_to_its_own_root_is_not_shown() {
        for (member, value) in
            [("$ref", json!("#")), ("$ref", json!("#/properties/rows")), ("$id", json!("urn:x")), ("$anchor", json!("a"))]
        {
            let mut schema = answer();
            schema["properties"]["more"] = json!({ member: value });
            assert_eq!(allowing(&schema), None, "{member}");
        }
    }
}
