//! Policies that are well typed and yet never match: Cedar does not know which tools, plugins and users there can be.

use std::collections::BTreeSet;

use super::admin::{Parsed, Sources};
use super::directory::Directory;
use super::generate::{CALL_GROUP, LIST_ACTION};
use super::mangle::quoted;
use super::names;
use super::problem::Problem;
use super::shapes::Shapes;

/// The names that policies may use.
pub(super) struct Known<'a> {
    actions: BTreeSet<String>,
    tools: BTreeSet<&'a str>,
    plugins: BTreeSet<&'a str>,
    /// The types of rows, as Cedar has them.
    rows: BTreeSet<String>,
    /// The groups that the entities file names.
    groups: BTreeSet<&'a str>,
}

impl<'a> Known<'a> {
    pub(super) fn of(shapes: &Shapes<'a>, directory: &'a Directory) -> Self {
        let tools: BTreeSet<&str> = shapes.tools.keys().copied().collect();
        let actions = tools.iter().copied().chain([LIST_ACTION, CALL_GROUP]).map(str::to_owned);
        Self {
            actions: actions.chain(shapes.needs.actions.keys().cloned()).collect(),
            plugins: shapes.tools.values().map(|shape| shape.subject.plugin).collect(),
            tools,
            rows: shapes.resources.values().map(|resource| names::row_type(&resource.type_name).to_string()).collect(),
            groups: directory.group_ids().collect(),
        }
    }

    /// Adds the entities that the policy names and that cannot exist; whether there are any.
    pub(super) fn check(&self, parsed: &Parsed, sources: &Sources, problems: &mut Vec<Problem>) -> bool {
        let before = problems.len();
        for entity in parsed.policy.entity_literals() {
            let id: &str = entity.id().unescaped();
            let (kind, near) = match entity.type_name().to_string().as_str() {
                "Tidegate::Action" if !self.actions.contains(id) => ("action", nearest(id, &self.actions)),
                "Tidegate::Tool" if !self.tools.contains(id) => ("tool", nearest(id, &self.tools)),
                "Tidegate::Plugin" if !self.plugins.contains(id) => ("plugin", nearest(id, &self.plugins)),
                "Tidegate::User" if !id.contains('|') => ("user", None),
                // The groups that issuers assert are known only when a token comes.
                "Tidegate::Group" if !id.contains('|') && !self.groups.contains(id) => ("group", nearest(id, &self.groups)),
                row if self.rows.contains(row) => ("row", None),
                _ => continue,
            };
            let help = match (kind, near) {
                (_, Some(near)) => format!("did you mean `{near}`?"),
                ("user", None) => {
                    "users are called `<issuer>|<subject>`; to match any issuer write `principal.subject == ...`".to_owned()
                }
                ("group", None) => {
                    "groups that an issuer asserts are called `<issuer>|<group>`; groups of your own stand in `entities.json`"
                        .to_owned()
                }
                ("row", None) => {
                    "rows have no names; say what is meant with their attributes, such as `resource.status`".to_owned()
                }
                (_, None) => "only what a loaded plugin brings can be named; `tidegate policy generate` prints it".to_owned(),
            };
            let place = sources.place_in(parsed, &quoted(id));
            problems.push(Problem::at(place, format!("for policy `{}`, no {kind} is called `{id}`", parsed.id)).help(help));
        }
        problems.len() > before
    }
}

/// The problem of a policy whose head matches no decision the host ever asks for.
pub(super) fn never_asked(parsed: &Parsed, sources: &Sources) -> Problem {
    Problem::at(sources.place_of(parsed), format!("policy `{}` can never match: no decision has its action and resource", parsed.id))
        .help("calls have the tool's action and the tool as resource, listings have `list_tool`, rows the action of a scope such as `read:invoices`")
}

fn nearest<'a, T: AsRef<str>>(id: &str, known: &'a BTreeSet<T>) -> Option<&'a str> {
    let close = known.iter().map(|name| (strsim::damerau_levenshtein(id, name.as_ref()), name.as_ref())).min()?;
    (close.0 <= 3 && close.0 < id.len()).then_some(close.1)
}
