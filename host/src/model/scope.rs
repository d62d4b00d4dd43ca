//! One scope, `action:resource`, and whether the scopes held cover the scopes needed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A permission to do one action on one kind of resource, such as `read:invoices`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    action: String,
    resource: String,
}

/// Why a text is not a scope, and where it goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a scope: {problem} at column {column}; write `action:resource`, for example `read:invoices`")]
pub struct ScopeError {
    text: String,
    /// One-based column of the first character that does not fit.
    column: usize,
    problem: &'static str,
}

impl Scope {
    /// What may be done, such as `read`.
    pub fn action(&self) -> &str {
        &self.action
    }

    /// To what, such as `invoices`.
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// The scopes of `needed` that no scope of `held` covers, in the order needed.
    pub fn missing<'a>(held: &[Scope], needed: &'a [Scope]) -> Vec<&'a Scope> {
        needed.iter().filter(|scope| !held.contains(scope)).collect()
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let wrong = |column: usize, problem| ScopeError { text: text.to_owned(), column, problem };
        let colon = text.find(':').ok_or_else(|| wrong(text.chars().count() + 1, "expected `:`"))?;
        let (action, resource) = (&text[..colon], &text[colon + 1..]);
        if let Some(at) = resource.find(".where(") {
            // A condition we cannot enforce must never be read as if it were absent.
            return Err(wrong(colon + 2 + at, "conditions (`.where(...)`) are not supported"));
        }
        for (offset, word) in [(0, action), (colon + 1, resource)] {
            if word.is_empty() {
                return Err(wrong(offset + 1, "expected a name"));
            }
            if let Some(at) = word.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-')) {
                return Err(wrong(offset + at + 1, "expected a letter, digit, `_` or `-`"));
            }
        }
        Ok(Self { action: action.to_owned(), resource: resource.to_owned() })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.action, self.resource)
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
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_refused_rather_than_ignored() {
        let error = "read:invoices.where(user_id='u1')".parse::<Scope>().expect_err("conditions are not enforced");
        assert!(error.to_string().contains("column 14"), "{error}");
    }

    #[test]
    fn the_missing_scopes_are_named_all_at_once() {
        let parse = |text: &str| text.parse::<Scope>().expect("well formed");
        let needed = [parse("read:invoices"), parse("write:invoices"), parse("use:echo")];
        let missing = Scope::missing(&[parse("use:echo")], &needed);
        assert_eq!(missing, [&needed[0], &needed[1]]);
    }

    proptest::proptest! {
        #[test]
        fn a_scope_reads_back_what_it_prints(text in "[a-z0-9_-]{1,12}:[a-zA-Z0-9_-]{1,12}") {
            let scope: Scope = text.parse().expect("generated from the grammar");
            proptest::prop_assert_eq!(scope.to_string(), text);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,40}") {
            let _ = text.parse::<Scope>();
        }
    }
}
