//! What of a request the conditions of policies look at, so that the rest need not be built.

use std::collections::BTreeSet;

use cedar_policy::{Policy, PrincipalConstraint};
use serde_json::Value;

/// What one or more policies look at. It may name too much, which costs time; it never names too little.
///
/// Conditions can reach entities only through `principal`, `action` and `resource`: the validator refuses policies that look into
/// an entity they name themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reads {
    /// More of the principal than its name.
    pub(super) principal: bool,
    /// More of the action than its name.
    pub(super) action: bool,
    /// More of the resource than its name.
    pub(super) resource: bool,
    /// The arguments.
    pub(super) input: bool,
    /// Names that occur anywhere; an attribute that is not among them is not looked at.
    names: BTreeSet<String>,
    /// Claims are looked up under names that are computed, so any may be looked at.
    any_claim: bool,
}

impl Reads {
    /// What the policy with these `conditions` (in Cedar's JSON form) looks at.
    pub(super) fn of(policy: &Policy, conditions: &Value) -> Self {
        let mut reads = Self::default();
        reads.collect(conditions);
        reads.principal = reads.names.contains("principal")
            // A head such as `principal in` asks what the principal is in.
            || matches!(policy.principal_constraint(), PrincipalConstraint::In(_) | PrincipalConstraint::IsIn(..));
        reads.input = reads.names.contains("context") && reads.names.contains("input");
        reads.action = reads.names.contains("action");
        reads.resource = reads.names.contains("resource");
        reads
    }

    /// What either looks at.
    #[must_use]
    pub(super) fn and(mut self, other: &Self) -> Self {
        self.principal |= other.principal;
        self.action |= other.action;
        self.resource |= other.resource;
        self.input |= other.input;
        self.names.extend(other.names.iter().cloned());
        self.any_claim |= other.any_claim;
        self
    }

    /// Whether the attribute of this name is looked at.
    pub(super) fn attribute(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Whether the claim of this name is looked at.
    pub(super) fn claim(&self, name: &str) -> bool {
        self.any_claim || self.names.contains(name)
    }

    /// Every text in the conditions: variables, attributes, keys and literals alike.
    fn collect(&mut self, part: &Value) {
        match part {
            Value::String(text) => drop(self.names.insert(text.clone())),
            Value::Array(parts) => parts.iter().for_each(|part| self.collect(part)),
            Value::Object(parts) => {
                for (operator, operands) in parts {
                    let is_lookup = operator == "hasTag" || operator == "getTag";
                    let is_literal = operands.pointer("/right/Value").is_some_and(Value::is_string);
                    self.any_claim |= is_lookup && !is_literal;
                    // A record that is compared to the context names its parts as keys.
                    self.names.insert(operator.clone());
                    self.collect(operands);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}
