//! What admins say about users and groups: attributes, and which groups they are in.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::RestrictedExpression;

/// Users and groups by id, and what is known about them.
#[derive(Default)]
pub(super) struct Directory {
    users: BTreeMap<String, Listed>,
    /// Every group above a group, directly or through others.
    above: BTreeMap<String, BTreeSet<String>>,
}

/// A user as the entities file has it.
struct Listed {
    attributes: Vec<(String, RestrictedExpression)>,
    groups: BTreeSet<String>,
}

impl Directory {
    /// The ids of all groups that are named.
    pub(super) fn group_ids(&self) -> impl Iterator<Item = &str> {
        self.above.keys().map(String::as_str)
    }

    /// The attributes of the user of this id.
    pub(super) fn attributes(&self, user: &str) -> impl Iterator<Item = (String, RestrictedExpression)> {
        self.users.get(user).into_iter().flat_map(|listed| listed.attributes.iter().cloned())
    }

    /// Which of the groups in `asked` the user of this id is in, directly or through others, if its issuer says that it is in those
    /// of `asserted`.
    pub(super) fn groups<'a>(
        &self,
        user: &str,
        asserted: impl Iterator<Item = String>,
        asked: &'a BTreeSet<String>,
    ) -> Vec<&'a str> {
        let listed = self.users.get(user).into_iter().flat_map(|listed| listed.groups.iter().cloned());
        let direct: BTreeSet<String> = asserted.chain(listed).collect();
        let leads_to =
            |group: &String, wanted: &str| group == wanted || self.above.get(group).is_some_and(|above| above.contains(wanted));
        asked.iter().map(String::as_str).filter(|wanted| direct.iter().any(|group| leads_to(group, wanted))).collect()
    }
}
