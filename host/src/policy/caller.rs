//! A principal as Cedar sees it, and the part of a request's context that follows from it.

use std::cell::OnceCell;
use std::sync::Arc;

use cedar_policy::{Context, Entity, EntityUid, RestrictedExpression, Schema};
use serde_json::Value;

use super::arguments::{check_arguments, record};
use super::directory::Directory;
use super::input::Attributes;
use super::names::{Names, global_id};
use super::operand::{Operand, Operands};
use super::reads::Reads;
use super::standing::{Known, Standing, key};
use crate::model::scope::{Bindings, integer};
use crate::model::{Arguments, Principal, Scope, argument_at};

/// What all requests under one policy set have in common.
pub(super) struct Vocabulary {
    pub(super) names: Names,
    /// What the policies together look at.
    pub(super) reads: Reads,
    /// The claims that have types.
    pub(super) claims: Operands,
    /// What admins say about users and groups.
    pub(super) directory: Directory,
    /// The policies that look at nothing but the principal.
    pub(super) standing: Standing,
    /// The schema that the policies were checked against.
    pub(super) schema: Arc<Schema>,
}

/// A principal as Cedar sees it, for one request or one listing.
pub(super) struct Caller<'a> {
    principal: &'a Principal,
    vocabulary: &'a Vocabulary,
    id: String,
    uid: EntityUid,
    trace_id: RestrictedExpression,
    /// Looked up when the first policy asks for it; some look only at the scopes.
    known: OnceCell<Arc<Known>>,
}

/// A scope that a policy asks for by name.
pub(super) struct Watched {
    scope: Scope,
    text: RestrictedExpression,
}

/// The scopes that a request is decided with: what the principal holds, and those of `needed` that this covers.
#[derive(Clone, Copy)]
pub(super) struct Holding<'a> {
    /// What the tool needs.
    pub(super) needed: &'a [Scope],
    /// What the conditions of scopes may speak of; none in a listing.
    pub(super) arguments: Option<&'a Arguments>,
    /// Take it that all of `needed` is covered.
    pub(super) suppose: bool,
}

impl Watched {
    /// None if `text` is not how any scope is written; whoever asks for it, asks in vain.
    pub(super) fn new(text: &str) -> Option<Self> {
        let scope: Scope = text.parse().ok()?;
        (scope.to_string() == text).then(|| Self { scope, text: string(text) })
    }
}

impl<'a> Caller<'a> {
    pub(super) fn new(vocabulary: &'a Vocabulary, principal: &'a Principal, trace_id: &str) -> Self {
        let id = global_id(&principal.issuer, &principal.subject);
        let uid = vocabulary.names.user_of(&id);
        Self { principal, vocabulary, id, uid, trace_id: string(trace_id), known: OnceCell::new() }
    }

    /// The principal's name.
    pub(super) fn uid(&self) -> &EntityUid {
        &self.uid
    }

    /// The principal with its attributes, claims and groups, as far as policies look at them (tokens carry much more), and what
    /// the policies say that look at nothing else.
    pub(super) fn known(&self) -> Result<&Known, String> {
        if let Some(known) = self.known.get() {
            return Ok(known);
        }
        let Vocabulary { names, reads, standing, .. } = self.vocabulary;
        let key = key(reads, self.principal, &self.id);
        let known = standing.known(key, names, &self.uid, || self.build(|name| reads.attribute(name)))?;
        Ok(self.known.get_or_init(|| known))
    }

    /// The principal with all its attributes, as the schema wants it.
    pub(super) fn whole_entity(&self) -> Result<Entity, String> {
        self.build(|_| true)
    }

    fn build(&self, wants: impl Fn(&str) -> bool) -> Result<Entity, String> {
        let Principal { issuer, subject, tenant, client, claims, groups, .. } = self.principal;
        let Vocabulary { names, claims: typed, directory, reads, .. } = self.vocabulary;
        let own =
            [("issuer", Some(issuer)), ("subject", Some(subject)), ("tenant", tenant.as_ref()), ("client", client.as_ref())];
        let mut attributes = Vec::new();
        for (name, value) in own {
            if let Some(value) = value.filter(|_| wants(name)) {
                attributes.push((name.to_owned(), string(value)));
            }
        }
        if !typed.is_empty() && wants("claims") {
            let typed = typed.iter().filter(|(name, _)| reads.attribute(name));
            let values = typed.filter_map(|(name, operand)| Some((name.clone(), operand.read(claims.get(name)?)?)));
            attributes.push(("claims".to_owned(), new_record(values)?));
        }
        attributes.extend(directory.attributes(&self.id, wants));
        let tags = claims.iter().filter(|(name, _)| reads.claim(name));
        let tags = tags.filter_map(|(name, value)| Some((name.clone(), tag(value)?)));
        let asserted = groups.iter().map(|group| global_id(issuer, group));
        let groups = if reads.groups().is_empty() { Vec::new() } else { directory.groups(&self.id, asserted, reads.groups()) };
        let groups = groups.into_iter().map(|group| names.group(group));
        Entity::new_with_tags(self.uid.clone(), attributes, groups, tags)
            .map_err(|_| "the principal cannot be read by policies".to_owned())
    }

    /// What policies see of a listing.
    pub(super) fn listing(&self, watched: Option<&[Watched]>, holding: Holding<'_>) -> Result<Context, String> {
        self.context(watched, holding, [])
    }

    /// What policies see of a call. All arguments that are visible are checked; those are converted that policies `read`.
    pub(super) fn calling(
        &self,
        watched: Option<&[Watched]>,
        holding: Holding<'_>,
        visible: &Attributes,
        read: &Attributes,
        arguments: &Arguments,
    ) -> Result<Context, String> {
        check_arguments(visible, arguments)?;
        // Always there after the check; if not, the call is denied.
        let input = record(read, arguments).ok_or("the arguments cannot be read by policies")?;
        self.context(watched, holding, [("input".to_owned(), input)])
    }

    /// What policies see when one row of what `tool` returns is decided; `named` are the arguments that scopes speak of.
    pub(super) fn row(
        &self,
        watched: Option<&[Watched]>,
        holding: Holding<'_>,
        tool: &str,
        named: &Operands,
    ) -> Result<Context, String> {
        let tool = ("tool".to_owned(), string(tool));
        if named.is_empty() {
            return self.context(watched, holding, [tool]);
        }
        let value = |pointer: &str, operand: &Operand| operand.read(argument_at(holding.arguments?, pointer)?);
        let values = named.iter().filter_map(|(pointer, operand)| Some((pointer.clone(), value(pointer, operand)?)));
        self.context(watched, holding, [tool, ("args".to_owned(), new_record(values)?)])
    }

    fn context<const N: usize>(
        &self,
        watched: Option<&[Watched]>,
        holding: Holding<'_>,
        further: [(String, RestrictedExpression); N],
    ) -> Result<Context, String> {
        let session =
            new_record([("scopes".to_owned(), self.scopes(watched, holding)), ("trace_id".to_owned(), self.trace_id.clone())])?;
        Context::from_pairs(std::iter::once(("session".to_owned(), session)).chain(further))
            .map_err(|_| "the request cannot be read by policies".to_owned())
    }

    /// The scopes that policies see, or those of them that they ask for.
    fn scopes(&self, watched: Option<&[Watched]>, holding: Holding<'_>) -> RestrictedExpression {
        let Holding { needed, arguments, suppose } = holding;
        let held = &self.principal.scopes;
        let bindings = Bindings { principal: self.principal, arguments };
        let covered = |scope: &Scope| suppose || held.iter().any(|held| held.covers(scope, &bindings));
        match watched {
            Some(watched) => {
                let seen = |scope: &Scope| held.contains(scope) || (needed.contains(scope) && covered(scope));
                let seen = watched.iter().filter(|watched| seen(&watched.scope));
                RestrictedExpression::new_set(seen.map(|watched| watched.text.clone()))
            }
            None => {
                let needed = needed.iter().filter(|scope| covered(scope));
                RestrictedExpression::new_set(held.iter().chain(needed).map(|scope| string(&scope.to_string())))
            }
        }
    }
}

fn string(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

fn new_record(fields: impl IntoIterator<Item = (String, RestrictedExpression)>) -> Result<RestrictedExpression, String> {
    RestrictedExpression::new_record(fields).map_err(|_| "the request cannot be read by policies".to_owned())
}

/// The argument that a JSON pointer (RFC 6901) leads into.
pub(super) fn first_segment(pointer: &str) -> String {
    pointer.split('/').nth(1).unwrap_or_default().replace("~1", "/").replace("~0", "~")
}

/// A claim as a set of texts: strings, booleans and integers, alone or in a list. Claims of other shapes are invisible.
fn tag(value: &Value) -> Option<RestrictedExpression> {
    let scalar = |value: &Value| match value {
        Value::String(text) => Some(string(text)),
        Value::Bool(flag) => Some(string(&flag.to_string())),
        Value::Number(number) => integer(number).map(|number| string(&number.to_string())),
        _ => None,
    };
    match value {
        Value::Array(values) => Some(RestrictedExpression::new_set(values.iter().filter_map(scalar))),
        value => scalar(value).map(|text| RestrictedExpression::new_set([text])),
    }
}
