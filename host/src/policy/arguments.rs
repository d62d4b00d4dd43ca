//! A call's arguments as Cedar values, without JSON text in between.

use cedar_policy::RestrictedExpression;
use serde_json::Value;

use super::input::{Attributes, InputType};
use crate::model::Arguments;
use crate::model::scope::integer;

/// The most values of one call's arguments that policies look at; building a Cedar set costs far more than parsing JSON.
const VALUES: usize = 65_536;

/// Whether the visible part of the arguments is what the schema promised.
///
/// # Errors
/// The first argument that does not fit, never its value: it may be one that must not be stored.
pub(super) fn check_arguments(visible: &Attributes, arguments: &Arguments) -> Result<(), String> {
    check_record(visible, arguments, &mut { VALUES }).map_err(|misfit| misfit.to_string())
}

/// An argument that does not fit what the schema promised. Never holds the value: it may be one that must not be stored.
#[derive(Debug)]
struct Misfit {
    /// The way to it, innermost first.
    path: Vec<String>,
    problem: &'static str,
}

impl Misfit {
    fn new(problem: &'static str) -> Self {
        Self { path: Vec::new(), problem }
    }

    fn under(mut self, name: &str) -> Self {
        self.path.push(name.replace('~', "~0").replace('/', "~1"));
        self
    }
}

impl std::fmt::Display for Misfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("argument `")?;
        self.path.iter().rev().try_for_each(|segment| write!(f, "/{segment}"))?;
        write!(f, "` {}", self.problem)
    }
}

/// Whether the visible part of `object` fits; what is not declared, or invisible, is not looked at. Each value takes one of `left`.
fn check_record(visible: &Attributes, object: &Arguments, left: &mut usize) -> Result<(), Misfit> {
    visible.iter().try_for_each(|(name, attribute)| match object.get(name) {
        None | Some(Value::Null) if !attribute.required => Ok(()),
        None => Err(Misfit::new("is missing").under(name)),
        Some(value) => check(&attribute.kind, value, left).map_err(|misfit| misfit.under(name)),
    })
}

fn check(kind: &InputType, value: &Value, left: &mut usize) -> Result<(), Misfit> {
    *left = left.checked_sub(1).ok_or_else(|| Misfit::new("holds more values than policies look at"))?;
    let problem = match (kind, value) {
        (InputType::Bool, Value::Bool(_)) | (InputType::String, Value::String(_)) => return Ok(()),
        (InputType::Long, Value::Number(number)) if integer(number).is_some() => return Ok(()),
        (InputType::Set(kind), Value::Array(values)) => {
            let mut elements = values.iter().enumerate();
            return elements.try_for_each(|(at, value)| check(kind, value, left).map_err(|misfit| misfit.under(&at.to_string())));
        }
        (InputType::Record(attributes), Value::Object(object)) => return check_record(attributes, object, left),
        (InputType::Bool, _) => "is not a boolean",
        (InputType::String, _) => "is not a string",
        (InputType::Long, Value::Number(_)) => "is not an integer of 64 bits",
        (InputType::Long, _) => "is not an integer",
        (InputType::Set(_), _) => "is not a list",
        (InputType::Record(_), _) => "is not an object",
    };
    Err(Misfit::new(problem))
}

/// The visible part of `object`. None if it does not fit.
pub(super) fn record(visible: &Attributes, object: &Arguments) -> Option<RestrictedExpression> {
    let mut fields = Vec::with_capacity(visible.len());
    for (name, attribute) in visible {
        match object.get(name) {
            None | Some(Value::Null) if !attribute.required => {}
            value => fields.push((name.clone(), converted(&attribute.kind, value?)?)),
        }
    }
    RestrictedExpression::new_record(fields).ok()
}

fn converted(kind: &InputType, value: &Value) -> Option<RestrictedExpression> {
    match (kind, value) {
        (InputType::Bool, Value::Bool(flag)) => Some(RestrictedExpression::new_bool(*flag)),
        (InputType::String, Value::String(value)) => Some(RestrictedExpression::new_string(value.clone())),
        (InputType::Long, Value::Number(number)) => integer(number).map(RestrictedExpression::new_long),
        (InputType::Set(kind), Value::Array(values)) => {
            let elements: Option<Vec<_>> = values.iter().map(|value| converted(kind, value)).collect();
            elements.map(RestrictedExpression::new_set)
        }
        (InputType::Record(attributes), Value::Object(object)) => record(attributes, object),
        _ => None,
    }
}
