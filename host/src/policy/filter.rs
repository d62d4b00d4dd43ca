//! Conditions on rows over a closed set of operators: what hints are made of, as JSON for guests and in words for people.
//!
//! ```text
//! filter = {"and": [filter, ..]} / {"or": [filter, ..]} / {"not": filter}
//!        / {"eq" / "ne" / "lt" / "le" / "gt" / "ge": [attribute, value]} / {"in": [attribute, [value, ..]]}
//! ```
//! An attribute is a name, a value a text, an integer or a boolean. `{"and": []}` is every row, `{"or": []}` none.

use std::fmt;

use serde_json::{Value, json};

use super::operand::Kind;
use super::tree;
use crate::model::scope::Comparison;
#[cfg(test)]
use crate::model::scope::integer;

/// Which rows are meant.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
    /// An attribute, how it is compared, and with what: a list for [`Comparison::In`], else a scalar.
    Compare(String, Comparison, Value),
}

impl Filter {
    pub(super) fn every_row() -> Self {
        Self::All(Vec::new())
    }

    pub(super) fn no_row() -> Self {
        Self::Any(Vec::new())
    }

    /// The rows that all of `parts` mean.
    pub(super) fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut kept = Vec::new();
        for part in parts {
            match part {
                Self::All(inner) => inner.into_iter().for_each(|part| add(&mut kept, part)),
                none if none == Self::no_row() => return none,
                part => add(&mut kept, part),
            }
        }
        unless_single(kept, Self::All)
    }

    /// The rows that any of `parts` means.
    pub(super) fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut kept = Vec::new();
        for part in parts {
            match part {
                Self::Any(inner) => inner.into_iter().for_each(|part| add(&mut kept, part)),
                every if every == Self::every_row() => return every,
                part => add(&mut kept, part),
            }
        }
        unless_single(kept, Self::Any)
    }

    /// The rows that `part` does not mean.
    pub(super) fn not(part: Self) -> Self {
        match part {
            Self::All(parts) if parts.is_empty() => Self::no_row(),
            Self::Any(parts) if parts.is_empty() => Self::every_row(),
            Self::Not(inner) => *inner,
            // Every attribute is there and of its type, or the row is denied anyway.
            Self::Compare(attribute, comparison, value) if comparison != Comparison::In => {
                Self::Compare(attribute, opposite(comparison), value)
            }
            part => Self::Not(Box::new(part)),
        }
    }

    /// What an expression in Cedar's JSON form means, if it stays within the closed set: `resource` and literals are all it speaks of.
    pub(super) fn of(expression: &Value) -> Option<Self> {
        if let Some(value) = expression.get("Value") {
            return value.as_bool().map(|flag| if flag { Self::every_row() } else { Self::no_row() });
        }
        let (operator, operands) = expression.as_object().filter(|parts| parts.len() == 1)?.iter().next()?;
        let side = |name: &str| operands.get(name);
        let comparison = Comparison::ALL.into_iter().find(|(_, sign)| *sign == if operator == "==" { "=" } else { operator });
        match operator.as_str() {
            "&&" => Some(Self::all([Self::of(side("left")?)?, Self::of(side("right")?)?])),
            "||" => Some(Self::any([Self::of(side("left")?)?, Self::of(side("right")?)?])),
            "!" => Some(Self::not(Self::of(side("arg")?)?)),
            "if-then-else" => {
                let (condition, then, otherwise) = (Self::of(side("if")?)?, Self::of(side("then")?)?, Self::of(side("else")?)?);
                let chosen = Self::all([condition.clone(), then]);
                Some(Self::any([chosen, Self::all([Self::not(condition), otherwise])]))
            }
            "contains" => {
                let listed = tree::values(side("left")?)?;
                Some(Self::Compare(attribute(side("right")?)?, Comparison::In, Value::Array(listed)))
            }
            // A flag, as it stands.
            "." => Some(Self::Compare(attribute(expression)?, Comparison::Equal, Value::Bool(true))),
            _ => {
                let (comparison, _) = comparison?;
                let (left, right) = (side("left")?, side("right")?);
                match (attribute(left), attribute(right)) {
                    (Some(attribute), None) => Some(Self::Compare(attribute, comparison, tree::value(right)?)),
                    (None, Some(attribute)) => Some(Self::Compare(attribute, mirrored(comparison), tree::value(left)?)),
                    _ => None,
                }
            }
        }
    }

    /// The filter as guests get it.
    pub(super) fn to_json(&self) -> Value {
        let list = |parts: &[Self]| parts.iter().map(Self::to_json).collect::<Vec<_>>();
        match self {
            Self::All(parts) => json!({ "and": list(parts) }),
            Self::Any(parts) => json!({ "or": list(parts) }),
            Self::Not(part) => json!({ "not": part.to_json() }),
            Self::Compare(attribute, comparison, value) => {
                let operator = match comparison {
                    Comparison::Equal => "eq",
                    Comparison::NotEqual => "ne",
                    Comparison::Less => "lt",
                    Comparison::LessOrEqual => "le",
                    Comparison::Greater => "gt",
                    Comparison::GreaterOrEqual => "ge",
                    Comparison::In => "in",
                };
                json!({ operator: [attribute, value] })
            }
        }
    }

    /// Whether `row` is meant. What is absent or of another type fits no comparison but [`Comparison::NotEqual`].
    #[cfg(test)]
    pub(super) fn admits(&self, row: &Value) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.admits(row)),
            Self::Any(parts) => parts.iter().any(|part| part.admits(row)),
            Self::Not(part) => !part.admits(row),
            Self::Compare(attribute, comparison, value) => {
                let number = |value: &Value| value.as_number().and_then(integer);
                let found = &row[attribute];
                let same = |one: &Value, other: &Value| one == other || (number(one).is_some() && number(one) == number(other));
                match comparison {
                    Comparison::Equal => same(found, value),
                    Comparison::NotEqual => !same(found, value),
                    Comparison::In => value.as_array().is_some_and(|values| values.iter().any(|value| same(found, value))),
                    order => number(found).zip(number(value)).is_some_and(|(one, other)| match order {
                        Comparison::Less => one < other,
                        Comparison::LessOrEqual => one <= other,
                        Comparison::Greater => one > other,
                        _ => one >= other,
                    }),
                }
            }
        }
    }
}

/// The filter in words: what follows "rows where".
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |parts: &[Self], word: &str, f: &mut fmt::Formatter<'_>| {
            parts.iter().enumerate().try_for_each(|(at, part)| {
                if at > 0 {
                    write!(f, " {word} ")?;
                }
                match part {
                    Self::All(_) | Self::Any(_) => write!(f, "({part})"),
                    part => write!(f, "{part}"),
                }
            })
        };
        match self {
            Self::All(parts) => joined(parts, "and", f),
            Self::Any(parts) => joined(parts, "or", f),
            Self::Not(part) => match &**part {
                Self::Compare(..) => write!(f, "not {part}"),
                part => write!(f, "not ({part})"),
            },
            Self::Compare(attribute, comparison, value) => {
                write!(f, "{attribute} {} ", comparison.as_str().trim_matches(':'))?;
                match value {
                    Value::Array(values) => {
                        f.write_str("[")?;
                        for (at, value) in values.iter().enumerate() {
                            f.write_str(if at > 0 { ", " } else { "" })?;
                            write_scalar(value, f)?;
                        }
                        f.write_str("]")
                    }
                    value => write_scalar(value, f),
                }
            }
        }
    }
}

fn write_scalar(value: &Value, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match value {
        // Escaped, so that a value cannot rewrite the terminal it is shown on.
        Value::String(text) => write!(f, "'{}'", text.escape_debug()),
        value => write!(f, "{value}"),
    }
}

/// Nothing needs to be said twice.
fn add(kept: &mut Vec<Filter>, part: Filter) {
    if !kept.contains(&part) {
        kept.push(part);
    }
}

fn unless_single(mut parts: Vec<Filter>, of: impl Fn(Vec<Filter>) -> Filter) -> Filter {
    match parts.len() {
        1 => parts.remove(0),
        _ => of(parts),
    }
}

/// The attribute of the row that an expression stands for.
fn attribute(expression: &Value) -> Option<String> {
    let access = expression.get(".")?;
    let of_row = access.get("left")?.get("Var")? == "resource";
    of_row.then(|| access.get("attr")?.as_str().map(str::to_owned)).flatten()
}

fn opposite(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Equal => Comparison::NotEqual,
        Comparison::NotEqual => Comparison::Equal,
        Comparison::Less => Comparison::GreaterOrEqual,
        Comparison::LessOrEqual => Comparison::Greater,
        Comparison::Greater => Comparison::LessOrEqual,
        Comparison::GreaterOrEqual => Comparison::Less,
        Comparison::In => Comparison::In,
    }
}

fn mirrored(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
        same => same,
    }
}

/// Whether hints can speak of this value.
pub(super) fn is_scalar(value: &Value) -> bool {
    Kind::ALL.iter().any(|kind| kind.fits(value))
}
