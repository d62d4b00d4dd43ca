//! From a principal and its arguments to a Cedar request, without JSON text in between.

use std::collections::{HashMap, HashSet};

use cedar_policy::{Context, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression};
use serde_json::Value;

use super::input::{Attributes, InputType, integer};
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

/// A principal as Cedar sees it, for one request.
pub(super) struct Caller {
    pub(super) uid: EntityUid,
    pub(super) entity: Entity,
    session: RestrictedExpression,
}

impl Caller {
    /// `principal`, as if it also held `further` scopes.
    pub(super) fn new(names: &Names, principal: &Principal, further: &[Scope], trace_id: &str) -> Result<Self, String> {
        let uid = uid(&names.user, &user_id(&principal.issuer, &principal.subject));
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let mut attributes = HashMap::with_capacity(4);
        attributes.insert("issuer".to_owned(), text(&principal.issuer));
        attributes.insert("subject".to_owned(), text(&principal.subject));
        attributes.extend(principal.tenant.as_deref().map(|tenant| ("tenant".to_owned(), text(tenant))));
        attributes.extend(principal.client.as_deref().map(|client| ("client".to_owned(), text(client))));
        let claims = principal.claims.iter().filter_map(|(name, value)| Some((name.clone(), claim(value)?)));
        let entity = Entity::new_with_tags(uid.clone(), attributes, HashSet::new(), claims)
            .map_err(|_| "the principal's claims cannot be read by policies".to_owned())?;
        let scopes = principal.scopes.iter().chain(further);
        let session = RestrictedExpression::new_record([
            ("scopes".to_owned(), RestrictedExpression::new_set(scopes.map(|scope| text(&scope.to_string())))),
            ("trace_id".to_owned(), text(trace_id)),
        ])
        .expect("the two names differ");
        Ok(Self { uid, entity, session })
    }

    /// What policies see of a listing.
    pub(super) fn listing(&self) -> Result<Context, String> {
        self.context([])
    }

    /// What policies see of a call.
    pub(super) fn calling(&self, visible: &Attributes, arguments: &Arguments) -> Result<Context, String> {
        let mut values = Values { left: VALUES };
        let input = values.record(visible, arguments).map_err(|misfit| misfit.to_string())?;
        self.context([("input".to_owned(), input)])
    }

    fn context<const N: usize>(&self, further: [(String, RestrictedExpression); N]) -> Result<Context, String> {
        Context::from_pairs(std::iter::once(("session".to_owned(), self.session.clone())).chain(further))
            .map_err(|_| "the request cannot be read by policies".to_owned())
    }
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

/// Turns arguments into Cedar values, up to a limit.
struct Values {
    left: usize,
}

impl Values {
    /// The visible part of `object`; what is not declared, or invisible, is dropped.
    fn record(&mut self, visible: &Attributes, object: &Arguments) -> Result<RestrictedExpression, Misfit> {
        let mut fields = Vec::with_capacity(visible.len());
        for (name, attribute) in visible {
            match object.get(name) {
                None | Some(Value::Null) if !attribute.required => {}
                None => return Err(Misfit::new("is missing").under(name)),
                Some(value) => {
                    let value = self.value(&attribute.kind, value).map_err(|misfit| misfit.under(name))?;
                    fields.push((name.clone(), value));
                }
            }
        }
        Ok(RestrictedExpression::new_record(fields).expect("the attributes' names are keys of a map"))
    }

    fn value(&mut self, kind: &InputType, value: &Value) -> Result<RestrictedExpression, Misfit> {
        self.left = self.left.checked_sub(1).ok_or_else(|| Misfit::new("holds more values than policies look at (65536)"))?;
        match (kind, value) {
            (InputType::Bool, Value::Bool(flag)) => Ok(RestrictedExpression::new_bool(*flag)),
            (InputType::String, Value::String(text)) => Ok(RestrictedExpression::new_string(text.clone())),
            (InputType::Long, Value::Number(number)) => match integer(number) {
                Some(number) => Ok(RestrictedExpression::new_long(number)),
                None => Err(Misfit::new("is not an integer of 64 bits")),
            },
            (InputType::Set(kind), Value::Array(values)) => {
                let mut elements = Vec::with_capacity(values.len());
                for (at, value) in values.iter().enumerate() {
                    elements.push(self.value(kind, value).map_err(|misfit| misfit.under(&at.to_string()))?);
                }
                Ok(RestrictedExpression::new_set(elements))
            }
            (InputType::Record(attributes), Value::Object(object)) => self.record(attributes, object),
            (InputType::Bool, _) => Err(Misfit::new("is not a boolean")),
            (InputType::String, _) => Err(Misfit::new("is not a string")),
            (InputType::Long, _) => Err(Misfit::new("is not an integer")),
            (InputType::Set(_), _) => Err(Misfit::new("is not a list")),
            (InputType::Record(_), _) => Err(Misfit::new("is not an object")),
        }
    }
}
