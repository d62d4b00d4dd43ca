//! Deciding a recorded call again: only where all that the decision may depend on was recorded, never by guessing.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::ledger::{PastDecision, PastOutcome};
use crate::model::scope::{Bindings, Delta};
use crate::model::{Arguments, Decision, Principal};
use crate::policy::PolicyAction;
use crate::registry::{Generation, Tool};

/// What became of a call that was to be decided again.
#[derive(Debug, PartialEq, Eq)]
pub enum Again {
    /// It was decided.
    Decided {
        /// Whether it would be let through.
        allowed: bool,
        /// The policies that would determine it, or what stands in the way.
        reasons: Vec<String>,
    },
    /// It can't be decided, and why.
    Unknown(String),
}

/// Decides `past` under the policies of `generation`; `None` if policies had and have no say in it.
pub fn decide_again(generation: &Generation, past: &PastDecision) -> Option<Again> {
    let tool = generation.tools.get(past.tool.as_str());
    if past.outcome == PastOutcome::UnknownTool && past.arguments.is_none() {
        let why = "its caller was told that there is no such tool; what the call looked like was not recorded";
        return tool.is_some().then(|| Again::Unknown(why.to_owned()));
    }
    let Some(tool) = tool else { return Some(Again::Unknown("there is no such tool any more".to_owned())) };
    Some(decide(generation, tool, past).unwrap_or_else(Again::Unknown))
}

fn decide(generation: &Generation, tool: &Tool, past: &PastDecision) -> Result<Again, String> {
    let (policies, name) = (&generation.policies, &tool.manifest.name);
    if let Some(omitted) = past.omitted.first() {
        let what = match omitted.as_str() {
            "scopes" => "scopes",
            "groups" => "groups",
            _ => "claims",
        };
        return Err(format!("not all of its caller's {what} were recorded"));
    }
    if let Some(claim) = unrecorded_claim(generation, tool, past) {
        return Err(format!("the claim `{claim}`, which can make a difference, was not recorded"));
    }
    let showing = policies.showing(&past.principal, name, &past.trace_id);
    if showing.decision == Decision::Deny {
        // Whatever its arguments are: to this caller, there is no such tool.
        let why = showing.errors.into_iter().chain(showing.policies);
        return Ok(Again::Decided { allowed: false, reasons: std::iter::once("hidden".to_owned()).chain(why).collect() });
    }
    let Some(arguments) = &past.arguments else { return Err("its arguments were not recorded".to_owned()) };
    let redacted = redacted(arguments);
    if let Some(pointer) = redacted.iter().find(|pointer| policies.looks_at(name, &past.principal.scopes, pointer)) {
        return Err(format!("the argument `{pointer}`, which can make a difference, was redacted"));
    }
    let arguments = with_placeholders(arguments, &redacted, &tool.guest_input);
    if redacted.is_empty() && tool.input.check(&Value::Object(arguments.clone())).is_err() {
        return Err("its arguments no longer fit the tool's schema".to_owned());
    }
    let bindings = Bindings { principal: &past.principal, arguments: Some(&arguments) };
    let missing = Delta::of(&past.principal.scopes, &tool.manifest.scopes, &bindings).missing;
    if !missing.is_empty() {
        let reasons = missing.iter().map(|scope| format!("missing `{scope}`")).collect();
        return Ok(Again::Decided { allowed: false, reasons });
    }
    let verdict = policies.decide(&past.principal, name, PolicyAction::Call(&arguments), &past.trace_id);
    match verdict.errors.into_iter().next() {
        // The placeholder may be what could not be read.
        Some(error) if !redacted.is_empty() => Err(format!("with an argument redacted, {error}")),
        Some(error) => Ok(Again::Decided { allowed: false, reasons: vec![error] }),
        None => Ok(Again::Decided { allowed: verdict.decision == Decision::Allow, reasons: verdict.policies }),
    }
}

/// A claim that the caller had, that was not recorded, and that decisions may depend on now.
fn unrecorded_claim(generation: &Generation, tool: &Tool, past: &PastDecision) -> Option<String> {
    if past.other_claims.is_empty() {
        return None;
    }
    let claims: BTreeMap<String, Value> = past.other_claims.iter().map(|name| (name.clone(), Value::Null)).collect();
    let supposed = Principal { claims, ..past.principal.clone() };
    generation.policies.claims_read(&supposed, &tool.manifest.name).into_keys().next().map(str::to_owned)
}

/// JSON pointers to what the log holds only commitments to.
fn redacted(arguments: &Arguments) -> Vec<String> {
    fn walk(value: &Value, pointer: &mut String, found: &mut Vec<String>) {
        let before = pointer.len();
        let mut enter = |name: &str, value: &Value| {
            pointer.push('/');
            pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
            walk(value, pointer, found);
            pointer.truncate(before);
        };
        match value {
            Value::Object(members) if is_commitment(members) => found.push(pointer.clone()),
            Value::Object(members) => members.iter().for_each(|(name, value)| enter(name, value)),
            Value::Array(values) => values.iter().enumerate().for_each(|(at, value)| enter(&at.to_string(), value)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for (name, value) in arguments {
        walk(value, &mut format!("/{}", name.replace('~', "~0").replace('/', "~1")), &mut found);
    }
    found.sort();
    found
}

/// Whether it is what stands in the log in place of a redacted value.
fn is_commitment(members: &Map<String, Value>) -> bool {
    let digest = members.get("redacted").and_then(Value::as_str).filter(|_| members.len() == 1);
    digest.is_some_and(|digest| digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The arguments with something of the right type where values were redacted: nothing looks at it but the check of its type.
fn with_placeholders(arguments: &Arguments, redacted: &[String], schema: &Value) -> Arguments {
    let mut root = Value::Object(arguments.clone());
    for pointer in redacted {
        let Some(value) = root.pointer_mut(pointer) else { continue };
        *value = match kind(schema, pointer) {
            Some("integer" | "number") => json!(0),
            Some("boolean") => json!(false),
            Some("array") => json!([]),
            Some("object") => json!({}),
            _ => json!(""),
        };
    }
    match root {
        Value::Object(arguments) => arguments,
        _ => unreachable!("no pointer with a segment points at the root"),
    }
}

/// The type that the schema names for what a pointer leads to.
fn kind<'s>(schema: &'s Value, pointer: &str) -> Option<&'s str> {
    let mut schema = schema;
    for segment in pointer.split('/').skip(1) {
        let name = segment.replace("~1", "/").replace("~0", "~");
        schema = schema.get("properties").and_then(|properties| properties.get(&name)).or_else(|| schema.get("items"))?;
    }
    schema.get("type")?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commitments_are_found_wherever_they_stand_and_replaced_by_the_type() {
        let digest = "ab".repeat(32);
        let arguments = json!({
            "card": { "redacted": digest }, "a/b": { "pins": [1, { "redacted": digest }] },
            "note": { "redacted": "no" }, "kept": 5,
        });
        let Value::Object(arguments) = arguments else { unreachable!("written as one") };
        let found = redacted(&arguments);
        assert_eq!(found, ["/a~1b/pins/1", "/card"]);
        let schema = json!({ "properties": {
            "card": { "type": "string" }, "a/b": { "properties": { "pins": { "items": { "type": "integer" } } } },
        } });
        let filled = Value::Object(with_placeholders(&arguments, &found, &schema));
        let expected = json!({ "card": "", "a/b": { "pins": [1, 0] }, "note": { "redacted": "no" }, "kept": 5 });
        assert_eq!(filled, expected);
    }
}
