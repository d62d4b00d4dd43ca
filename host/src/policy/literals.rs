//! Texts in policies that nothing ever equals: arguments that a schema rules out, and scopes as no scope is written.

use std::collections::BTreeSet;

use cedar_policy::ActionConstraint;
use serde_json::Value;

use super::admin::{Parsed, Sources};
use super::generate::CALL_GROUP;
use super::mangle::quoted;
use super::problem::Problem;
use super::reads::scopes_asked;
use super::shapes::{Shapes, ToolShape};
use super::tree;
use crate::model::Scope;
use crate::model::document::nearest;

/// Adds the comparisons of a policy that can never come out true, or, for `!=`, false. A rule that cannot match is a bug.
pub(super) fn check(parsed: &Parsed, shapes: &Shapes<'_>, sources: &Sources, problems: &mut Vec<Problem>) {
    let Ok(parts) = parsed.policy.to_json() else { return };
    let tools = tools(parsed, shapes);
    walk(parts.get("conditions").unwrap_or(&Value::Null), &mut |operator, operands| {
        for text in scopes_asked(operator, operands).unwrap_or_default() {
            problems.extend(check_scope(text, parsed, sources));
        }
        if let Some((way, texts)) = compared(operator, operands) {
            problems.extend(texts.into_iter().filter_map(|text| check_argument(&way, text, &tools, parsed, sources)));
        }
    });
}

/// The tools whose calls a policy is about.
fn tools<'a>(parsed: &Parsed, shapes: &'a Shapes<'a>) -> Vec<&'a ToolShape<'a>> {
    let named: Option<BTreeSet<String>> = match parsed.policy.action_constraint() {
        ActionConstraint::Any => None,
        ActionConstraint::Eq(action) => Some([action.id().unescaped().to_owned()].into()),
        ActionConstraint::In(actions) => Some(actions.iter().map(|action| action.id().unescaped().to_owned()).collect()),
    };
    let is_named = |name: &str| named.as_ref().is_none_or(|named| named.contains(name) || named.contains(CALL_GROUP));
    shapes.tools.iter().filter(|(name, _)| is_named(name)).map(|(_, shape)| shape).collect()
}

fn walk<'a>(part: &'a Value, visit: &mut impl FnMut(&'a str, &'a Value)) {
    match part {
        Value::Array(parts) => parts.iter().for_each(|part| walk(part, visit)),
        Value::Object(parts) => parts.iter().for_each(|(operator, operands)| {
            visit(operator, operands);
            walk(operands, visit);
        }),
        _ => {}
    }
}

/// The arguments that one operation compares with written-out texts, by JSON pointer, and the texts.
fn compared<'a>(operator: &str, operands: &'a Value) -> Option<(String, Vec<&'a str>)> {
    let (left, right) = (operands.get("left")?, operands.get("right")?);
    let elements = |way: String| format!("{way}/*");
    match operator {
        "==" | "!=" => match (input(left), input(right)) {
            (Some(way), None) => Some((way, vec![tree::text(right)?])),
            (None, Some(way)) => Some((way, vec![tree::text(left)?])),
            _ => None,
        },
        "contains" => match (input(left), input(right)) {
            (Some(way), None) => Some((elements(way), vec![tree::text(right)?])),
            (None, Some(way)) => Some((way, tree::texts(left)?)),
            _ => None,
        },
        "containsAll" | "containsAny" => match (input(left), input(right)) {
            (Some(way), None) => Some((elements(way), tree::texts(right)?)),
            (None, Some(way)) => Some((elements(way), tree::texts(left)?)),
            _ => None,
        },
        _ => None,
    }
}

/// The way to an argument as a JSON pointer, if that is what the expression stands for.
fn input(expression: &Value) -> Option<String> {
    // `has` asks whether it is there; it does not stand for it.
    expression.get(".")?;
    let way = tree::context_path(expression)?;
    let (first, names) = way.split_first()?;
    let pointer = names.iter().map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1"))).collect();
    (*first == "input").then_some(pointer)
}

fn check_argument(way: &str, text: &str, tools: &[&ToolShape<'_>], parsed: &Parsed, sources: &Sources) -> Option<Problem> {
    let known = tools.iter().filter_map(|tool| tool.input.choices.get(way));
    let listed: Option<Vec<&BTreeSet<String>>> = known.map(Option::as_ref).collect();
    let allowed: BTreeSet<&str> = listed?.into_iter().flatten().map(String::as_str).collect();
    if allowed.is_empty() || allowed.contains(text) {
        return None;
    }
    let help = match nearest(text, allowed.iter().copied()) {
        Some(near) => format!("did you mean {}?", quoted(near)),
        None => format!("it is one of {}", allowed.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ")),
    };
    let place = sources.place_in(parsed, &quoted(text));
    Some(Problem::at(place, format!("for policy `{}`, the argument `{way}` is never {}", parsed.id, quoted(text))).help(help))
}

fn check_scope(text: &str, parsed: &Parsed, sources: &Sources) -> Option<Problem> {
    let place = || sources.place_in(parsed, &quoted(text));
    match text.parse::<Scope>() {
        Err(error) => Some(Problem::at(place(), format!("for policy `{}`, {error}", parsed.id))),
        Ok(scope) if scope.to_string() != text => {
            let message = format!("for policy `{}`, no scope is written as `{text}`", parsed.id);
            Some(Problem::at(place(), message).help(format!("write it as policies see it: `{scope}`")))
        }
        Ok(_) => None,
    }
}
