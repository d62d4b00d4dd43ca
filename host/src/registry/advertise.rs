//! From what a guest describes and its manifest declares to what clients see.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::{Listing, Schema, or_pending};
use crate::model::{Digest, Effect, Span, ToolManifest};
use crate::sandbox::Definition;

/// The argument that carries the idempotency key when a model can set nothing but arguments.
pub const KEY_ARGUMENT: &str = "idempotency_key";

/// What clients see of a tool, and the schemas its calls are held to.
pub struct Advertised {
    /// What clients see.
    pub listing: Listing,
    /// The schema of the arguments the guest gets.
    pub input: Schema,
    /// The schema of the structured output, as the guest wrote it. What clients see allows for *pending* too.
    pub output: Option<Schema>,
    /// The input schema as the guest wrote it, for the policy layer.
    pub guest_input: Value,
    /// The digest of its [`face`].
    pub face: Digest,
}

/// Reconciles a definition with its manifest. Answers to calls with an idempotency key are kept for `keep_answers`.
///
/// # Errors
/// A schema or annotation that is not valid, or that contradicts the manifest.
pub fn advertise(definition: Definition, manifest: &ToolManifest, keep_answers: Span) -> Result<Advertised, String> {
    let face = face(&definition, manifest);
    let guest_input = parse_schema("input schema", &definition.input_schema)?;
    let input = Schema::compile(&guest_input).map_err(|problem| format!("its input schema is invalid: {problem}"))?;
    if guest_input.get("type") != Some(&json!("object")) {
        return Err("its input schema must have `\"type\": \"object\"` at the root".into());
    }
    check_header_mirrors(&guest_input)?;
    let (output_schema, output) = match definition.output_schema.as_deref() {
        None => (None, None),
        Some(text) => {
            let schema = parse_schema("output schema", text)?;
            let compiled = Schema::compile(&schema).map_err(|problem| format!("its output schema is invalid: {problem}"))?;
            (or_pending::allowing(&schema).map(Arc::new), Some(compiled))
        }
    };
    let listing = Listing {
        name: manifest.name.clone(),
        title: definition.title,
        description: definition.description,
        input_schema: Arc::new(with_key_argument(&guest_input, manifest, keep_answers)?),
        output_schema,
        annotations: Some(annotations(definition.annotations.as_deref(), manifest.effect)?),
        keeps_answers: keep_answers,
    };
    Ok(Advertised { listing, input, output, guest_input, face })
}

/// The face of a tool: all that its callers could go by when they decided to call, and what it may do on their behalf. A version
/// with the same face is the same tool, however it works and whatever it may burn.
fn face(definition: &Definition, manifest: &ToolManifest) -> Digest {
    let Definition { name, title, description, input_schema, output_schema, annotations } = definition;
    let rows = manifest.rows_at().map(|rows| (&rows.pointer, &rows.resource));
    let mut face = json!({
        "name": name, "title": title, "description": description, "input": input_schema, "output": output_schema,
        "annotations": annotations, "effect": manifest.effect, "key_from": manifest.key_from, "keyed": manifest.backend_keyed,
        "scopes": manifest.scopes.iter().map(ToString::to_string).collect::<Vec<_>>(), "redact": manifest.redact,
        "risk": manifest.risk, "rows": rows, "requires_client": manifest.requires_client,
    });
    if !manifest.asks.is_empty() {
        face["asks"] = json!(manifest.asks);
    }
    Digest(Sha256::digest(face.to_string()).into())
}

fn parse_schema(what: &str, text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("its {what} is not JSON: {error}"))
}

/// Write tools get an optional `idempotency_key` property, because a model can set neither headers nor `_meta`.
fn with_key_argument(schema: &Value, manifest: &ToolManifest, keep_answers: Span) -> Result<Map<String, Value>, String> {
    let mut schema = schema.as_object().cloned().unwrap_or_default();
    if manifest.effect == Effect::Read || manifest.key_from.is_some() {
        return Ok(schema);
    }
    let properties = schema.entry("properties").or_insert_with(|| json!({}));
    let Some(properties) = properties.as_object_mut() else {
        return Err("its input schema's `properties` is not an object".into());
    };
    let taken = properties.insert(
        KEY_ARGUMENT.into(),
        json!({
            "type": "string", "minLength": 1, "maxLength": 255,
            "description": format!(
                "Unique value (a UUID) that names this one intended change. Send the same value when you retry the same call: \
                 it then takes effect at most once, and the first answer is returned for {}.", in_words(keep_answers)
            ),
        }),
    );
    match taken {
        None => Ok(schema),
        Some(_) => {
            Err(format!("its input schema declares `{KEY_ARGUMENT}`, which the host adds itself; use `key_from` in the manifest"))
        }
    }
}

/// A span as a model reads it best: in hours, if it is some.
fn in_words(span: Span) -> String {
    match span.duration().as_secs() {
        3600 => "1 hour".to_owned(),
        seconds if seconds > 0 && seconds % 3600 == 0 => format!("{} hours", seconds / 3600),
        _ => span.to_string(),
    }
}

/// The manifest, not the guest, decides whether a tool is read-only.
fn annotations(text: Option<&str>, effect: Effect) -> Result<Value, String> {
    let mut annotations = match text {
        None => Map::new(),
        Some(text) => serde_json::from_str(text).map_err(|error| format!("its annotations are not a JSON object: {error}"))?,
    };
    let read_only = effect == Effect::Read;
    match annotations.insert("readOnlyHint".into(), json!(read_only)) {
        Some(claimed) if claimed != json!(read_only) => {
            Err(format!("it claims `readOnlyHint: {claimed}`, but its manifest says `effect = \"{}\"`", effect.as_str()))
        }
        _ => Ok(Value::Object(annotations)),
    }
}

/// Clients drop a whole tool over one bad `x-mcp-header`, so it is an error here (MCP 2026-07-28, Streamable HTTP).
fn check_header_mirrors(schema: &Value) -> Result<(), String> {
    let mut names = std::collections::BTreeSet::new();
    check_mirrors_at(schema, true, &mut names)
}

fn check_mirrors_at(schema: &Value, reachable: bool, names: &mut std::collections::BTreeSet<String>) -> Result<(), String> {
    let Some(object) = schema.as_object() else { return Ok(()) };
    if let Some(header) = object.get("x-mcp-header") {
        let name = header.as_str().unwrap_or_default();
        let is_token = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
        let is_plain = matches!(object.get("type").and_then(Value::as_str), Some("string" | "integer" | "boolean"));
        if !is_token {
            return Err(format!("`x-mcp-header: {header}` is not an RFC 9110 token"));
        }
        if !is_plain || !reachable {
            return Err(format!("`x-mcp-header: {header}` may only stand on a string, integer or boolean property"));
        }
        if !names.insert(name.to_ascii_lowercase()) {
            return Err(format!("`x-mcp-header: {header}` is used twice (names are case-insensitive)"));
        }
    }
    for (keyword, child) in object {
        match (keyword.as_str(), child) {
            ("properties", Value::Object(properties)) => {
                properties.values().try_for_each(|property| check_mirrors_at(property, reachable, names))?;
            }
            ("const" | "enum" | "default" | "examples", _) => {}
            (_, Value::Array(children)) => children.iter().try_for_each(|child| check_mirrors_at(child, false, names))?,
            ("$defs" | "patternProperties" | "dependentSchemas", Value::Object(children)) => {
                children.values().try_for_each(|child| check_mirrors_at(child, false, names))?;
            }
            (_, child) => check_mirrors_at(child, false, names)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(effect: &str) -> ToolManifest {
        toml::from_str(&format!("name = \"t\"\neffect = \"{effect}\"\nscopes = [\"use:t\"]")).expect("a tool")
    }

    fn definition(input_schema: Value) -> Definition {
        Definition {
            name: "t".into(),
            title: None,
            description: String::new(),
            input_schema: input_schema.to_string(),
            output_schema: None,
            annotations: None,
        }
    }

    const DAY: Span = Span::seconds(24 * 60 * 60);

    #[test]
    fn how_long_answers_are_kept_is_told_in_words() {
        let told = |span: Span| {
            let advertised = advertise(definition(json!({"type": "object"})), &manifest("write"), span).expect("good");
            advertised.listing.input_schema["properties"][KEY_ARGUMENT]["description"].as_str().expect("text").to_owned()
        };
        assert!(told(DAY).ends_with("is returned for 24 hours."), "{}", told(DAY));
        assert!(told(Span::seconds(90)).ends_with("is returned for 1m 30s."), "{}", told(Span::seconds(90)));
    }

    #[test]
    fn a_write_tool_advertises_the_key_but_its_guest_never_sees_it() {
        let advertised = advertise(definition(json!({"type": "object", "additionalProperties": false})), &manifest("write"), DAY)
            .expect("good");
        assert!(advertised.listing.input_schema["properties"].get(KEY_ARGUMENT).is_some());
        assert!(advertised.input.check(&json!({KEY_ARGUMENT: "k"})).is_err());
    }

    #[test]
    fn a_guest_may_not_declare_the_hosts_argument_or_contradict_its_manifest() {
        let own_key = json!({"type": "object", "properties": {KEY_ARGUMENT: {"type": "string"}}});
        assert!(advertise(definition(own_key), &manifest("write"), DAY).is_err());
        let lying = Definition { annotations: Some("{\"readOnlyHint\":true}".into()), ..definition(json!({"type": "object"})) };
        assert!(advertise(lying, &manifest("write"), DAY).is_err());
    }

    #[test]
    fn header_mirrors_are_linted_before_clients_drop_the_tool() {
        let with = |property: Value| {
            advertise(definition(json!({"type": "object", "properties": {"p": property}})), &manifest("read"), DAY)
        };
        assert!(with(json!({"type": "string", "x-mcp-header": "Region"})).is_ok());
        assert!(with(json!({"type": "number", "x-mcp-header": "Region"})).is_err());
        assert!(with(json!({"type": "string", "x-mcp-header": "Not A Token"})).is_err());
        assert!(with(json!({"type": "array", "items": {"type": "string", "x-mcp-header": "Region"}})).is_err());
    }
}
