//! From a principal and its arguments to a Cedar request, without JSON text in between.

use std::cell::OnceCell;

use cedar_policy::{Context, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression};
use serde_json::Value;

use super::input::{Attributes, InputType};
use super::reads::Reads;
use crate::model::scope::integer;
use crate::model::{Arguments, Principal, Scope};

/// The most values of one call's arguments that policies look at; building a Cedar set costs far more than parsing JSON.
const VALUES: usize = 65_536;

/// The names of our own types, parsed once.
pub(super) struct Names {
    user: EntityTypeName,
    tool: EntityTypeName,
    plugin: EntityTypeName,
    action: EntityTypeName,
    effect: EntityTypeName,
    risk: EntityTypeName,
}

impl Names {
    pub(super) fn new() -> Self {
        let name = |text: &str| text.parse().expect("the host's own type names are Cedar names");
        Self {
            user: name("Tidegate::User"),
            tool: name("Tidegate::Tool"),
            plugin: name("Tidegate::Plugin"),
            action: name("Tidegate::Action"),
            effect: name("Tidegate::Effect"),
            risk: name("Tidegate::Risk"),
        }
    }

    /// The type of principals.
    pub(super) fn user(&self) -> &EntityTypeName {
        &self.user
    }

    pub(super) fn tool(&self, name: &str) -> EntityUid {
        uid(&self.tool, name)
    }

    pub(super) fn plugin(&self, name: &str) -> EntityUid {
        uid(&self.plugin, name)
    }

    pub(super) fn action(&self, name: &str) -> EntityUid {
        uid(&self.action, name)
    }

    pub(super) fn effect(&self, name: &str) -> EntityUid {
        uid(&self.effect, name)
    }

    pub(super) fn risk(&self, name: &str) -> EntityUid {
        uid(&self.risk, name)
    }
}

fn uid(of: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(of.clone(), EntityId::new(id))
}

/// A principal as Cedar sees it, for one request or one listing.
pub(super) struct Caller<'a> {
    principal: &'a Principal,
    uid: EntityUid,
    session: RestrictedExpression,
    reads: &'a Reads,
    /// Built when the first policy asks for it; most look only at the scopes.
    entity: OnceCell<Entity>,
}

impl<'a> Caller<'a> {
    /// `principal`, as if it also held `further` scopes. Of its attributes and claims only what policies look at is converted:
    /// tokens carry many more.
    pub(super) fn new(names: &Names, principal: &'a Principal, further: &[Scope], trace_id: &str, reads: &'a Reads) -> Self {
        let uid = uid(&names.user, &user_id(&principal.issuer, &principal.subject));
        let scopes = principal.scopes.iter().chain(further);
        let session = RestrictedExpression::new_record([
            ("scopes".to_owned(), RestrictedExpression::new_set(scopes.map(|scope| text(&scope.to_string())))),
            ("trace_id".to_owned(), text(trace_id)),
        ])
        .expect("the two names differ");
        Self { principal, uid, session, reads, entity: OnceCell::new() }
    }

    /// The principal's name.
    pub(super) fn uid(&self) -> &EntityUid {
        &self.uid
    }

    /// The principal with its attributes and claims.
    pub(super) fn entity(&self) -> Result<&Entity, String> {
        if self.entity.get().is_none() {
            let Principal { issuer, subject, tenant, client, claims, .. } = self.principal;
            let attributes =
                [("issuer", Some(issuer)), ("subject", Some(subject)), ("tenant", tenant.as_ref()), ("client", client.as_ref())];
            let attributes = attributes.into_iter().filter(|(name, _)| self.reads.attribute(name));
            let attributes = attributes.filter_map(|(name, value)| Some((name.to_owned(), text(value?))));
            let claims = claims.iter().filter(|(name, _)| self.reads.claim(name));
            let claims = claims.filter_map(|(name, value)| Some((name.clone(), claim(value)?)));
            let entity = Entity::new_with_tags(self.uid.clone(), attributes, [], claims)
                .map_err(|_| "the principal cannot be read by policies".to_owned())?;
            return Ok(self.entity.get_or_init(|| entity));
        }
        Ok(self.entity.get().expect("it is there"))
    }

    /// What policies see of a listing.
    pub(super) fn listing(&self) -> Result<Context, String> {
        self.context([])
    }

    /// What policies see of a call. Arguments that no policy looks at (`read` is false) are checked, not converted.
    pub(super) fn calling(&self, visible: &Attributes, arguments: &Arguments, read: bool) -> Result<Context, String> {
        check_record(visible, arguments, &mut { VALUES }).map_err(|misfit| misfit.to_string())?;
        if !read {
            return self.context([]);
        }
        // Always there after the check; if not, the call is denied.
        let input = record(visible, arguments).ok_or("the arguments cannot be read by policies")?;
        self.context([("input".to_owned(), input)])
    }

    fn context<const N: usize>(&self, further: [(String, RestrictedExpression); N]) -> Result<Context, String> {
        Context::from_pairs(std::iter::once(("session".to_owned(), self.session.clone())).chain(further))
            .map_err(|_| "the request cannot be read by policies".to_owned())
    }
}

fn text(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

/// `<issuer>|<subject>`: subjects are unique only under their issuer. `|` and `%` in the issuer are percent-encoded, so the first
/// `|` always ends it.
pub(super) fn user_id(issuer: &str, subject: &str) -> String {
    if issuer.contains(['%', '|']) {
        format!("{}|{subject}", issuer.replace('%', "%25").replace('|', "%7C"))
    } else {
        format!("{issuer}|{subject}")
    }
}

/// A claim as a set of texts: strings, booleans and integers, alone or in a list. Claims of other shapes are invisible.
fn claim(value: &Value) -> Option<RestrictedExpression> {
    let scalar = |value: &Value| match value {
        Value::String(text) => Some(RestrictedExpression::new_string(text.clone())),
        Value::Bool(flag) => Some(RestrictedExpression::new_string(flag.to_string())),
        Value::Number(number) => integer(number).map(|number| RestrictedExpression::new_string(number.to_string())),
        _ => None,
    };
    match value {
        Value::Array(values) => Some(RestrictedExpression::new_set(values.iter().filter_map(scalar))),
        value => scalar(value).map(|text| RestrictedExpression::new_set([text])),
    }
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
fn record(visible: &Attributes, object: &Arguments) -> Option<RestrictedExpression> {
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
        (InputType::String, Value::String(value)) => Some(text(value)),
        (InputType::Long, Value::Number(number)) => integer(number).map(RestrictedExpression::new_long),
        (InputType::Set(kind), Value::Array(values)) => {
            let elements: Option<Vec<_>> = values.iter().map(|value| converted(kind, value)).collect();
            elements.map(RestrictedExpression::new_set)
        }
        (InputType::Record(attributes), Value::Object(object)) => record(attributes, object),
        _ => None,
    }
}
