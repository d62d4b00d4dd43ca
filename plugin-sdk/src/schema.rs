//! JSON Schema 2020-12 of Rust types, as MCP clients like it.

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema};
use serde_json::Value;

/// The schema of what `T` reads.
pub(crate) fn input<T: JsonSchema>() -> Value {
    let mut schema = finish::<T>(SchemaSettings::draft2020_12().for_deserialize());
    // MCP wants it said at the root; an enum, say, says it only in each of its variants.
    if let Value::Object(schema) = &mut schema {
        schema.entry("type").or_insert_with(|| "object".into());
    }
    schema
}

/// The schema of what `T` writes.
pub(crate) fn output<T: JsonSchema>() -> Value {
    finish::<T>(SchemaSettings::draft2020_12().for_serialize())
}

/// The schema of what `T` reads, without references: each part stands where it is used.
pub(crate) fn inlined<T: JsonSchema>() -> Value {
    finish::<T>(SchemaSettings::draft2020_12().for_deserialize().with(|settings| settings.inline_subschemas = true))
}

fn finish<T: JsonSchema>(settings: SchemaSettings) -> Value {
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    // The name of a Rust type tells a model nothing.
    schema.remove("title");
    RecursiveTransform(drop_rust_formats).transform(&mut schema);
    schema.to_value()
}

/// Drops the `format` of numbers: names such as `uint32` are Rust's, and strict client validators refuse a format they
/// do not know. The bounds that schemars writes beside them stay.
fn drop_rust_formats(schema: &mut Schema) {
    let number = schema.get("type").is_some_and(|kind| match kind {
        Value::String(kind) => is_number(kind),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).any(is_number),
        _ => false,
    });
    if number {
        schema.remove("format");
    }
}

fn is_number(kind: &str) -> bool {
    matches!(kind, "integer" | "number")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is of interest")]
    struct Sample {
        /// How many.
        count: u32,
        limit: Option<i64>,
        #[schemars(extend("x-mcp-header" = "Region"))]
        region: String,
    }

    #[derive(JsonSchema)]
    #[serde(tag = "by")]
    #[expect(dead_code, reason = "only its schema is of interest")]
    enum Choice {
        Id { id: String },
        Name { name: String },
    }

    #[test]
    fn arguments_are_an_object_even_if_they_are_a_choice() {
        let schema = input::<Choice>();
        assert_eq!(schema["type"], "object");
        assert_eq!(schema["oneOf"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn a_schema_names_its_dialect_and_keeps_descriptions_and_extensions_but_no_rust_names() {
        assert_eq!(
            input::<Sample>(),
            json!({
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "type": "object",
                "properties": {
                    "count": { "description": "How many.", "type": "integer", "minimum": 0 },
                    "limit": { "type": ["integer", "null"] },
                    "region": { "type": "string", "x-mcp-header": "Region" },
                },
                "required": ["count", "region"],
            })
        );
    }
}
