//! Policies taken apart: what stands where in Cedar's JSON form of an expression.

use serde_json::Value;

use super::filter::is_scalar;

/// The names that lead from `context` to what `expression` stands for: `input`, `user_id` for `context.input.user_id`, none for
/// `context` itself. With `has`, what is asked for counts as looked at.
pub(super) fn context_path(expression: &Value) -> Option<Vec<&str>> {
    if expression.get("Var").is_some_and(|name| name == "context") {
        return Some(Vec::new());
    }
    let access = expression.get(".").or_else(|| expression.get("has"))?;
    let mut path = context_path(access.get("left")?)?;
    match access.get("attr")? {
        Value::String(name) => path.push(name),
        // `context has a.b`
        Value::Array(names) => path.extend(names.iter().filter_map(Value::as_str)),
        _ => return None,
    }
    Some(path)
}

/// The text that `expression` is, if it is a literal one.
pub(super) fn text(expression: &Value) -> Option<&str> {
    expression.get("Value")?.as_str()
}

/// The texts that `expression` lists, if it is a list of literals or one of them.
pub(super) fn texts(expression: &Value) -> Option<Vec<&str>> {
    if let Some(text) = text(expression) {
        return Some(vec![text]);
    }
    if let Some(Value::Array(values)) = expression.get("Value") {
        return values.iter().map(Value::as_str).collect();
    }
    expression.get("Set")?.as_array()?.iter().map(text).collect()
}

/// The text, integer or boolean that `expression` is, if it is a literal.
pub(super) fn value(expression: &Value) -> Option<Value> {
    if let Some(negated) = expression.get("neg") {
        let number = value(negated.get("arg")?)?.as_i64()?;
        return number.checked_neg().map(Value::from);
    }
    expression.get("Value").filter(|value| is_scalar(value)).cloned()
}

/// The values that `expression` lists, if it is a list of literals.
pub(super) fn values(expression: &Value) -> Option<Vec<Value>> {
    if let Some(Value::Array(values)) = expression.get("Value") {
        return values.iter().all(is_scalar).then(|| values.clone());
    }
    expression.get("Set")?.as_array()?.iter().map(value).collect()
}
