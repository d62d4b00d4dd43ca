//! What row attributes are compared with: claims and arguments, typed by the attribute, as Cedar types, text and values.

use std::collections::BTreeMap;
use std::fmt;

use cedar_policy::RestrictedExpression;
use serde_json::Value;

use super::mangle::{is_plain, quoted};
use crate::model::scope::{Comparison, Condition, Term, integer};

/// The type of an attribute of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    Bool,
    Long,
    String,
}

/// The type of a claim or an argument that is compared with attributes of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Operand {
    pub(super) kind: Kind,
    /// A list of that type, for `:in:`. A value alone counts as a list of one.
    pub(super) is_list: bool,
}

/// Claims by name, or arguments by JSON pointer.
pub(super) type Operands = BTreeMap<String, Operand>;

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::String, Self::Long, Self::Bool];

    /// The kind that manifests call so.
    pub(super) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The name of the type, in manifests and in Cedar.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bool => "Bool",
            Self::Long => "Long",
            Self::String => "String",
        }
    }

    /// Whether `value` is of this kind. An integer beyond 64 bits is not.
    pub(super) fn fits(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Bool, Value::Bool(_)) | (Self::String, Value::String(_)) => true,
            (Self::Long, Value::Number(number)) => integer(number).is_some(),
            _ => false,
        }
    }

    /// `value` for Cedar, if it fits.
    pub(super) fn read(self, value: &Value) -> Option<RestrictedExpression> {
        match (self, value) {
            (Self::Bool, Value::Bool(flag)) => Some(RestrictedExpression::new_bool(*flag)),
            (Self::String, Value::String(text)) => Some(RestrictedExpression::new_string(text.clone())),
            (Self::Long, Value::Number(number)) => integer(number).map(RestrictedExpression::new_long),
            _ => None,
        }
    }
}

impl Operand {
    /// What `condition` on an attribute of this kind compares it with.
    pub(super) fn of(condition: &Condition, kind: Kind) -> Self {
        Self { kind, is_list: condition.comparison == Comparison::In }
    }

    /// `value` for Cedar. What has another shape is absent, and no condition holds on something absent.
    ///
    /// It reads values as [`BoundScope::admits`](crate::model::scope::BoundScope::admits) does: elements of another type equal nothing, but a list
    /// that holds more than scalars is no list of values at all.
    pub(super) fn read(self, value: &Value) -> Option<RestrictedExpression> {
        let is_scalar = |value: &Value| Kind::ALL.iter().any(|kind| kind.fits(value));
        match value {
            Value::Array(values) if self.is_list => values
                .iter()
                .all(is_scalar)
                .then(|| RestrictedExpression::new_set(values.iter().filter_map(|value| self.kind.read(value)))),
            value if self.is_list => self.kind.read(value).map(|value| RestrictedExpression::new_set([value])),
            value => self.kind.read(value),
        }
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_list {
            true => write!(f, "Set<{}>", self.kind.name()),
            false => f.write_str(self.kind.name()),
        }
    }
}

/// A condition as Cedar text, to stand in a chain of `&&`. It is well typed if the attribute has the type of what it is compared
/// with, and fails no evaluation: what may be absent is asked for first.
pub(super) fn cedar(condition: &Condition) -> String {
    let attribute = access("resource", &condition.attribute);
    let compare = |right: &str| match condition.comparison {
        // Only a single text can be compared this way; lists have `contains` below.
        Comparison::Equal | Comparison::In => format!("{attribute} == {right}"),
        other => format!("{attribute} {} {right}", other.as_str()),
    };
    let compare_optional = |record: &str, name: &str| {
        let value = access(record, name);
        let comparison = match condition.comparison {
            Comparison::In => format!("{value}.contains({attribute})"),
            _ => compare(&value),
        };
        format!("{record} has {} && {comparison}", attribute_name(name))
    };
    match &condition.term {
        Term::Integer(number) => compare(&number.to_string()),
        Term::Text(text) => compare(&quoted(text)),
        Term::Principal(claim) => match claim.as_str() {
            "sub" => compare("principal.subject"),
            "iss" => compare("principal.issuer"),
            "tenant" => format!("principal has tenant && {}", compare("principal.tenant")),
            "client_id" => format!("principal has client && {}", compare("principal.client")),
            other => compare_optional("principal.claims", other),
        },
        Term::Argument(pointer) => compare_optional("context.args", pointer),
    }
}

/// An attribute's name as schemas and `has` want it.
pub(super) fn attribute_name(name: &str) -> String {
    if is_plain(name) { name.to_owned() } else { quoted(name) }
}

fn access(record: &str, name: &str) -> String {
    if is_plain(name) { format!("{record}.{name}") } else { format!("{record}[{}]", quoted(name)) }
}
