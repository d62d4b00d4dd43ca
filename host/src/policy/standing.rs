//! What depends on the principal alone: decided once and remembered, for as many principals as there is room for.

use std::sync::Arc;

use cedar_policy::{Authorizer, Context, Effect, Entities, Entity, EntityUid, Policy, PolicySet, Request};
use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};

use super::decision::Tally;
use super::names::Names;
use super::reads::Reads;
use crate::model::Principal;

/// The most principals that are remembered.
const PRINCIPALS: usize = 1024;

/// The policies in force that look at nothing but the principal, and what they came to.
pub(super) struct Standing {
    permits: PolicySet,
    forbids: PolicySet,
    authorizer: Authorizer,
    /// By all that policies look at of a principal, so that two with one key cannot be told apart by any policy.
    known: Cache<Key, Arc<Known>>,
}

/// A principal as policies know it.
pub(super) struct Known {
    /// The principal, alone.
    pub(super) entities: Entities,
    /// What the standing policies come to, wherever they are in force.
    pub(super) tally: Tally,
}

impl Standing {
    pub(super) fn new<'a>(policies: impl Iterator<Item = &'a Policy> + Clone) -> Self {
        let of = |effect: Effect| {
            PolicySet::from_policies(policies.clone().filter(|policy| policy.effect() == effect).cloned())
                .expect("ids are unique, and no policy is a template's")
        };
        Self {
            permits: of(Effect::Permit),
            forbids: of(Effect::Forbid),
            authorizer: Authorizer::new(),
            known: Cache::new(PRINCIPALS),
        }
    }

    /// What is known of the principal with this key, or else of the one that `build` makes.
    pub(super) fn known(
        &self,
        key: Key,
        names: &Names,
        uid: &EntityUid,
        build: impl FnOnce() -> Result<Entity, String>,
    ) -> Result<Arc<Known>, String> {
        if let Some(known) = self.known.get(&key) {
            return Ok(known);
        }
        let known = Arc::new(self.decide(names, uid, build()?)?);
        self.known.insert(key, Arc::clone(&known));
        Ok(known)
    }

    fn decide(&self, names: &Names, uid: &EntityUid, principal: Entity) -> Result<Known, String> {
        let unreadable = "the principal cannot be read by policies";
        let entities = Entities::from_entities([principal], None).map_err(|_| unreadable)?;
        // What is done to what makes no difference to these policies.
        let (action, resource) = (names.action("list_tool"), names.tool(""));
        let request = Request::new(uid.clone(), action, resource, Context::empty(), None).map_err(|_| unreadable)?;
        let mut tally = Tally::default();
        // Apart, because where something forbids, Cedar does not tell what permits.
        for policies in [&self.permits, &self.forbids] {
            if !policies.is_empty() {
                tally.add(&Tally::of(&self.authorizer.is_authorized(&request, policies, &entities)), |_| true);
            }
        }
        Ok(Known { entities, tally })
    }
}

/// SHA-256 over all that policies look at of a principal, written as bytes that stand for nothing else: as short for whoever is in
/// thousands of groups as for anybody.
pub(super) type Key = [u8; 32];

/// The key of a principal.
pub(super) fn key(reads: &Reads, principal: &Principal, id: &str) -> Key {
    let Principal { tenant, client, groups, claims, .. } = principal;
    let mut key = Sha256::new();
    let mut add = |text: &[u8]| {
        key.update(text.len().to_le_bytes());
        key.update(text);
    };
    add(id.as_bytes());
    for (name, value) in [("tenant", tenant), ("client", client)] {
        if let Some(value) = value.as_ref().filter(|_| reads.attribute(name)) {
            add(name.as_bytes());
            add(value.as_bytes());
        }
    }
    if !reads.groups().is_empty() {
        groups.iter().for_each(|group| {
            add(b"group");
            add(group.as_bytes());
        });
    }
    for (name, value) in claims.iter().filter(|(name, _)| reads.claim(name)) {
        add(b"claim");
        add(name.as_bytes());
        add(value.to_string().as_bytes());
    }
    key.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn principals_that_policies_can_tell_apart_have_different_keys_however_much_is_known_of_them() {
        let principal = |claims: &[(&str, String)]| Principal {
            issuer: "i".into(),
            subject: "s".into(),
            client: None,
            tenant: None,
            groups: Vec::new(),
            scopes: Vec::new(),
            claims: claims.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect::<BTreeMap<_, _>>(),
        };
        let text = "permit (principal, action, resource) when { principal.hasTag(\"a\") && principal.hasTag(\"b\") };";
        let policy: Policy = text.parse().expect("a policy");
        let reads = Reads::of(&policy, &policy.to_json().expect("it is data")["conditions"]);
        let of = |claims: &[(&str, String)]| key(&reads, &principal(claims), "i|s");
        let long = "x".repeat(10_000);
        assert_ne!(of(&[("a", long.clone())]), of(&[("b", long.clone())]));
        assert_ne!(of(&[("a", long.clone())]), of(&[("a", format!("{long}y"))]));
        assert_eq!(of(&[("a", long.clone())]), of(&[("a", long), ("c", "unread".into())]));
    }
}
