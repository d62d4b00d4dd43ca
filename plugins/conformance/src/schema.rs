//! A tool whose schema uses much of JSON Schema 2020-12 (scenario `json-schema-2020-12`).

use serde_json::{Map, Value, json};
use tidegate_plugin_sdk::{Content, Context, Failure, Hints, Tool};

pub(crate) struct JsonSchema202012Tool;

impl Tool for JsonSchema202012Tool {
    const NAME: &'static str = "json_schema_2020_12_tool";
    const DESCRIPTION: &'static str = "Tool with JSON Schema 2020-12 features";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = Map<String, Value>;
    type Output = Content;

    fn call(contact: Map<String, Value>, _: &Context) -> Result<Content, Failure> {
        let fields: Vec<_> = contact.keys().map(String::as_str).collect();
        Ok(Content::new().text(format!("The contact has the fields: {}.", fields.join(", "))))
    }

    /// To the letter what the suite looks for.
    fn input_schema() -> Value {
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "$defs": {
                "address": {
                    "$anchor": "addressDef",
                    "type": "object",
                    "properties": { "street": { "type": "string" }, "city": { "type": "string" } },
                },
            },
            "properties": {
                "name": { "type": "string" },
                "address": { "$ref": "#/$defs/address" },
                "contactMethod": { "type": "string", "enum": ["phone", "email"] },
                "phone": { "type": "string" },
                "email": { "type": "string" },
            },
            "allOf": [{ "anyOf": [{ "required": ["phone"] }, { "required": ["email"] }] }],
            "if": { "properties": { "contactMethod": { "const": "phone" } }, "required": ["contactMethod"] },
            "then": { "required": ["phone"] },
            "else": { "required": ["email"] },
            "additionalProperties": false,
        })
    }
}
