//! The policies that can apply to one action on one kind of thing, specialised to it, and the entities they are decided on.

use std::collections::{BTreeSet, HashMap, HashSet};

use cedar_policy::{
    ActionConstraint, Authorizer, Context, Entities, Entity, EntityTypeName, EntityUid, Policy, PolicySet, PrincipalConstraint,
    Request, ResourceConstraint, RestrictedExpression,
};
use serde_json::json;

use super::caller::{Caller, Watched};
use super::decision::Tally;
use super::names::{self, Names};
use super::reads::Reads;
use crate::model::Verdict;

/// What one decision is about: an action on something, each with what it is in.
pub(super) struct Target {
    pub(super) action: EntityUid,
    /// The group the action is in, if any.
    pub(super) group: Option<EntityUid>,
    pub(super) resource: Resource,
}

/// What an action is on.
pub(super) enum Resource {
    /// A tool.
    Tool {
        tool: EntityUid,
        plugin: EntityUid,
        /// The tool's attributes.
        attributes: HashMap<String, RestrictedExpression>,
    },
    /// Whichever row of this type.
    Row(EntityTypeName),
}

/// The policies that can apply to one target, and everything of the request that is known before it comes.
///
/// INVARIANT: deciding on a slice gives what deciding on the whole set gives. Left out are only policies whose head cannot
/// match, and Cedar ends those without effect and without error, before their conditions. Of the others the parts of the head
/// that always match here are dropped. What policies come to does not depend on each other, so they may be decided in parts.
pub(super) struct Slice {
    /// All policies in force here.
    policies: PolicySet,
    /// Those of them that look at nothing but the principal, by id: they are decided once for each principal.
    standing: BTreeSet<String>,
    /// For rows, those of the others that do not look at the row.
    settled: PolicySet,
    /// The rest.
    varying: PolicySet,
    /// `policies` and those that only watch, if there are any.
    watching: Option<PolicySet>,
    /// The action and the tool, where a policy looks at more than their names. What they are in need not be present.
    entities: Entities,
    action: EntityUid,
    resource: EntityUid,
    /// What the policies look at.
    pub(super) reads: Reads,
    /// The scopes that they ask for; none if they may look at all.
    watched: Option<Vec<Watched>>,
}

/// A policy, ready to go into slices.
pub(super) struct Specialised {
    /// The policy without action, resource and annotations in its head, and without places in a text: evaluating a policy that
    /// still has them costs twice as much, and all threads would count references to one text.
    policy: Policy,
    /// What its conditions look at.
    pub(super) reads: Reads,
    /// It only watches: what it would have decided is reported and changes nothing.
    is_shadow: bool,
}

impl Specialised {
    /// None if the policy is nested so deeply that it cannot be taken apart.
    pub(super) fn of(policy: &Policy, is_shadow: bool, names: &Names) -> Option<Self> {
        let mut parts = policy.to_json().ok()?;
        let reads = Reads::of(policy, parts.get("conditions")?);
        let head = parts.as_object_mut()?;
        head.insert("action".to_owned(), json!({ "op": "All" }));
        head.insert("resource".to_owned(), json!({ "op": "All" }));
        if matches!(policy.principal_constraint(), PrincipalConstraint::Is(kind) if kind == *names.user()) {
            head.insert("principal".to_owned(), json!({ "op": "All" }));
        }
        head.remove("annotations");
        let policy = Policy::from_json(Some(policy.id().clone()), parts).ok()?;
        Some(Self { policy, reads, is_shadow })
    }

    /// Whether it looks at nothing but the principal, and counts.
    pub(super) fn is_standing(&self) -> bool {
        self.reads.only_principal() && !self.is_shadow
    }

    pub(super) fn policy(&self) -> &Policy {
        &self.policy
    }
}

impl Target {
    /// Whether the policy's head matches here, the principal's name aside.
    pub(super) fn is_in_scope_of(&self, policy: &Policy, names: &Names) -> bool {
        let action = match policy.action_constraint() {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(action) => action == self.action,
            ActionConstraint::In(actions) => {
                actions.iter().any(|action| *action == self.action || self.group.as_ref() == Some(action))
            }
        };
        let resource = match policy.resource_constraint() {
            ResourceConstraint::Any => true,
            ResourceConstraint::Eq(entity) => entity == self.resource.uid(),
            ResourceConstraint::In(entity) => self.resource.is_within(&entity),
            ResourceConstraint::Is(kind) => self.resource.is(&kind),
            ResourceConstraint::IsIn(kind, entity) => self.resource.is(&kind) && self.resource.is_within(&entity),
        };
        let principal = match policy.principal_constraint() {
            PrincipalConstraint::Is(kind) | PrincipalConstraint::IsIn(kind, _) => kind == *names.user(),
            PrincipalConstraint::Any | PrincipalConstraint::Eq(_) | PrincipalConstraint::In(_) => true,
        };
        action && resource && principal
    }
}

impl Resource {
    fn uid(&self) -> EntityUid {
        match self {
            Self::Tool { tool, .. } => tool.clone(),
            Self::Row(kind) => names::row(kind),
        }
    }

    fn is(&self, wanted: &EntityTypeName) -> bool {
        match self {
            Self::Tool { tool, .. } => tool.type_name() == wanted,
            Self::Row(kind) => kind == wanted,
        }
    }

    /// Rows are in nothing but themselves.
    fn is_within(&self, wanted: &EntityUid) -> bool {
        match self {
            Self::Tool { tool, plugin, .. } => tool == wanted || plugin == wanted,
            Self::Row(_) => self.uid() == *wanted,
        }
    }

    /// The thing itself, if it is known before a request comes.
    fn entity(self) -> Option<Entity> {
        match self {
            Self::Tool { tool, plugin, attributes } => Some(
                Entity::new(tool, attributes, HashSet::from([plugin]))
                    .expect("the attributes are entity literals, which always evaluate"),
            ),
            Self::Row(_) => None,
        }
    }
}

impl Slice {
    /// The slice of these policies, each of which the target is in scope of.
    pub(super) fn new<'a>(target: Target, policies: impl Iterator<Item = &'a Specialised> + Clone) -> Self {
        let reads = policies.clone().fold(Reads::default(), |reads, policy| reads.and(&policy.reads));
        let Target { action, group, resource } = target;
        let is_row = matches!(resource, Resource::Row(_));
        let uid = resource.uid();
        let action_entity = reads.action.then(|| Entity::new_no_attrs(action.clone(), group.into_iter().collect()));
        let resource = if reads.resource { resource.entity() } else { None };
        let entities = action_entity.into_iter().chain(resource);
        let set = |wanted: &dyn Fn(&Specialised) -> bool| {
            PolicySet::from_policies(policies.clone().filter(|policy| wanted(policy)).map(|policy| policy.policy.clone()))
                .expect("ids are unique, and no policy is a template's")
        };
        let standing = policies.clone().filter(|policy| policy.is_standing());
        let is_settled = |policy: &Specialised| is_row && !policy.reads.resource;
        let counts = |policy: &Specialised| !policy.is_shadow && !policy.is_standing();
        Self {
            policies: set(&|policy| !policy.is_shadow),
            standing: standing.map(|policy| AsRef::<str>::as_ref(policy.policy.id()).to_owned()).collect(),
            settled: set(&|policy| counts(policy) && is_settled(policy)),
            varying: set(&|policy| counts(policy) && !is_settled(policy)),
            watching: policies.clone().any(|policy| policy.is_shadow).then(|| set(&|_| true)),
            entities: Entities::from_entities(entities, None).expect("two different entities without a cycle"),
            action,
            resource: uid,
            watched: reads.scopes().map(|texts| texts.iter().filter_map(|text| Watched::new(text)).collect()),
            reads,
        }
    }

    /// The policies in force here.
    pub(super) fn policies(&self) -> &PolicySet {
        &self.policies
    }

    /// The same and those that only watch.
    pub(super) fn all_policies(&self) -> &PolicySet {
        self.watching.as_ref().unwrap_or(&self.policies)
    }

    /// The action that is decided about.
    pub(super) fn action(&self) -> &EntityUid {
        &self.action
    }

    /// The scopes that policies ask for; none if they may look at all.
    pub(super) fn watched(&self) -> Option<&[Watched]> {
        self.watched.as_deref()
    }

    /// The entities to decide requests of `caller` on, but for a row.
    pub(super) fn entities(&self, caller: &Caller<'_>) -> Result<Entities, String> {
        if !self.reads.principal {
            return Ok(self.entities.clone());
        }
        let principal = caller.known()?.entities.clone();
        match self.entities.is_empty() {
            true => Ok(principal),
            false => add(principal, self.entities.iter().cloned()),
        }
    }

    /// The request of `caller` in `context`.
    pub(super) fn request(&self, caller: &Caller<'_>, context: Context) -> Result<Request, String> {
        // No schema here: the context is built after the very types that the schema was written from.
        Request::new(caller.uid().clone(), self.action.clone(), self.resource.clone(), context, None)
            .map_err(|_| "the request cannot be read by policies".to_owned())
    }

    /// What the policies say about a tool, and what they would if those that watch counted, where that differs.
    pub(super) fn decide(
        &self,
        authorizer: &Authorizer,
        caller: &Caller<'_>,
        request: &Request,
        entities: &Entities,
    ) -> Result<Verdict, String> {
        let settled = self.settle(authorizer, caller, request, entities)?;
        Ok(self.decide_settled(authorizer, settled, request, entities))
    }

    /// What those policies come to that do not look at the row.
    pub(super) fn settle(
        &self,
        authorizer: &Authorizer,
        caller: &Caller<'_>,
        request: &Request,
        entities: &Entities,
    ) -> Result<Tally, String> {
        let mut tally = match self.settled.is_empty() {
            true => Tally::default(),
            false => Tally::of(&authorizer.is_authorized(request, &self.settled, entities)),
        };
        if !self.standing.is_empty() {
            tally.add(&caller.known()?.tally, |id| self.standing.contains(id));
        }
        Ok(tally)
    }

    /// The verdict, when those policies are settled that do not look at the row.
    pub(super) fn decide_settled(
        &self,
        authorizer: &Authorizer,
        settled: Tally,
        request: &Request,
        entities: &Entities,
    ) -> Verdict {
        let mut tally = settled;
        if !self.varying.is_empty() {
            tally.add(&Tally::of(&authorizer.is_authorized(request, &self.varying, entities)), |_| true);
        }
        let decided = tally.verdict();
        let Some(watching) = &self.watching else { return decided };
        let shadow = Tally::of(&authorizer.is_authorized(request, watching, entities)).verdict();
        let differs = shadow.decision != decided.decision;
        Verdict { shadow: differs.then(|| Box::new(shadow)), ..decided }
    }
}

/// `entities` and some more.
pub(super) fn add(entities: Entities, further: impl IntoIterator<Item = Entity>) -> Result<Entities, String> {
    entities.add_entities(further, None).map_err(|_| "the request cannot be read by policies".to_owned())
}
