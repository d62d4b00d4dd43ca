//! What a decision about a call was based on, beside its arguments: enough to decide it again, and no more.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::content::LIST_MAX;
use crate::model::scope::Delta;
use crate::model::{Principal, Scope};

/// The most bytes of scopes, and of everything else the most bytes of each.
const SCOPES_MAX: usize = 1024;
const OTHERS_MAX: usize = 512;

/// The basis of a decision. What is too long is left out, and that it was is said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Basis<'a> {
    /// The claims that the policies in force, or scopes, spoke of.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<Cow<'a, str>, Cow<'a, Value>>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub groups: Cow<'a, [String]>,
    /// What was left out: `claims`, `groups`, `other_claims`, `scopes`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub omitted: BTreeSet<Cow<'a, str>>,
    /// The names of the claims that nothing spoke of; their values are nobody's business.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_claims: Vec<Cow<'a, str>>,
    /// The scopes held, but for those that the record lists as going beyond what was needed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<Cow<'a, Scope>>,
}

impl<'a> Basis<'a> {
    /// The basis of a decision about a call of `principal`, in which `claims` made or could have made a difference, and which is
    /// recorded together with `delta`.
    pub fn of(principal: &'a Principal, claims: &BTreeMap<&'a str, &'a Value>, delta: &Delta) -> Self {
        let mut basis = Self::default();
        // Listed with the record already, unless there are so many that it lists only the first.
        let is_listed = |scope: &Scope| delta.excess.len() <= LIST_MAX && delta.excess.contains(scope);
        let scopes = || principal.scopes.iter().filter(|scope| !is_listed(scope));
        match scopes().map(|scope| scope.to_string().len()).sum::<usize>() {
            ..=SCOPES_MAX => basis.scopes = scopes().map(Cow::Borrowed).collect(),
            _ => basis.omit("scopes"),
        }
        match principal.groups.iter().map(String::len).sum::<usize>() {
            ..=OTHERS_MAX => basis.groups = Cow::Borrowed(&principal.groups),
            _ => basis.omit("groups"),
        }
        let size = |(name, value): (&&str, &&Value)| name.len() + value.to_string().len();
        match claims.iter().map(size).sum::<usize>() {
            ..=OTHERS_MAX => {
                basis.claims = claims.iter().map(|(name, value)| (Cow::Borrowed(*name), Cow::Borrowed(*value))).collect();
            }
            _ => basis.omit("claims"),
        }
        let others = || principal.claims.keys().filter(|name| !claims.contains_key(name.as_str()));
        match others().map(String::len).sum::<usize>() {
            ..=OTHERS_MAX => basis.other_claims = others().map(|name| Cow::Borrowed(name.as_str())).collect(),
            _ => basis.omit("other_claims"),
        }
        basis
    }

    /// The basis without anything: the record would be too long with it.
    pub fn forgotten() -> Self {
        let omitted = ["claims", "groups", "other_claims", "scopes"].map(Cow::Borrowed);
        Self { omitted: omitted.into(), ..Self::default() }
    }

    fn omit(&mut self, what: &'a str) {
        self.omitted.insert(Cow::Borrowed(what));
    }
}
