//! Policies that are well typed and yet never match: Cedar cannot know which tools and plugins there are, we do.

use std::collections::BTreeSet;

use super::admin::{Parsed, Sources};
use super::mangle::quoted;
use super::problem::Problem;

/// The tools and plugins that policies may name.
pub(super) struct Known<'a> {
    pub(super) tools: BTreeSet<&'a str>,
    pub(super) plugins: BTreeSet<&'a str>,
}

impl Known<'_> {
    /// Entities that the policy names and that cannot exist.
    pub(super) fn check(&self, parsed: &Parsed, sources: &Sources, problems: &mut Vec<Problem>) {
        for entity in parsed.policy.entity_literals() {
            let id: &str = entity.id().unescaped();
            let place = || sources.place_in(parsed, &quoted(id));
            let missing = |what: &str, known: &BTreeSet<&str>| {
                let problem = Problem::at(place(), format!("for policy `{}`, no {what} is called `{id}`", parsed.id));
                match nearest(id, known) {
                    Some(near) => problem.help(format!("did you mean `{near}`?")),
                    None => problem.help(format!("a policy may only name a {what} that is loaded")),
                }
            };
            match entity.type_name().to_string().as_str() {
                "Tidegate::Tool" if !self.tools.contains(id) => problems.push(missing("tool", &self.tools)),
                "Tidegate::Plugin" if !self.plugins.contains(id) => problems.push(missing("plugin", &self.plugins)),
                "Tidegate::User" if !id.contains('|') => problems.push(
                    Problem::at(place(), format!("for policy `{}`, no user is called `{id}`", parsed.id))
                        .help("users are called `<issuer>|<subject>`; to match any issuer write `principal.subject == ...`"),
                ),
                _ => {}
            }
        }
    }
}

/// The problem of a policy whose head matches no decision the host ever asks for.
pub(super) fn never_asked(parsed: &Parsed, sources: &Sources) -> Problem {
    Problem::at(sources.place_of(parsed), format!("policy `{}` can never match: no decision has its action and resource", parsed.id))
        .help("calls have the tool's action and the tool as resource, listings have `list_tool`; single rows are not decided by policies")
}

fn nearest<'a>(id: &str, known: &BTreeSet<&'a str>) -> Option<&'a str> {
    let close = known.iter().map(|name| (strsim::damerau_levenshtein(id, name), *name)).min()?;
    (close.0 <= 3 && close.0 < id.len()).then_some(close.1)
}
