//! Decisions about single rows: prepared once for a call or a delivery, then asked row by row.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::{Entities, Entity, EntityTypeName, Request};
use serde_json::{Map, Value};

use super::Policies;
use super::caller::{Caller, Holding, first_segment};
use super::decision::{Tally, failed};
use super::filter::Filter;
use super::hint;
use super::names;
use super::operand::{Kind, Operands};
use super::slice::{Slice, add};
use crate::model::scope::{Bindings, BoundScope, Term};
use crate::model::{Arguments, Decision, Principal, Scope, ToolName, Verdict};

/// What is needed to decide about rows under one action, such as `read:invoices`.
pub(super) struct RowPolicies {
    pub(super) slice: Slice,
    /// The resource as scopes name it.
    pub(super) resource: String,
    pub(super) row_type: EntityTypeName,
    pub(super) attributes: BTreeMap<String, Kind>,
    /// The arguments that scopes with this action speak of.
    pub(super) arguments: Operands,
}

/// Which rows one caller may see of what one call of one tool returns. It stands on its own, so it can outlive the request.
///
/// INVARIANT: a row passes only if for every action among the tool's scopes on its resource the policies allow it *and* some scope
/// that the caller holds speaks of it. The second holds whatever admins permit: a token that its holder narrowed stays narrow.
pub struct RowAccess {
    policies: Arc<Policies>,
    tool: ToolName,
    /// The caller, as far as conditions of scopes and policies speak of it.
    principal: Principal,
    /// The arguments, likewise.
    arguments: Arguments,
    asked: Vec<Asked>,
}

/// One action on the rows of one resource, ready to be asked about rows.
struct Asked {
    action: String,
    /// The scopes that the caller holds for this action.
    held: Vec<BoundScope>,
    prepared: Result<Prepared, String>,
}

/// All about one action that is the same for every row.
struct Prepared {
    request: Request,
    /// What the request is decided on, but for the row.
    entities: Entities,
    /// What the policies come to that do not look at the row.
    settled: Tally,
}

impl RowAccess {
    /// Prepares decisions about the rows that `tool` returns to `principal` for a call with `arguments`.
    pub(super) fn new(
        policies: &Arc<Policies>,
        principal: &Principal,
        tool: &ToolName,
        arguments: &Arguments,
        trace_id: &str,
    ) -> Self {
        let needed = policies.tools.get(tool).map_or(&[][..], |tool| &tool.scopes[..]);
        let mut actions: Vec<String> = needed.iter().map(Scope::base).collect();
        actions.sort();
        actions.dedup();
        actions.retain(|action| policies.rows.contains_key(action));
        let caller = Caller::new(&policies.vocabulary, principal, trace_id);
        let holding = Holding { needed, arguments: Some(arguments), suppose: false };
        let bindings = Bindings { principal, arguments: Some(arguments) };
        let prepare = |action: String| {
            let RowPolicies { slice, arguments: named, .. } = &policies.rows[&action];
            let context = caller.row(slice.watched(), holding, tool.as_str(), named);
            let request = context.and_then(|context| slice.request(&caller, context));
            let prepared = request.and_then(|request| {
                let entities = slice.entities(&caller)?;
                let settled = slice.settle(&policies.authorizer, &caller, &request, &entities)?;
                Ok(Prepared { request, entities, settled })
            });
            let held = held(&principal.scopes, &action).map(|scope| scope.bind(&bindings)).collect();
            Asked { action, held, prepared }
        };
        Self {
            asked: actions.into_iter().map(prepare).collect(),
            principal: spoken_of(policies, principal, needed),
            arguments: arguments_spoken_of(arguments, &principal.scopes),
            policies: Arc::clone(policies),
            tool: tool.clone(),
        }
    }

    /// Whether the caller may see `row` of `resource`. Any error denies; none says what is in the row.
    pub fn permits(&self, resource: &str, row: &Value) -> Verdict {
        let mut all = Verdict { decision: Decision::Allow, ..Verdict::denied() };
        let mut is_asked = false;
        for asked in &self.asked {
            let rows = &self.policies.rows[&asked.action];
            if rows.resource != resource {
                continue;
            }
            is_asked = true;
            let verdict = self.decide(asked, rows, row).unwrap_or_else(failed);
            let shadow = verdict.shadow.clone().or_else(|| all.shadow.take());
            if verdict.decision == Decision::Deny {
                return verdict;
            }
            all.policies.extend(verdict.policies);
            all.shadow = shadow;
        }
        if !is_asked {
            return failed(match self.policies.rows.values().any(|rows| rows.resource == resource) {
                // The guest chose the resource's name, so it is not repeated: these texts are written down.
                true => format!("the tool `{}` needs no scope for rows of this resource, so none of them may be seen", self.tool),
                false => "no plugin declares what a row of this resource is".to_owned(),
            });
        }
        all.policies.sort();
        all.policies.dedup();
        all
    }

    /// Which rows of `resource` could pass at all, as the JSON that `filter` describes, so that a guest can ask its backend for less.
    /// It leaves out no row that would pass, and is no promise for those it means: each is decided. None if that cannot be said.
    pub fn hint(&self, resource: &str) -> Option<String> {
        let text = self.filter(resource)?.to_json().to_string();
        (text.len() <= hint::LENGTH).then_some(text)
    }

    /// The resources whose rows the tool may return.
    pub(super) fn resources(&self) -> BTreeSet<&str> {
        self.asked.iter().map(|asked| self.policies.rows[&asked.action].resource.as_str()).collect()
    }

    /// The same as a filter.
    pub(super) fn filter(&self, resource: &str) -> Option<Filter> {
        let mut parts = Vec::new();
        for Asked { action, prepared, .. } in &self.asked {
            let rows = &self.policies.rows[action];
            if rows.resource != resource {
                continue;
            }
            parts.push(hint::held(held(&self.principal.scopes, action), rows, &self.principal, &self.arguments));
            let Prepared { request, .. } = prepared.as_ref().ok()?;
            let caller = Caller::new(&self.policies.vocabulary, &self.principal, "");
            parts.push(hint::permitted(&self.policies, rows, &caller, request.context()?.clone())?);
        }
        // Of anything else no row passes.
        Some(if parts.is_empty() { Filter::no_row() } else { Filter::all(parts) })
    }

    fn decide(&self, asked: &Asked, rows: &RowPolicies, row: &Value) -> Result<Verdict, String> {
        let row = row.as_object().ok_or("the row is not an object")?;
        check(rows, row)?;
        let Prepared { request, entities, settled } = asked.prepared.as_ref().map_err(String::clone)?;
        if !asked.held.iter().any(|scope| scope.admits(row)) {
            return Ok(Verdict::denied());
        }
        let decide =
            |entities: &Entities| rows.slice.decide_settled(&self.policies.authorizer, settled.clone(), request, entities);
        match rows.slice.reads.resource {
            true => Ok(decide(&add(entities.clone(), [rows.entity(row)?])?)),
            false => Ok(decide(entities)),
        }
    }
}

impl RowPolicies {
    fn entity(&self, row: &Map<String, Value>) -> Result<Entity, String> {
        let read = self.attributes.iter().filter(|(name, _)| self.slice.reads.attribute(name));
        let attributes = read.map(|(name, kind)| Some((name.clone(), kind.read(row.get(name)?)?)));
        let unreadable = || "the row cannot be read by policies".to_owned();
        let attributes: HashMap<_, _> = attributes.collect::<Option<_>>().ok_or_else(unreadable)?;
        Entity::new(names::row(&self.row_type), attributes, HashSet::new()).map_err(|_| unreadable())
    }
}

/// The scopes among `scopes` that are for this action.
fn held<'a>(scopes: &'a [Scope], action: &'a str) -> impl Iterator<Item = &'a Scope> {
    scopes.iter().filter(move |scope| {
        action.strip_prefix(scope.action()).and_then(|rest| rest.strip_prefix(':')) == Some(scope.resource())
    })
}

/// Whether the row has every attribute of its type, also those that no policy looks at.
fn check(rows: &RowPolicies, row: &Map<String, Value>) -> Result<(), String> {
    let misfit = |(name, kind): (&String, &Kind)| match (row.get(name), kind) {
        (Some(value), kind) if kind.fits(value) => None,
        (None, _) => Some(format!("attribute `{name}` of the row is missing")),
        (Some(_), Kind::Bool) => Some(format!("attribute `{name}` of the row is not a boolean")),
        (Some(_), Kind::Long) => Some(format!("attribute `{name}` of the row is not an integer of 64 bits")),
        (Some(_), Kind::String) => Some(format!("attribute `{name}` of the row is not a string")),
    };
    rows.attributes.iter().find_map(misfit).map_or(Ok(()), Err)
}

/// What is left of `principal` when only that is kept which policies look at, or conditions of scopes for the actions of `needed`.
fn spoken_of(policies: &Policies, principal: &Principal, needed: &[Scope]) -> Principal {
    let alike = |held: &&Scope| needed.iter().any(|scope| scope.action() == held.action() && scope.resource() == held.resource());
    let scopes: Vec<Scope> = principal.scopes.iter().filter(alike).cloned().collect();
    let conditions = || scopes.iter().flat_map(Scope::conditions);
    let is_named = |name: &str| conditions().any(|condition| matches!(&condition.term, Term::Principal(claim) if claim == name));
    let claims = principal.claims.iter().filter(|(name, _)| policies.vocabulary.reads.claim(name) || is_named(name));
    Principal {
        claims: claims.map(|(name, value)| (name.clone(), value.clone())).collect(),
        groups: principal.groups.clone(),
        issuer: principal.issuer.clone(),
        subject: principal.subject.clone(),
        client: principal.client.clone(),
        tenant: principal.tenant.clone(),
        scopes,
    }
}

/// The arguments that conditions of the scopes in `held` name.
fn arguments_spoken_of(arguments: &Arguments, held: &[Scope]) -> Arguments {
    let terms = held.iter().flat_map(Scope::conditions).map(|condition| &condition.term);
    let named = terms.filter_map(|term| match term {
        Term::Argument(pointer) => Some(first_segment(pointer)),
        _ => None,
    });
    named.filter_map(|name| Some((name.clone(), arguments.get(&name)?.clone()))).collect()
}
