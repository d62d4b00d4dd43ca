//! All that the loaded manifests say about tools, row types and scopes, read once and checked.

use std::collections::BTreeMap;

use super::PolicySubject;
use super::generate::{CALL_GROUP, LIST_ACTION};
use super::input::Input;
use super::mangle::identifier;
use super::needs::Needs;
use super::operand::Kind;
use super::problem::Problem;
use crate::model::{ResourceManifest, Scope};

/// Type names that are, or may become, the host's own.
const HOST_TYPES: [&str; 22] = [
    "Action",
    "Backend",
    "Boolean",
    "Client",
    "Effect",
    "Entity",
    "Extension",
    "Group",
    "Issuer",
    "Plugin",
    "Principal",
    "Record",
    "Resource",
    "Risk",
    "Role",
    "Scope",
    "Session",
    "Tenant",
    "Tidegate",
    "Tool",
    "User",
    "ipaddr",
];

/// One tool with what policies see of its arguments.
pub(super) struct ToolShape<'a> {
    pub(super) subject: PolicySubject<'a>,
    pub(super) input: Input,
    /// The scopes it needs, sorted, each once.
    pub(super) scopes: Vec<Scope>,
}

/// Everything that goes into the texts, sorted by name.
pub(super) struct Shapes<'a> {
    pub(super) tools: BTreeMap<&'a str, ToolShape<'a>>,
    /// Row types by the resource name that scopes use.
    pub(super) resources: BTreeMap<&'a str, &'a ResourceManifest>,
    pub(super) needs: Needs,
}

impl<'a> Shapes<'a> {
    /// Reads all subjects, and says what policies cannot express.
    pub(super) fn of(subjects: &[PolicySubject<'a>], problems: &mut Vec<Problem>) -> Self {
        let mut shapes = Self { tools: BTreeMap::new(), resources: BTreeMap::new(), needs: Needs::default() };
        let mut types: BTreeMap<&str, &ResourceManifest> = BTreeMap::new();
        for subject in subjects {
            for resource in subject.resources {
                shapes.add_resource(subject.plugin, resource, &mut types, problems);
            }
        }
        for subject in subjects {
            shapes.add_tool(subject, problems);
        }
        shapes
    }

    fn add_resource(
        &mut self,
        plugin: &str,
        resource: &'a ResourceManifest,
        types: &mut BTreeMap<&'a str, &'a ResourceManifest>,
        problems: &mut Vec<Problem>,
    ) {
        check_row_type(plugin, resource, problems);
        let declared = *types.entry(&resource.type_name).or_insert(resource);
        let named = *self.resources.entry(&resource.name).or_insert(resource);
        if !same(declared, resource) || !same(named, resource) {
            problems.push(
                Problem::new(format!(
                    "plugin `{plugin}`: resource `{}` (type `{}`) is declared differently elsewhere",
                    resource.name, resource.type_name
                ))
                .help("give the resource and its type names of their own, or declare both alike"),
            );
        }
    }

    fn add_tool(&mut self, subject: &PolicySubject<'a>, problems: &mut Vec<Problem>) {
        let (plugin, name) = (subject.plugin, subject.tool.name.as_str());
        if [CALL_GROUP, LIST_ACTION].contains(&name) {
            problems.push(
                Problem::new(format!("plugin `{plugin}`: the tool name `{name}` is reserved for policies"))
                    .help("rename the tool"),
            );
            return;
        }
        let mut scopes = subject.tool.scopes.clone();
        scopes.sort();
        scopes.dedup();
        let shape = ToolShape { subject: *subject, input: Input::of(subject.input_schema), scopes };
        self.needs.add(subject, &shape.input, &self.resources, problems);
        if let Some(rows) = subject.tool.rows_at() {
            self.check_rows(plugin, &shape, &rows.resource, problems);
        }
        if let Some(other) = self.tools.insert(name, shape) {
            let other = other.subject.plugin;
            problems.push(
                Problem::new(format!("the tool `{name}` is in plugin `{other}` and in plugin `{plugin}`"))
                    .help("rename one of the two: tool names are unique over all plugins"),
            );
        }
    }

    /// Rows that no scope speaks of would never be handed out.
    fn check_rows(&self, plugin: &str, shape: &ToolShape<'_>, resource: &str, problems: &mut Vec<Problem>) {
        let tool = &shape.subject.tool.name;
        let problem = match self.resources.contains_key(resource) {
            false => Problem::new(format!("plugin `{plugin}`, tool `{tool}`: no plugin declares its rows, `{resource}`"))
                .help(format!("declare what a row is: `[[resource]]` with `name = \"{resource}\"`, a `type` and `attributes`")),
            true if shape.scopes.iter().all(|scope| scope.resource() != resource) => Problem::new(format!(
                "plugin `{plugin}`, tool `{tool}`: it returns rows of `{resource}` and needs no scope for them"
            ))
            .help(format!("add the scope that lets a caller see them, such as `read:{resource}`")),
            true => return,
        };
        problems.push(problem);
    }
}

fn check_row_type(plugin: &str, resource: &ResourceManifest, problems: &mut Vec<Problem>) {
    let name = &resource.type_name;
    if name.is_empty() || HOST_TYPES.contains(&identifier(name).as_str()) {
        let help = "choose a name for the kind of thing a row is, such as `Invoice`";
        problems.push(
            Problem::new(format!("plugin `{plugin}`: resource `{}` cannot have the type `{name}`", resource.name)).help(help),
        );
    }
    for (attribute, kind) in &resource.attributes {
        if Kind::of(kind).is_none() {
            problems.push(
                Problem::new(format!(
                    "plugin `{plugin}`: attribute `{attribute}` of resource `{}` has the unknown type `{kind}`",
                    resource.name
                ))
                .help("attributes are `String`, `Long` or `Bool`"),
            );
        }
    }
}

fn same(one: &ResourceManifest, other: &ResourceManifest) -> bool {
    one.name == other.name && one.type_name == other.type_name && one.attributes == other.attributes
}
