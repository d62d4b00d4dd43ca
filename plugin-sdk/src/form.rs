//! Forms that people fill in: the schemas of Rust types, as far as MCP lets a form go (2026-07-28, `PrimitiveSchemaDefinition`).

use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use crate::schema;

/// The schema of a form with a field for each field of `T`.
///
/// # Panics
///
/// If `T` is no form: that is the author's mistake, which the first test of the tool finds.
pub(crate) fn of<T: JsonSchema>() -> Value {
    let made = match schema::inlined::<T>() {
        Value::Object(schema) => form(schema),
        _ => Err("it has no fields".to_owned()),
    };
    made.unwrap_or_else(|problem| panic!("`{}` can't be asked for in a form: {problem}", std::any::type_name::<T>()))
}

fn form(mut schema: Map<String, Value>) -> Result<Value, String> {
    if schema.remove("type") != Some("object".into()) || schema.get("additionalProperties").is_some_and(Value::is_object) {
        return Err("it is no struct with named fields".to_owned());
    }
    let mut made = Map::from_iter([("type".to_owned(), "object".into())]);
    let mut properties = Map::new();
    for (keyword, value) in schema {
        match (keyword.as_str(), value) {
            ("properties", Value::Object(fields)) => {
                for (name, field) in fields {
                    let made = property(field).map_err(|problem| format!("its field `{name}` {problem}"))?;
                    properties.insert(name, made);
                }
            }
            ("required", value) => {
                made.insert(keyword, value);
            }
            // A form is explained by its message, and what else an answer may hold is the host's business.
            ("$schema" | "description" | "additionalProperties", _) => {}
            _ => return Err(format!("its schema says `{keyword}`, for which forms have no word")),
        }
    }
    made.insert("properties".to_owned(), Value::Object(properties));
    Ok(Value::Object(made))
}

fn property(schema: Value) -> Result<Value, String> {
    let Value::Object(schema) = schema else { return Err("may be anything".to_owned()) };
    let mut schema = choice(required(schema))?;
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
    let known: &[&str] = match schema.get("type").and_then(Value::as_str) {
        Some("string") => &["minLength", "maxLength", "format", "enum", "oneOf"],
        Some("integer" | "number") => &["minimum", "maximum"],
        Some("boolean") => &[],
        _ => return Err("is neither a text nor a number, a boolean or an enum without fields".to_owned()),
    };
    let is_known = |keyword: &str| matches!(keyword, "type" | "title" | "description" | "default") || known.contains(&keyword);
    if let Some(keyword) = schema.keys().find(|keyword| !is_known(keyword)) {
        return Err(format!("says `{keyword}` in its schema, for which forms have no word"));
    }
    match schema.get("format").and_then(Value::as_str) {
        None | Some("email" | "uri" | "date" | "date-time") => Ok(Value::Object(schema)),
        Some(format) => Err(format!("has the format `{format}`; forms know `email`, `uri`, `date` and `date-time`")),
    }
}

/// The schema of an `Option` without its null: in a form, what is not given is left out.
fn required(mut schema: Map<String, Value>) -> Map<String, Value> {
    if let Some(Value::Array(kinds)) = schema.get("type")
        && let [kind, null] = &kinds[..]
        && null == "null"
    {
        let kind = kind.clone();
        schema.insert("type".to_owned(), kind);
        if let Some(Value::Array(values)) = schema.get_mut("enum") {
            values.retain(|value| !value.is_null());
        }
    }
    if let Some(Value::Array(parts)) = schema.get("anyOf")
        && let [Value::Object(part), null] = &parts[..]
        && *null == json!({ "type": "null" })
    {
        let part = part.clone();
        schema.remove("anyOf");
        // What is said of the field goes before what is said of its type.
        schema = part.into_iter().chain(schema).collect();
    }
    schema
}

/// The schema of an enum whose variants have doc comments: they are the titles to choose from.
fn choice(mut schema: Map<String, Value>) -> Result<Map<String, Value>, String> {
    let Some(Value::Array(variants)) = schema.remove("oneOf") else { return Ok(schema) };
    let mut titled = Vec::new();
    for variant in &variants {
        let names = match (&variant["const"], &variant["enum"]) {
            (name @ Value::String(_), _) => std::slice::from_ref(name),
            (_, Value::Array(names)) => names,
            _ => return Err("is an enum whose variants have fields".to_owned()),
        };
        titled.extend(names.iter().map(|name| json!({ "const": name, "title": variant.get("description").unwrap_or(name) })));
    }
    schema.insert("type".to_owned(), "string".into());
    schema.insert("oneOf".to_owned(), titled.into());
    Ok(schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(JsonSchema)]
    #[serde(rename_all = "snake_case")]
    #[expect(dead_code, reason = "only its schema is of interest")]
    enum Colour {
        Red,
        SeaGreen,
    }

    #[derive(JsonSchema)]
    #[serde(rename_all = "snake_case")]
    #[expect(dead_code, reason = "only its schema is of interest")]
    enum Speed {
        /// As fast as it gets.
        Fast,
        Slow,
    }

    /// What is asked for.
    #[derive(JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its schema is of interest")]
    struct Everything {
        /// Who.
        #[schemars(length(min = 1, max = 9))]
        name: String,
        #[schemars(email)]
        mail: Option<String>,
        #[schemars(range(min = 1, max = 5))]
        count: u32,
        weight: Option<f64>,
        #[serde(default)]
        is_urgent: bool,
        colour: Colour,
        /// Not too loud.
        other: Option<Colour>,
        speed: Speed,
        pace: Option<Speed>,
    }

    #[test]
    fn a_struct_becomes_a_flat_form_in_the_words_of_the_protocol() {
        let speeds = json!([{ "const": "fast", "title": "As fast as it gets." }, { "const": "slow", "title": "slow" }]);
        let mut form = of::<Everything>();
        // Which of them comes first is of no interest here.
        for field in ["speed", "pace"] {
            let choices = form["properties"][field]["oneOf"].as_array_mut().expect("choices");
            choices.sort_by_key(|choice| choice["const"].to_string());
        }
        assert_eq!(
            form,
            json!({
                "type": "object",
                "properties": {
                    "name": { "type": "string", "description": "Who.", "minLength": 1, "maxLength": 9 },
                    "mail": { "type": "string", "format": "email" },
                    "count": { "type": "integer", "minimum": 1, "maximum": 5 },
                    "weight": { "type": "number" },
                    "is_urgent": { "type": "boolean", "default": false },
                    "colour": { "type": "string", "enum": ["red", "sea_green"] },
                    "other": { "type": "string", "description": "Not too loud.", "enum": ["red", "sea_green"] },
                    "speed": { "type": "string", "oneOf": speeds },
                    "pace": { "type": "string", "oneOf": speeds },
                },
                "required": ["name", "count", "colour", "speed"],
            })
        );
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is of interest")]
    struct Nested {
        inner: Everything,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is of interest")]
    struct Many {
        names: Vec<String>,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is of interest")]
    struct Patterned {
        #[schemars(regex(pattern = "^x"))]
        code: String,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is of interest")]
    struct Anything {
        value: Value,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is of interest")]
    enum Either {
        One { name: String },
        Other,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is of interest")]
    struct Undecided {
        either: Either,
    }

    #[test]
    fn what_no_form_can_ask_for_is_the_authors_mistake_and_is_named() {
        fn problem<T: JsonSchema>() -> String {
            *std::panic::catch_unwind(of::<T>).expect_err("it is no form").downcast().expect("a message")
        }
        let neither = "is neither a text nor a number, a boolean or an enum without fields";
        assert!(problem::<Nested>().ends_with(&format!("Nested` can't be asked for in a form: its field `inner` {neither}")));
        assert!(problem::<Many>().ends_with(&format!("its field `names` {neither}")));
        assert!(problem::<Patterned>().ends_with("its field `code` says `pattern` in its schema, for which forms have no word"));
        assert!(problem::<Anything>().ends_with("its field `value` may be anything"), "{}", problem::<Anything>());
        assert!(problem::<Undecided>().ends_with("its field `either` is an enum whose variants have fields"));
        for problem in [problem::<String>(), problem::<Either>(), problem::<std::collections::BTreeMap<String, String>>()] {
            assert!(problem.ends_with("it is no struct with named fields"), "{problem}");
        }
    }
}
