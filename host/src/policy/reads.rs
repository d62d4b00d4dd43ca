//! What of a request the conditions of policies look at, so that the rest need not be built.

use std::collections::BTreeSet;

use cedar_policy::{Policy, PrincipalConstraint};
use serde_json::Value;

use super::tree;

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
    /// Ways from the context to what is looked at: the names on it. What lies behind the last may be looked at too.
    context: BTreeSet<Vec<String>>,
    /// The scopes that are asked for by name.
    scopes: BTreeSet<String>,
    /// The groups that are asked for, by id. Groups are reached in no other way.
    groups: BTreeSet<String>,
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
        let literals = policy.entity_literals();
        let groups = literals.iter().filter(|literal| literal.type_name().basename() == "Group");
        reads.groups = groups.map(|group| group.id().unescaped().to_owned()).collect();
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
        self.context.extend(other.context.iter().cloned());
        self.scopes.extend(other.scopes.iter().cloned());
        self.groups.extend(other.groups.iter().cloned());
        self.names.extend(other.names.iter().cloned());
        self.any_claim |= other.any_claim;
        self
    }

    /// Whether the attribute of this name is looked at, of the principal or of the resource.
    pub(super) fn attribute(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Whether the claim of this name is looked at.
    pub(super) fn claim(&self, name: &str) -> bool {
        self.any_claim || self.names.contains(name)
    }

    /// Whether anything is looked at that lies on the way `names` from the context, or behind its end.
    pub(super) fn context(&self, names: &[&str]) -> bool {
        self.context.iter().any(|way| way.iter().zip(names).all(|(one, other)| one == other))
    }

    /// Whether nothing but the principal is looked at.
    pub(super) fn only_principal(&self) -> bool {
        self.context.is_empty() && self.scopes.is_empty() && !self.action && !self.resource
    }

    /// The scopes that are asked for by name; none if all that are held are looked at.
    pub(super) fn scopes(&self) -> Option<&BTreeSet<String>> {
        (!self.context(&["session", "scopes"])).then_some(&self.scopes)
    }

    /// The groups that are asked for, by id.
    pub(super) fn groups(&self) -> &BTreeSet<String> {
        &self.groups
    }

    /// Every text in the conditions: variables, attributes, keys and literals alike.
    fn collect(&mut self, part: &Value) {
        if let Some(way) = tree::context_path(part) {
            self.context.insert(way.into_iter().map(str::to_owned).collect());
            return;
        }
        match part {
            Value::String(text) => drop(self.names.insert(text.clone())),
            Value::Array(parts) => parts.iter().for_each(|part| self.collect(part)),
            Value::Object(parts) => {
                for (operator, operands) in parts {
                    if let Some(asked) = scopes_asked(operator, operands) {
                        self.scopes.extend(asked.into_iter().map(str::to_owned));
                        continue;
                    }
                    let is_lookup = operator == "hasTag" || operator == "getTag";
                    let is_literal = operands.get("right").and_then(tree::text).is_some();
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

/// The scopes that `context.session.scopes.contains(..)` and its like ask for, if they are written out.
pub(super) fn scopes_asked<'a>(operator: &str, operands: &'a Value) -> Option<Vec<&'a str>> {
    let is_question = ["contains", "containsAll", "containsAny"].contains(&operator);
    let of_scopes = || tree::context_path(operands.get("left")?).filter(|way| way[..] == ["session", "scopes"]);
    if is_question && of_scopes().is_some() { tree::texts(operands.get("right")?) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(condition: &str) -> Reads {
        let policy: Policy = format!("permit (principal, action, resource) when {{ {condition} }};").parse().expect("a policy");
        let parts = policy.to_json().expect("it has a JSON form");
        Reads::of(&policy, &parts["conditions"])
    }

    #[test]
    fn what_is_looked_at_of_the_context_is_known_by_its_way() {
        let read = reads("context.input.customer.name == \"a\" && context.input has limit.most && context.tool == \"t\"");
        for way in [&["input"][..], &["input", "customer", "name", "x"], &["input", "limit", "most"], &["tool"], &[]] {
            assert!(read.context(way), "{way:?}");
        }
        for way in [&["input", "customer", "age"][..], &["input", "limit", "least"], &["session"]] {
            assert!(!read.context(way), "{way:?}");
        }
        assert!(reads("context == {a: 1}").context(&["input", "x"]));
        assert!(reads("context.input == {}").context(&["input", "x"]));
        assert!(reads("(if context.flag then context else context).input.x == 1").context(&["input", "y"]), "named too much");
    }

    #[test]
    fn scopes_are_known_by_name_unless_they_are_looked_at_as_a_whole() {
        let named = reads("context.session.scopes.contains(\"a:b\") || context.session.scopes.containsAny([\"c:d\", \"e:f\"])");
        let texts: Vec<_> = named.scopes().expect("all are named").iter().map(String::as_str).collect();
        assert_eq!(texts, ["a:b", "c:d", "e:f"]);
        for whole in [
            "context.session.scopes.isEmpty()",
            "context.session.scopes.contains(principal.subject)",
            "[[\"a:b\"]].contains(context.session.scopes)",
            "context.session == principal.session",
            "context has session",
        ] {
            assert_eq!(reads(whole).scopes(), None, "{whole}");
        }
    }
}
