//! The Cedar schema and the policies that follow from the loaded manifests. Pure and deterministic: same plugins, same text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::input::{Attributes, Input, InputType};
use super::mangle::{identifier, is_plain, quoted};
use super::problem::Problem;
use super::{GeneratedPermits, PolicySubject};
use crate::model::{ResourceManifest, Scope};

/// The group of all actions that call a tool.
pub(super) const CALL_GROUP: &str = "call_tool";
/// The action of seeing a tool in a listing.
pub(super) const LIST_ACTION: &str = "list_tool";
/// What the ids of generated policies begin with; no admin's may.
pub(super) const ID_PREFIX: &str = "tidegate.";
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
/// The types an attribute of a row can have.
const ROW_TYPES: [&str; 3] = ["String", "Long", "Bool"];

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
    resources: BTreeMap<&'a str, &'a ResourceManifest>,
    scopes: BTreeSet<&'a Scope>,
}

impl<'a> Shapes<'a> {
    /// Reads all subjects, and says what policies cannot express.
    pub(super) fn of(subjects: &[PolicySubject<'a>], problems: &mut Vec<Problem>) -> Self {
        let mut shapes = Self { tools: BTreeMap::new(), resources: BTreeMap::new(), scopes: BTreeSet::new() };
        let mut types: BTreeMap<&str, &ResourceManifest> = BTreeMap::new();
        for subject in subjects {
            let (plugin, name) = (subject.plugin, subject.tool.name.as_str());
            if [CALL_GROUP, LIST_ACTION].contains(&name) {
                problems.push(
                    Problem::new(format!("plugin `{plugin}`: the tool name `{name}` is reserved for policies"))
                        .help("rename the tool"),
                );
                continue;
            }
            for resource in subject.resources {
                check_row_type(plugin, resource, problems);
                let declared = *types.entry(&resource.type_name).or_insert(resource);
                let named = *shapes.resources.entry(&resource.name).or_insert(resource);
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
            let scopes: BTreeSet<Scope> = subject.tool.scopes.iter().cloned().collect();
            shapes.scopes.extend(&subject.tool.scopes);
            let shape =
                ToolShape { subject: *subject, input: Input::of(subject.input_schema), scopes: scopes.into_iter().collect() };
            if let Some(other) = shapes.tools.insert(name, shape) {
                let other = other.subject.plugin;
                problems.push(
                    Problem::new(format!("the tool `{name}` is in plugin `{other}` and in plugin `{plugin}`"))
                        .help("rename one of the two: tool names are unique over all plugins"),
                );
            }
        }
        shapes
    }

    /// The actions that stand for scopes.
    pub(super) fn scope_actions(&self) -> impl Iterator<Item = String> {
        self.scopes.iter().map(|scope| scope_action(scope))
    }

    /// The schema, as text.
    pub(super) fn schema(&self) -> String {
        let mut text = String::from(SCHEMA_HEAD);
        if !self.resources.is_empty() {
            text.push_str("\n  // Row types, from the manifests' [[resource]].\n");
        }
        for resource in self.resources.values() {
            let name = identifier(&resource.type_name);
            if name != resource.type_name {
                line(&mut text, 1, &format!("// {} in the manifest.", quoted(&resource.type_name)));
            }
            if resource.attributes.is_empty() {
                line(&mut text, 1, &format!("entity {name};"));
                continue;
            }
            line(&mut text, 1, &format!("entity {name} = {{"));
            for (attribute, kind) in &resource.attributes {
                line(&mut text, 2, &format!("{}: {kind},", attribute_name(attribute)));
            }
            line(&mut text, 1, "};");
        }
        if !self.scopes.is_empty() {
            text.push_str("\n  // One action per scope, on the rows that the scope speaks of.\n");
        }
        for scope in &self.scopes {
            let action = quoted(&scope_action(scope));
            match self.resources.get(scope.resource()) {
                Some(resource) => {
                    line(&mut text, 1, &format!("action {action} appliesTo {{"));
                    line(&mut text, 2, "principal: [User],");
                    line(&mut text, 2, &format!("resource: [{}],", identifier(&resource.type_name)));
                    line(&mut text, 2, "context: { session: Session },");
                    line(&mut text, 1, "};");
                }
                None => {
                    line(&mut text, 1, &format!("// No row type is declared for {}.", quoted(scope.resource())));
                    line(&mut text, 1, &format!("action {action};"));
                }
            }
        }
        text.push_str("\n  // Tools: seeing one in a listing, and calling it.\n");
        text.push_str(TOOL_ACTIONS);
        for (name, shape) in &self.tools {
            text.push('\n');
            shape.write_action(name, &mut text);
        }
        text.push_str("}\n");
        text
    }

    /// The permits that follow from the manifests' scopes, as text.
    pub(super) fn permits(&self, permits: GeneratedPermits) -> String {
        let mut text = String::from(POLICY_HEAD);
        if permits == GeneratedPermits::Off {
            text.push_str("// None: generated permits are switched off, so only hand-written policies permit anything.\n");
            return text;
        }
        for (name, shape) in &self.tools {
            let condition = shape.condition();
            let _ = writeln!(text, "\n// {}", shape.title());
            let _ = write!(
                text,
                "@id({})\npermit (\n  principal,\n  action == Tidegate::Action::\"{LIST_ACTION}\",\n  resource == Tidegate::Tool::{}\n){condition};\n",
                quoted(&format!("{ID_PREFIX}list.{name}")),
                quoted(name),
            );
            let _ = write!(
                text,
                "@id({})\npermit (\n  principal,\n  action == Tidegate::Action::{},\n  resource == Tidegate::Tool::{}\n){condition};\n",
                quoted(&format!("{ID_PREFIX}call.{name}")),
                quoted(name),
                quoted(name),
            );
        }
        text
    }
}

impl ToolShape<'_> {
    fn title(&self) -> String {
        let tool = self.subject.tool;
        let scopes = match &self.scopes[..] {
            [] => "no scope".to_owned(),
            scopes => scopes.iter().map(Scope::to_string).collect::<Vec<_>>().join(" and "),
        };
        let (effect, risk) = (tool.effect.as_str(), tool.risk.as_str());
        // Quoted, because a name must not be able to end the comment it stands in.
        format!("{} of plugin {}: {effect}, {risk} risk, needs {scopes}.", tool.name, quoted(self.subject.plugin))
    }

    fn condition(&self) -> String {
        let held = self.scopes.iter().map(|scope| format!("context.session.scopes.contains({})", quoted(&scope.to_string())));
        match held.collect::<Vec<_>>().join(" &&\n  ") {
            none if none.is_empty() => String::new(),
            one if self.scopes.len() == 1 => format!("\nwhen {{ {one} }}"),
            all => format!("\nwhen {{\n  {all}\n}}"),
        }
    }

    fn write_action(&self, name: &str, text: &mut String) {
        line(text, 1, &format!("// {}", self.title()));
        for (path, reason) in &self.input.invisible {
            line(text, 1, &format!("// Invisible: {} ({reason}).", quoted(path)));
        }
        line(text, 1, &format!("action {} in [{CALL_GROUP}] appliesTo {{", quoted(name)));
        line(text, 2, "principal: [User],");
        line(text, 2, "resource: [Tool],");
        line(text, 2, "context: {");
        line(text, 3, "session: Session,");
        let mut input = String::new();
        write_record(&self.input.attributes, 3, &mut input);
        line(text, 3, &format!("input: {input},"));
        line(text, 2, "},");
        line(text, 1, "};");
    }
}

fn scope_action(scope: &Scope) -> String {
    format!("{}:{}", scope.action(), scope.resource())
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
        if !ROW_TYPES.contains(&kind.as_str()) {
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

fn line(text: &mut String, depth: usize, content: &str) {
    text.extend(std::iter::repeat_n("  ", depth));
    text.push_str(content);
    text.push('\n');
}

fn attribute_name(name: &str) -> String {
    if is_plain(name) { name.to_owned() } else { quoted(name) }
}

fn write_record(attributes: &Attributes, depth: usize, text: &mut String) {
    if attributes.is_empty() {
        text.push_str("{}");
        return;
    }
    text.push_str("{\n");
    for (name, attribute) in attributes {
        text.extend(std::iter::repeat_n("  ", depth + 1));
        text.push_str(&attribute_name(name));
        text.push_str(if attribute.required { ": " } else { "?: " });
        write_type(&attribute.kind, depth + 1, text);
        text.push_str(",\n");
    }
    text.extend(std::iter::repeat_n("  ", depth));
    text.push('}');
}

fn write_type(kind: &InputType, depth: usize, text: &mut String) {
    match kind {
        InputType::Bool => text.push_str("Bool"),
        InputType::Long => text.push_str("Long"),
        InputType::String => text.push_str("String"),
        InputType::Set(element) => {
            text.push_str("Set<");
            write_type(element, depth, text);
            text.push('>');
        }
        InputType::Record(attributes) => write_record(attributes, depth, text),
    }
}

const POLICY_HEAD: &str = "\
// Generated by Tidegate from the manifests of the loaded plugins; never edited.
// Rules of your own go beside them, as *.cedar files in the policy folder.
";

const SCHEMA_HEAD: &str = "\
// Generated by Tidegate from the manifests and schemas of the loaded plugins; never edited.
namespace Tidegate {
  // Whoever calls. The id is <issuer>|<subject>: subjects are unique only under their issuer.
  // Claims are tags, each a set of texts: principal.hasTag(\"groups\") && principal.getTag(\"groups\").contains(\"finance\").
  entity User = {
    issuer: String,
    subject: String,
    tenant?: String,
    client?: String,
  } tags Set<String>;

  entity Plugin;
  entity Effect enum [\"read\", \"write\"];
  entity Risk enum [\"low\", \"medium\", \"high\"];
  entity Tool in [Plugin] = {
    effect: Effect,
    risk: Risk,
  };

  type Session = {
    scopes: Set<String>,
    trace_id: String,
  };
";

const TOOL_ACTIONS: &str = "  action list_tool appliesTo {
    principal: [User],
    resource: [Tool],
    context: { session: Session },
  };
  action call_tool;
";
