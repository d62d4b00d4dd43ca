//! The scopes that tools need, checked against the row types they speak of: what a condition names must exist and fit.

use std::collections::{BTreeMap, BTreeSet};

use super::PolicySubject;
use super::input::{Attributes, Input, InputType};
use super::operand::{Kind, Operand, Operands};
use super::problem::Problem;
use crate::model::document::nearest;
use crate::model::scope::{Condition, Term};
use crate::model::{Principal, ResourceManifest, Scope};

/// What all tools together need, and what follows from it.
#[derive(Default)]
pub(super) struct Needs {
    /// Every scope that a tool needs, and the tools that need it.
    pub(super) scopes: BTreeMap<Scope, BTreeSet<String>>,
    /// Every action on rows, by its name, such as `read:invoices`.
    pub(super) actions: BTreeMap<String, RowAction>,
    /// The claims that scopes speak of, with the types they are compared as.
    pub(super) claims: Operands,
    /// Which scope gave a claim or argument its type, for errors. Arguments stand under their action.
    typed_by: BTreeMap<(String, String), String>,
}

/// An action on rows.
pub(super) struct RowAction {
    /// The resource's name, as scopes have it.
    pub(super) resource: String,
    /// The type of its rows, by the name the manifest gives it. None if no manifest declares the resource.
    pub(super) row_type: Option<RowType>,
    /// The arguments that scopes with this action speak of, by JSON pointer.
    pub(super) arguments: Operands,
}

/// What a row is, as its manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RowType {
    /// The name of the type in manifests.
    pub(super) name: String,
    /// The attributes that every row has.
    pub(super) attributes: BTreeMap<String, Kind>,
}

impl RowType {
    fn of(resource: &ResourceManifest) -> Self {
        let attributes = resource.attributes.iter().filter_map(|(name, kind)| Some((name.clone(), Kind::of(kind)?)));
        Self { name: resource.type_name.clone(), attributes: attributes.collect() }
    }
}

impl Needs {
    /// Adds what one tool needs, and tells what is wrong with it.
    pub(super) fn add(
        &mut self,
        subject: &PolicySubject<'_>,
        input: &Input,
        resources: &BTreeMap<&str, &ResourceManifest>,
        problems: &mut Vec<Problem>,
    ) {
        problems.extend(torn_apart(subject));
        for scope in &subject.tool.scopes {
            self.scopes.entry(scope.clone()).or_default().insert(subject.tool.name.as_str().to_owned());
            let action = self.actions.entry(scope.base()).or_insert_with(|| RowAction {
                resource: scope.resource().to_owned(),
                row_type: resources.get(scope.resource()).map(|resource| RowType::of(resource)),
                arguments: Operands::new(),
            });
            let Some(row_type) = action.row_type.clone() else {
                if !scope.conditions().is_empty() {
                    problems.push(undeclared(subject, scope, resources.keys().copied()));
                }
                continue;
            };
            for condition in scope.conditions() {
                let wrong = match operand(condition, scope, &row_type) {
                    Ok(operand) => self.note(condition, operand, subject, scope, input),
                    Err(problem) => Err(problem),
                };
                if let Err(Wrong { what, help }) = wrong {
                    let (plugin, tool) = (subject.plugin, &subject.tool.name);
                    problems.push(Problem::new(format!("plugin `{plugin}`, tool `{tool}`: `{scope}` {what}")).help(help));
                }
            }
        }
    }

    /// Keeps the type of the claim or argument that a condition names.
    fn note(
        &mut self,
        condition: &Condition,
        operand: Operand,
        subject: &PolicySubject<'_>,
        scope: &Scope,
        input: &Input,
    ) -> Result<(), Wrong> {
        let (of, name, what) = match &condition.term {
            Term::Principal(claim) if !Principal::OWN_CLAIMS.contains(&claim.as_str()) => (String::new(), claim, "claim"),
            Term::Argument(pointer) => {
                check_argument(pointer, operand, input)?;
                (scope.base(), pointer, "argument")
            }
            _ => return Ok(()),
        };
        let operands = match what {
            "claim" => &mut self.claims,
            _ => &mut self.actions.get_mut(&of).expect("the action was entered before its conditions").arguments,
        };
        let user = format!("`{scope}` of tool `{}`", subject.tool.name);
        let known = *operands.entry(name.clone()).or_insert(operand);
        let first = self.typed_by.entry((of, name.clone())).or_insert(user);
        if known == operand {
            return Ok(());
        }
        Err(Wrong {
            what: format!("uses the {what} `{name}` as {operand}, but {first} uses it as {known}"),
            help: format!("compare the {what} with attributes of one type, and always as a list (`:in:`) or never"),
        })
    }
}

/// What is wrong with a condition, and what to do.
struct Wrong {
    what: String,
    help: String,
}

/// Conditions on one action in several scopes. A row passes if the permit of any of them speaks of it, while a list of scopes reads
/// as if all of them did.
fn torn_apart(subject: &PolicySubject<'_>) -> Option<Problem> {
    let scopes = &subject.tool.scopes;
    let alike = |at: usize, scope: &Scope| {
        let is_narrow = |other: &&Scope| !(scope.conditions().is_empty() && other.conditions().is_empty());
        scopes[..at].iter().filter(|other| other.base() == scope.base()).find(is_narrow)
    };
    let (one, other) = scopes.iter().enumerate().find_map(|(at, scope)| Some((alike(at, scope)?, scope)))?;
    let (plugin, tool) = (subject.plugin, &subject.tool.name);
    let what = format!("plugin `{plugin}`, tool `{tool}`: `{one}` and `{other}` are both about `{}`", one.base());
    Some(Problem::new(what).help(format!("join the conditions in one `where`: `{}.where(…,…)`", one.base())))
}

fn undeclared<'a>(subject: &PolicySubject<'_>, scope: &Scope, known: impl Iterator<Item = &'a str> + Clone) -> Problem {
    let (plugin, tool, resource) = (subject.plugin, &subject.tool.name, scope.resource());
    let help = match nearest(resource, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("declare what its rows are: `[[resource]]` with `name = \"{resource}\"`, a `type` and `attributes`"),
    };
    let what = format!("has conditions on the rows of `{resource}`, which no plugin declares");
    Problem::new(format!("plugin `{plugin}`, tool `{tool}`: `{scope}` {what}")).help(help)
}

/// What the attribute is compared with, if the two can be compared.
fn operand(condition: &Condition, scope: &Scope, row_type: &RowType) -> Result<Operand, Wrong> {
    let (attribute, resource) = (&condition.attribute, scope.resource());
    let Some(&kind) = row_type.attributes.get(attribute) else {
        let known = row_type.attributes.keys().map(String::as_str);
        let help = match (nearest(attribute, known.clone()), known.collect::<Vec<_>>()) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, known) if known.is_empty() => format!("`[[resource]]` `{resource}` declares no attributes"),
            (None, known) => format!("the attributes of `{resource}` are `{}`", known.join("`, `")),
        };
        return Err(Wrong { what: format!("speaks of `{attribute}`, which is no attribute of `{resource}`"), help });
    };
    let name = kind.name();
    if condition.comparison.is_order() && kind != Kind::Long {
        return Err(Wrong {
            what: format!("orders `{attribute}`, a {name}"),
            help: "only attributes of type Long have an order; use `=`, `!=` or `:in:`".to_owned(),
        });
    }
    let (term, is) = match &condition.term {
        Term::Integer(number) => (number.to_string(), Some(Kind::Long)),
        Term::Text(_) => (condition.term.to_string(), Some(Kind::String)),
        Term::Principal(claim) if Principal::OWN_CLAIMS.contains(&claim.as_str()) => {
            (condition.term.to_string(), Some(Kind::String))
        }
        Term::Principal(_) | Term::Argument(_) => (String::new(), None),
    };
    match is {
        Some(other) if other != kind => Err(Wrong {
            what: format!("compares `{attribute}`, a {name}, with `{term}`, a {}", other.name()),
            help: match kind {
                Kind::Bool => "compare it with a claim or an argument: scopes have no literal of type Bool".to_owned(),
                Kind::Long => format!("compare it with an integer, such as `{attribute}<=100`"),
                Kind::String => format!("compare it with a text, such as `{attribute}='open'`"),
            },
        }),
        _ => Ok(Operand::of(condition, kind)),
    }
}

/// An argument that the tool does not have would leave every row out, silently.
fn check_argument(pointer: &str, operand: Operand, input: &Input) -> Result<(), Wrong> {
    let name = |segment: &str| segment.replace("~1", "/").replace("~0", "~");
    let segments: Vec<String> = pointer.split('/').skip(1).map(name).collect();
    let kind = match find(&input.attributes, &segments) {
        Found::Kind(kind) => kind,
        Found::Nothing { .. } if input.hides(pointer) => return Ok(()),
        Found::Nothing { segment, near } => {
            return Err(Wrong {
                what: format!("speaks of `$args{pointer}`, but the tool has no argument `{segment}`"),
                help: near.map_or("name an argument of its input schema".to_owned(), |near| format!("did you mean `{near}`?")),
            });
        }
    };
    let is_of = |kind: &InputType| {
        matches!(
            (kind, operand.kind),
            (InputType::Bool, Kind::Bool) | (InputType::Long, Kind::Long) | (InputType::String, Kind::String)
        )
    };
    let fits = match kind {
        InputType::Set(element) => operand.is_list && is_of(element),
        other => is_of(other),
    };
    match fits {
        true => Ok(()),
        false => Err(Wrong {
            what: format!("needs the argument `{pointer}` to be of type {operand}, and the input schema says otherwise"),
            help: "compare an attribute of the argument's own type; lists go with `:in:`".to_owned(),
        }),
    }
}

/// Where a pointer into the arguments leads.
enum Found<'a> {
    Kind(&'a InputType),
    Nothing { segment: String, near: Option<&'a str> },
}

fn find<'a>(attributes: &'a Attributes, segments: &[String]) -> Found<'a> {
    let Some((first, rest)) = segments.split_first() else {
        return Found::Nothing { segment: String::new(), near: None };
    };
    match (attributes.get(first).map(|attribute| &attribute.kind), rest) {
        (Some(kind), []) => Found::Kind(kind),
        (Some(InputType::Record(attributes)), rest) => find(attributes, rest),
        (Some(_), [next, ..]) => Found::Nothing { segment: next.clone(), near: None },
        (None, _) => Found::Nothing { segment: first.clone(), near: nearest(first, attributes.keys().map(String::as_str)) },
    }
}
