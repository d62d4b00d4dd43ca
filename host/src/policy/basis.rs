//! What decisions are based on: which claims and which arguments can make a difference. For records, and for deciding again.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Policies;
use crate::model::scope::Term;
use crate::model::{Principal, Scope, ToolName};

impl Policies {
    /// The claims of `principal` that decisions about `tool` may depend on: those that policies look at, and those that scopes,
    /// needed or held, speak of. It may name too many, never too few.
    pub fn claims_read<'a>(&self, principal: &'a Principal, tool: &ToolName) -> BTreeMap<&'a str, &'a Value> {
        let needed = self.tools.get(tool).map_or(&[][..], |tool| &tool.scopes[..]);
        let spoken_of = |claim: &str| {
            let is_claim = |term: &Term| matches!(term, Term::Principal(name) if name == claim);
            terms(needed).chain(terms(&principal.scopes)).any(is_claim)
        };
        let read = principal.claims.iter().filter(|(name, _)| self.vocabulary.reads.claim(name) || spoken_of(name));
        read.map(|(name, value)| (name.as_str(), value)).collect()
    }

    /// Whether decisions about calls of `tool`, or about the rows that it returns, may depend on the argument that a JSON pointer
    /// (RFC 6901) leads to, for a caller that holds these scopes. It may say yes too often, never too seldom. If it says yes, a
    /// call whose argument was not kept cannot be decided again.
    pub fn looks_at(&self, tool: &ToolName, held: &[Scope], pointer: &str) -> bool {
        let Some(policies) = self.tools.get(tool) else { return false };
        let segments: Vec<String> = segments(pointer);
        let way: Vec<&str> = std::iter::once("input").chain(segments.iter().map(String::as_str)).collect();
        let is_near = |other: &str| self::segments(other).iter().zip(&segments).all(|(one, other)| one == other);
        let is_spoken_of = |term: &Term| matches!(term, Term::Argument(other) if is_near(other));
        policies.call.reads.context(&way) || terms(&policies.scopes).chain(terms(held)).any(is_spoken_of)
    }
}

fn terms(scopes: &[Scope]) -> impl Iterator<Item = &Term> {
    scopes.iter().flat_map(Scope::conditions).map(|condition| &condition.term)
}

fn segments(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|segment| segment.replace("~1", "/").replace("~0", "~")).collect()
}
