//! The hint for guests: which rows could pass at all, by partial evaluation, so that a guest can ask its backend for less.
//!
//! A hint enforces nothing: every row is decided for itself, see `rows`. It only must never leave out a row that would pass. What
//! cannot be said in the closed set of `filter`, or fails, gives no hint.

use cedar_policy::{Context, Effect, Entities, PartialEntities, PartialEntityUid, PartialRequest, Policy};
use serde_json::Value;

use super::Policies;
use super::caller::Caller;
use super::filter::{Filter, is_scalar};
use super::operand::Kind;
use super::rows::RowPolicies;
use crate::model::scope::{Comparison, Condition, Term, integer};
use crate::model::{Arguments, Principal, Scope, argument_at};

/// The longest hint, in bytes.
pub(super) const LENGTH: usize = 64 << 10;

/// The rows under one action that the policies could allow, if that can be said.
pub(super) fn permitted(policies: &Policies, rows: &RowPolicies, caller: &Caller<'_>, context: Context) -> Option<Filter> {
    let schema = policies.vocabulary.schema.as_ref();
    let principal = PartialEntityUid::from_concrete(caller.uid().clone());
    let resource = PartialEntityUid::new(rows.row_type.clone(), None);
    let request = PartialRequest::new(principal, rows.slice.action().clone(), resource, Some(context), schema).ok()?;
    let known = Entities::from_entities([caller.whole_entity().ok()?], None).ok()?;
    let known = PartialEntities::from_concrete(known, schema).ok()?;
    let response = rows.slice.policies().tpe(&request, &known, schema).ok()?;
    let (mut permits, mut forbids) = (Vec::new(), Vec::new());
    for policy in response.policies() {
        let filter = residual(&policy)?;
        match policy.effect() {
            Effect::Permit => permits.push(filter),
            Effect::Forbid => forbids.push(filter),
        }
    }
    Some(Filter::all([Filter::any(permits), Filter::not(Filter::any(forbids))]))
}

/// What is left of a policy when only the row is unknown.
fn residual(policy: &Policy) -> Option<Filter> {
    let parts = policy.to_json().ok()?;
    match &parts.get("conditions")?.as_array()?[..] {
        [] => Some(Filter::every_row()),
        [condition] if condition.get("kind")? == "when" => Filter::of(condition.get("body")?),
        _ => None,
    }
}

/// The rows that scopes held for one action speak of.
pub(super) fn held<'a>(
    scopes: impl Iterator<Item = &'a Scope>,
    rows: &RowPolicies,
    principal: &Principal,
    arguments: &Arguments,
) -> Filter {
    let narrowed = |condition: &Condition| {
        let kind = rows.attributes.get(&condition.attribute).copied();
        narrowed(condition, kind, principal, arguments)
    };
    Filter::any(scopes.map(|scope| Filter::all(scope.conditions().iter().map(narrowed))))
}

/// One condition with what it names filled in; what is absent, or of another type than the attribute, admits no row.
fn narrowed(condition: &Condition, kind: Option<Kind>, principal: &Principal, arguments: &Arguments) -> Filter {
    let fits = |value: &Value| kind.map_or_else(|| is_scalar(value), |kind| kind.fits(value));
    let value = match &condition.term {
        Term::Integer(number) => Some(Value::from(*number)),
        Term::Text(text) => Some(Value::from(text.clone())),
        Term::Principal(claim) => principal.claim(claim),
        Term::Argument(pointer) => argument_at(arguments, pointer).cloned(),
    };
    let compare = |value: Value| Filter::Compare(condition.attribute.clone(), condition.comparison, value);
    match (condition.comparison, value) {
        (Comparison::In, Some(Value::Array(values))) if values.iter().all(is_scalar) => compare(values.into()),
        (Comparison::In, Some(value)) if is_scalar(&value) => compare(vec![value].into()),
        (order, Some(Value::Number(number))) if order.is_order() => {
            integer(&number).map_or_else(Filter::no_row, |number| compare(number.into()))
        }
        (Comparison::Equal | Comparison::NotEqual, Some(value)) if fits(&value) => compare(value),
        _ => Filter::no_row(),
    }
}
