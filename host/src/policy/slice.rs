//! The policies that can apply to one action on one tool, specialised to it, and the entities they are decided on.

use std::collections::{HashMap, HashSet};

use cedar_policy::{
    ActionConstraint, Context, Entities, Entity, EntityTypeName, EntityUid, Policy, PolicySet, PrincipalConstraint, Request,
    ResourceConstraint, RestrictedExpression,
};
use serde_json::json;

use super::reads::Reads;
use super::request::{Caller, Names};

/// What one decision is about: an action on a tool, each with what it is in.
pub(super) struct Target {
    pub(super) action: EntityUid,
    /// The group the action is in, if any.
    pub(super) group: Option<EntityUid>,
    pub(super) tool: EntityUid,
    pub(super) plugin: EntityUid,
    /// The tool's attributes.
    pub(super) attributes: HashMap<String, RestrictedExpression>,
}

/// The policies that can apply to one target, and everything of the request that is known before it comes.
///
/// INVARIANT: deciding on `policies` gives what deciding on the whole set gives. Left out are only policies whose head cannot
/// match, and Cedar ends those without effect and without error, before their conditions. Of the others the parts of the head
/// that always match here are dropped.
pub(super) struct Slice {
    pub(super) policies: PolicySet,
    /// The action and the tool, where a policy looks at more than their names. What they are in need not be present.
    entities: Entities,
    action: EntityUid,
    resource: EntityUid,
    /// Whether a policy looks at more of the principal than its name.
    reads_principal: bool,
    /// Whether a policy looks at the arguments.
    pub(super) reads_input: bool,
}

/// A policy, ready to go into slices.
pub(super) struct Specialised {
    /// The policy without action, resource and annotations in its head, and without places in a text: evaluating a policy that
    /// still has them costs twice as much, and all threads would count references to one text.
    policy: Policy,
    /// What its conditions look at.
    pub(super) reads: Reads,
}

impl Specialised {
    /// None if the policy is nested so deeply that it cannot be taken apart.
    pub(super) fn of(policy: &Policy, names: &Names) -> Option<Self> {
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
        Some(Self { policy, reads })
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
        let is_tool = |kind: &EntityTypeName| kind == self.tool.type_name();
        let within = |entity: &EntityUid| *entity == self.tool || *entity == self.plugin;
        let resource = match policy.resource_constraint() {
            ResourceConstraint::Any => true,
            ResourceConstraint::Eq(tool) => tool == self.tool,
            ResourceConstraint::In(entity) => within(&entity),
            ResourceConstraint::Is(kind) => is_tool(&kind),
            ResourceConstraint::IsIn(kind, entity) => is_tool(&kind) && within(&entity),
        };
        let principal = match policy.principal_constraint() {
            PrincipalConstraint::Is(kind) | PrincipalConstraint::IsIn(kind, _) => kind == *names.user(),
            PrincipalConstraint::Any | PrincipalConstraint::Eq(_) | PrincipalConstraint::In(_) => true,
        };
        action && resource && principal
    }
}

impl Slice {
    /// The slice of these policies, each of which the target is in scope of.
    pub(super) fn new<'a>(target: Target, policies: impl Iterator<Item = &'a Specialised> + Clone) -> Self {
        let reads = policies.clone().fold(Reads::default(), |reads, policy| reads.and(&policy.reads));
        let action = || Entity::new_no_attrs(target.action.clone(), target.group.into_iter().collect());
        let tool = || {
            Entity::new(target.tool.clone(), target.attributes, HashSet::from([target.plugin]))
                .expect("the attributes are entity literals, which always evaluate")
        };
        let entities = reads.action.then(action).into_iter().chain(reads.resource.then(tool));
        Self {
            reads_principal: reads.principal,
            reads_input: reads.input,
            policies: PolicySet::from_policies(policies.map(|policy| policy.policy.clone()))
                .expect("ids are unique, and no policy is a template's"),
            entities: Entities::from_entities(entities, None).expect("two different entities without a cycle"),
            action: target.action.clone(),
            resource: target.tool.clone(),
        }
    }

    /// The request of `caller` in `context`, and the entities to decide it on.
    pub(super) fn ask(&self, caller: &Caller<'_>, context: Context) -> Result<(Request, Entities), String> {
        let unreadable = || "the request cannot be read by policies".to_owned();
        let mut entities = self.entities.clone();
        if self.reads_principal {
            entities = entities.add_entities([caller.entity()?.clone()], None).map_err(|_| unreadable())?;
        }
        // No schema here: the context is built after the very types that the schema was written from.
        let request = Request::new(caller.uid().clone(), self.action.clone(), self.resource.clone(), context, None);
        Ok((request.map_err(|_| unreadable())?, entities))
    }
}
