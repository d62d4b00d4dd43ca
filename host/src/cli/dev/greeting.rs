//! What `tidegate dev` says when it serves: where, what, and how to try it.

use std::io::Write as _;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use crate::app::Addresses;
use crate::auth::LIFETIME;
use crate::model::Effect;
use crate::pipeline::Pipeline;

/// The protocol version the printed `curl` line speaks.
const PROTOCOL: &str = "2026-07-28";

/// Prints where the host listens, what it serves, and how to try it.
///
/// # Errors
/// Nothing can be printed.
pub fn print(pipeline: &Pipeline, addresses: Addresses) -> Result<()> {
    let url = format!("http://{}/mcp", addresses.mcp);
    let tools = pipeline.tools();
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nTidegate serves {} tools at {url}", tools.len())?;
    for tool in &tools {
        let effect = tool.manifest.effect.as_str();
        writeln!(out, "  {:<28} {effect:<6} {}", tool.listing.name, tool.listing.description.lines().next().unwrap_or_default())?;
    }
    writeln!(out, "health and metrics: http://{0}/readyz http://{0}/metrics", addresses.admin)?;
    let example = tools.iter().find(|tool| tool.listing.name.as_str() == "list_invoices");
    let example = example.or_else(|| tools.iter().find(|tool| tool.manifest.effect == Effect::Read));
    if let Some(tool) = example {
        let name = tool.listing.name.as_str();
        let arguments = match name {
            "list_invoices" => json!({"user_id": "u1", "status": "open"}),
            _ => example_of(&Value::Object(Map::clone(&tool.listing.input_schema))),
        };
        let request = json!({
            "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": name, "arguments": arguments, "_meta": {
                "io.modelcontextprotocol/protocolVersion": PROTOCOL, "io.modelcontextprotocol/clientCapabilities": {}}},
        });
        writeln!(out, "\nTry:\n  {} call {name}{} --url {url} --trace", this_program(), typed(&arguments))?;
        writeln!(
            out,
            "\n  curl -s {url} -H 'content-type: application/json' -H 'accept: application/json, text/event-stream' \
             -H 'mcp-protocol-version: {PROTOCOL}' -H 'mcp-method: tools/call' -H 'mcp-name: {name}' -d '{request}'"
        )?;
    }
    let snippet = json!({"mcpServers": {"tidegate": {"type": "http", "url": url}}});
    writeln!(out, "\nMCP clients take:\n{}", serde_json::to_string_pretty(&snippet)?)?;
    let origin = url.strip_suffix("/mcp").unwrap_or(&url);
    // Quotes in a scope would end those of the shell.
    let scopes = example.map(|tool| tool.manifest.scopes.iter().map(ToString::to_string)).into_iter().flatten();
    let scopes: Vec<_> = scopes.filter(|scope| !scope.contains('\'')).collect();
    let request = json!({"subject": "u2", "scopes": scopes});
    writeln!(
        out,
        "\nFOR DEVELOPMENT ONLY: every caller without a token is `u1` with every scope, and whoever asks gets a token in any name:\n\n  \
         curl -s {origin}/dev/token -H 'content-type: application/json' -d '{request}'\n\n\
         It counts for {} minutes; members besides `subject` and `scopes`: `groups`, `tenant`, `client`, `claims`. Ctrl-C drains and \
         stops.",
        LIFETIME.as_secs() / 60,
    )?;
    out.flush().context("can't print to stdout")
}

/// Arguments that fit the schema as far as that is easily told: what it demands, with the first value it names, or any.
fn example_of(schema: &Value) -> Value {
    let demanded = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let values = demanded.map(|key| {
        let property = &schema["properties"][key];
        let named = property["examples"].get(0).or_else(|| property["enum"].get(0)).or_else(|| property.get("default"));
        let value = named.cloned().unwrap_or_else(|| match property["type"].as_str() {
            Some("integer" | "number") => property.get("minimum").cloned().unwrap_or(json!(1)),
            Some("boolean") => json!(true),
            Some("array") => json!([]),
            Some("object") => json!({}),
            _ => json!("hello"),
        });
        (key.to_owned(), value)
    });
    Value::Object(values.collect())
}

/// Arguments as they are typed.
fn typed(arguments: &Value) -> String {
    let words = arguments.as_object().into_iter().flatten().map(|(key, value)| match value {
        Value::String(text) => format!(" {key}={text}"),
        Value::Array(_) | Value::Object(_) => format!(" '{key}:={value}'"),
        other => format!(" {key}={other}"),
    });
    words.collect()
}

/// This executable as the user can type it.
fn this_program() -> String {
    let here = std::env::current_dir().unwrap_or_default();
    match std::env::current_exe() {
        Ok(path) => path.strip_prefix(&here).unwrap_or(&path).display().to_string(),
        Err(_) => "tidegate".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_has_what_the_schema_demands_and_can_be_typed() {
        let schema = json!({ "required": ["name", "count", "kind", "tags"], "properties": {
            "name": { "type": "string" }, "count": { "type": "integer", "minimum": 3 }, "kind": { "enum": ["open"] },
            "tags": { "type": "array" }, "other": { "type": "string" } } });
        assert_eq!(typed(&example_of(&schema)), " name=hello count=3 kind=open 'tags:=[]'");
        assert_eq!(typed(&example_of(&json!({}))), "");
    }
}
