//! Scopes: permissions to do one action on one kind of resource, all of it or only the rows that conditions hold for.
//!
//! `read:invoices` speaks of every invoice, `read:invoices.where(user_id=$principal.sub,status!='void')` of some. Manifests say
//! in this grammar what a tool needs, tokens say what a caller holds, and [`Scope::covers`] compares the two.
//!
//! ```text
//! scope    = action ":" resource [ ".where(" cond *("," cond) ")" ]        ; no whitespace
//! cond     = attribute op value     op = "=" / "!=" / "<" / "<=" / ">" / ">=" / ":in:"
//! value    = integer (i64) / "'" *( unreserved / pct-encoded ) "'" / "$principal." claim / "$args" json-pointer
//! ```
//!
//! Every scope is a scope token of OAuth 2.0 (RFC 6749 §3.3): no space, quote or backslash ever stands in one.

mod condition;
mod cover;
mod parse;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use condition::{Comparison, Condition, Term};
pub use cover::{Bindings, BoundScope, Delta, integer};
pub use parse::ScopeError;

/// A permission such as `read:invoices`, possibly only for the rows that its conditions hold for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    action: String,
    resource: String,
    conditions: Vec<Condition>,
}

impl Scope {
    /// The longest scope, in bytes.
    pub const MAX_LENGTH: usize = 1024;
    /// The most conditions of one scope.
    pub const MAX_CONDITIONS: usize = 16;

    /// A scope of these parts, for forms of it other than text (RFC 9396).
    ///
    /// # Errors
    /// A part does not fit the grammar; the text that the error shows is the scope as it would have been written.
    pub fn new(action: &str, resource: &str, conditions: &[Condition]) -> Result<Self, ScopeError> {
        let scope = Self { action: action.to_owned(), resource: resource.to_owned(), conditions: conditions.to_vec() };
        scope.to_string().parse()
    }

    /// What may be done, such as `read`.
    pub fn action(&self) -> &str {
        &self.action
    }

    /// To what, such as `invoices`.
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// The conditions on a row, all of which must hold; none means every row.
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// The scope without its conditions, `read:invoices`: the name of the action that policies know.
    pub fn base(&self) -> String {
        format!("{}:{}", self.action, self.resource)
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        parse::scope(text)
    }
}

/// The canonical text: what reads back as the same scope, with nothing encoded that need not be.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.action, self.resource)?;
        let Some((first, further)) = self.conditions.split_first() else { return Ok(()) };
        write!(f, ".where({first}")?;
        further.iter().try_for_each(|condition| write!(f, ",{condition}"))?;
        f.write_str(")")
    }
}

impl Serialize for Scope {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
