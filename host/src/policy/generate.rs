//! The Cedar schema and the policies that follow from the loaded manifests. Pure and deterministic: same plugins, same text.

use std::collections::BTreeSet;
use std::fmt::Write;

use sha2::{Digest as _, Sha256};

use super::GeneratedPermits;
use super::admin::ID_LENGTH;
use super::input::{Attributes, InputType};
use super::mangle::{identifier, quoted};
use super::needs::RowAction;
use super::operand::{self, Operands, attribute_name};
use super::shapes::{Shapes, ToolShape};
use crate::model::Scope;

/// The group of all actions that call a tool.
pub(super) const CALL_GROUP: &str = "call_tool";
/// The action of seeing a tool in a listing.
pub(super) const LIST_ACTION: &str = "list_tool";
/// What the ids of generated policies begin with; no admin's may.
pub(super) const ID_PREFIX: &str = "tidegate.";
impl Shapes<'_> {
    /// The schema, as text; users have these attributes besides the host's own.
    pub(super) fn schema(&self, attributes: &Operands) -> String {
        let mut text = String::from(SCHEMA_HEAD);
        self.write_principals(attributes, &mut text);
        text.push_str(SCHEMA_HOST);
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
        if !self.needs.actions.is_empty() {
            text.push_str("\n  // One action per kind of scope, on single rows; context.tool is the tool that returns them.\n");
        }
        for (name, action) in &self.needs.actions {
            write_row_action(name, action, &mut text);
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

    fn write_principals(&self, attributes: &Operands, text: &mut String) {
        line(text, 1, "entity User in [Group] = {");
        for attribute in ["issuer: String,", "subject: String,", "tenant?: String,", "client?: String,"] {
            line(text, 2, attribute);
        }
        if !self.needs.claims.is_empty() {
            line(text, 2, "// The claims that scopes speak of; one of another type is absent.");
            line(text, 2, "claims: {");
            write_operands(&self.needs.claims, 3, text);
            line(text, 2, "},");
        }
        if !attributes.is_empty() {
            line(text, 2, "// From the entities file.");
            write_operands(attributes, 2, text);
        }
        line(text, 1, "} tags Set<String>;");
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
            for (decision, action) in [("list", LIST_ACTION), ("call", *name)] {
                let _ = write!(
                    text,
                    "@id({})\npermit (\n  principal,\n  action == Tidegate::Action::{},\n  resource == Tidegate::Tool::{}\n){condition};\n",
                    quoted(&format!("{ID_PREFIX}{decision}.{name}")),
                    quoted(action),
                    quoted(name),
                );
            }
        }
        for (scope, tools) in &self.needs.scopes {
            if self.needs.actions[&scope.base()].row_type.is_some() {
                write_row_permit(scope, tools, &mut text);
            }
        }
        text
    }
}

/// The id of the permit for the rows that `scope` speaks of. Ids have at most 128 characters, scopes have more.
pub(super) fn rows_id(scope: &Scope) -> String {
    let plain = format!("{ID_PREFIX}rows.{scope}");
    if plain.len() <= ID_LENGTH {
        return plain;
    }
    let digest = Sha256::digest(scope.to_string());
    digest.iter().take(16).fold(format!("{ID_PREFIX}rows."), |id, byte| format!("{id}{byte:02x}"))
}

fn write_row_action(name: &str, action: &RowAction, text: &mut String) {
    let Some(row_type) = &action.row_type else {
        line(text, 1, &format!("// No row type is declared for {}.", quoted(&action.resource)));
        line(text, 1, &format!("action {};", quoted(name)));
        return;
    };
    line(text, 1, &format!("action {} appliesTo {{", quoted(name)));
    line(text, 2, "principal: [User],");
    line(text, 2, &format!("resource: [{}],", identifier(&row_type.name)));
    if action.arguments.is_empty() {
        line(text, 2, "context: { session: Session, tool: String },");
    } else {
        line(text, 2, "context: {");
        line(text, 3, "session: Session,");
        line(text, 3, "tool: String,");
        line(text, 3, "// The arguments that scopes speak of, by JSON pointer.");
        line(text, 3, "args: {");
        write_operands(&action.arguments, 4, text);
        line(text, 3, "},");
        line(text, 2, "},");
    }
    line(text, 1, "};");
}

fn write_operands(operands: &Operands, depth: usize, text: &mut String) {
    for (name, operand) in operands {
        line(text, depth, &format!("{}?: {operand},", attribute_name(name)));
    }
}

/// The rows that a scope speaks of, out of tools that need it: what another tool may return says nothing about this one.
fn write_row_permit(scope: &Scope, tools: &BTreeSet<String>, text: &mut String) {
    let names: Vec<String> = tools.iter().map(|tool| quoted(tool)).collect();
    let from = match &names[..] {
        [tool] => format!("context.tool == {tool}"),
        tools => format!("[{}].contains(context.tool)", tools.join(", ")),
    };
    let held = format!("context.session.scopes.contains({})", quoted(&scope.to_string()));
    let conditions = [held, from].into_iter().chain(scope.conditions().iter().map(operand::cedar));
    let _ = write!(
        text,
        "\n// Rows that {scope} speaks of.\n@id({})\npermit (\n  principal,\n  action == Tidegate::Action::{},\n  resource\n)\nwhen {{\n  {}\n}};\n",
        quoted(&rows_id(scope)),
        quoted(&scope.base()),
        conditions.collect::<Vec<_>>().join(" &&\n  "),
    );
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

fn line(text: &mut String, depth: usize, content: &str) {
    text.extend(std::iter::repeat_n("  ", depth));
    text.push_str(content);
    text.push('\n');
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
";

const SCHEMA_HOST: &str =
    "  // The host's own groups are called as the entities file calls them, those of an issuer <issuer>|<group>.
  entity Group in [Group];

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
