//! From manifests and policy files to policies in force: generate, parse, validate strictly, slice. All or nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::{Authorizer, PolicyId, PolicySet, RestrictedExpression, Schema, ValidationMode, ValidationWarning, Validator};
use miette::Diagnostic;
use sha2::{Digest as _, Sha256};

use super::admin::{Parsed, Sources};
use super::caller::Vocabulary;
use super::entities;
use super::folder::PolicyFile;
use super::generate::{CALL_GROUP, LIST_ACTION};
use super::lint::{Known, never_asked};
use super::literals;
use super::names::{Names, row_type};
use super::needs::RowAction;
use super::problem::{PolicyError, Problem};
use super::reads::Reads;
use super::rows::RowPolicies;
use super::shapes::{Shapes, ToolShape};
use super::slice::{Resource, Slice, Specialised, Target};
use super::standing::Standing;
use super::{GeneratedPermits, Invisible, Policies, PolicySource, PolicySubject, ToolPolicies};
use crate::model::{Digest, ToolName};

/// What the hash begins with, so that it is a digest of nothing else.
const HASH_DOMAIN: &str = "tidegate/policy/1";
/// How far policies may look from principal, action and resource: at their attributes, not into entities these name.
const DEREFERENCES: u32 = 1;
/// The file name that problems in generated permits are shown under.
const GENERATED_FILE: &str = "<generated>";

/// The stack for compiling, in bytes; several times what the deepest text that `nesting` lets through needs.
const STACK: usize = 16 << 20;

/// Compiles on a thread of its own: how much stack the caller's has left is not known.
pub(super) fn compile(
    subjects: &[PolicySubject<'_>],
    admin: &[PolicyFile],
    permits: GeneratedPermits,
) -> Result<Policies, PolicyError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("policies".to_owned()).stack_size(STACK);
        match thread.spawn_scoped(scope, || compile_here(subjects, admin, permits)) {
            Ok(handle) => handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(error) => Err(Problem::new(format!("no thread to compile the policies on: {error}")).into()),
        }
    })
}

fn compile_here(
    subjects: &[PolicySubject<'_>],
    admin: &[PolicyFile],
    permits: GeneratedPermits,
) -> Result<Policies, PolicyError> {
    let mut problems = Vec::new();
    let shapes = Shapes::of(subjects, &mut problems);
    let directory = entities::read(admin, &mut problems);
    settle(&mut problems)?;

    let schema_text = shapes.schema(&directory.attribute_types());
    let schema = parse_schema(&schema_text)?;
    let generated = PolicyFile { path: GENERATED_FILE.into(), text: shapes.permits(permits) };
    let sources = Sources::parse(generated, admin, &mut problems);
    settle(&mut problems)?;

    let known = Known::of(&shapes, &directory);
    let misnamed: HashSet<&str> =
        sources.policies.iter().filter(|parsed| known.check(parsed, &sources, &mut problems)).map(|p| p.id.as_str()).collect();
    validate(schema.clone(), &sources, &misnamed, &mut problems);
    sources.policies.iter().for_each(|parsed| literals::check(parsed, &shapes, &sources, &mut problems));
    settle(&mut problems)?;

    let names = Names::new();
    let mut policies = Vec::with_capacity(sources.policies.len());
    for parsed in &sources.policies {
        match Specialised::of(&parsed.policy, parsed.is_shadow, &names) {
            Some(specialised) => policies.push((parsed, specialised)),
            None => problems.push(Problem::at(sources.place_of(parsed), format!("policy `{}` is nested too deeply", parsed.id))),
        }
    }
    settle(&mut problems)?;

    let mut slicer = Slicer { policies: &policies, names: &names, asked: HashSet::new() };
    let tools: BTreeMap<ToolName, ToolPolicies> =
        shapes.tools.values().map(|shape| (shape.subject.tool.name.clone(), slicer.tool(shape))).collect();
    let rows: BTreeMap<String, RowPolicies> =
        shapes.needs.actions.iter().filter_map(|(name, action)| Some((name.clone(), slicer.rows(name, action)?))).collect();
    let asked = slicer.asked;
    let unasked = sources.policies.iter().filter(|parsed| !tools.is_empty() && !asked.contains(parsed.id.as_str()));
    problems.extend(unasked.map(|parsed| never_asked(parsed, &sources)));
    settle(&mut problems)?;

    let invisible = shapes.tools.values().flat_map(|shape| {
        shape.input.invisible.iter().map(|(path, reason)| Invisible {
            tool: shape.subject.tool.name.clone(),
            path: path.clone(),
            reason,
        })
    });
    let origins = sources.policies.iter().map(|parsed| {
        let (file, line, text) = (sources.file_of(parsed), parsed.line, sources.text_of(parsed).to_owned());
        let description = parsed.policy.annotation("description").map(str::to_owned);
        (parsed.id.clone(), PolicySource { file, line, text, description, shadow: parsed.is_shadow })
    });
    let entities_text = admin.iter().filter(|file| file.is_entities()).flat_map(|file| ["entities", file.text.as_str()]);
    Ok(Policies {
        hash: hash(std::iter::once(schema_text.as_str()).chain(sources.texts()).chain(entities_text)),
        invisible: invisible.collect(),
        origins: origins.collect(),
        generated: sources.texts().next().unwrap_or_default().to_owned(),
        schema: schema_text,
        authorizer: Authorizer::new(),
        vocabulary: Vocabulary {
            names,
            reads: policies.iter().fold(Reads::default(), |reads, (_, specialised)| reads.and(&specialised.reads)),
            claims: shapes.needs.claims,
            directory,
            standing: Standing::new(
                policies.iter().filter(|(_, policy)| policy.is_standing()).map(|(_, policy)| policy.policy()),
            ),
            schema: Arc::new(schema),
        },
        tools,
        rows,
    })
}

/// Ends the compilation if there are problems.
fn settle(problems: &mut Vec<Problem>) -> Result<(), PolicyError> {
    PolicyError::of(std::mem::take(problems)).map_or(Ok(()), Err)
}

/// The schema that policies are checked against. Nothing that a plugin declares should make it invalid.
fn parse_schema(text: &str) -> Result<Schema, PolicyError> {
    let found = |diagnostic: &dyn Diagnostic| Problem::found("<generated schema>", text, diagnostic, (0, 0));
    let (schema, mut warnings) = Schema::from_cedarschema_str(text).map_err(|error| found(&error))?;
    match warnings.next() {
        None => Ok(schema),
        Some(warning) => Err(found(&warning).into()),
    }
}

/// Adds what the strict validator finds. Of each policy only the gravest kind is told: the rest follows from it. A rule that can
/// never match is a bug, and so is one whose characters look like others; so warnings refuse a policy as errors do.
fn validate(schema: Schema, sources: &Sources, misnamed: &HashSet<&str>, problems: &mut Vec<Problem>) {
    let set = PolicySet::from_policies(sources.policies.iter().map(|parsed| parsed.policy.clone()))
        .expect("ids are unique, and no policy is a template's");
    let result = Validator::new(schema).validate_with_level(&set, ValidationMode::Strict, DEREFERENCES);
    let errors = result.validation_errors().map(|error| (text(error.policy_id()), 1, error as &dyn Diagnostic));
    let warnings = result.validation_warnings().map(|warning| {
        let rank = if matches!(warning, ValidationWarning::ImpossiblePolicy(_)) { 3 } else { 2 };
        (text(warning.policy_id()), rank, warning as &dyn Diagnostic)
    });
    let found: Vec<_> = errors.chain(warnings).collect();
    let mut gravest: HashMap<&str, u8> = misnamed.iter().map(|id| (*id, 0)).collect();
    for (id, rank, _) in &found {
        let known = gravest.entry(id).or_insert(*rank);
        *known = (*known).min(*rank);
    }
    for (id, _, diagnostic) in found.into_iter().filter(|(id, rank, _)| gravest[id] == *rank) {
        let parsed = sources.find(id).expect("the validator names policies it was given");
        problems.push(sources.found(parsed.file, diagnostic, (parsed.start, parsed.length)));
    }
}

fn text(id: &PolicyId) -> &str {
    id.as_ref()
}

/// SHA-256 over the texts, each preceded by its length.
fn hash<'a>(texts: impl Iterator<Item = &'a str>) -> Digest {
    let mut hasher = Sha256::new();
    for text in std::iter::once(HASH_DOMAIN).chain(texts) {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text);
    }
    Digest(hasher.finalize().into())
}

/// Cuts the slices of all targets out of all policies.
struct Slicer<'a> {
    policies: &'a [(&'a Parsed, Specialised)],
    names: &'a Names,
    /// The ids of policies that are in a slice.
    asked: HashSet<&'a str>,
}

impl Slicer<'_> {
    fn slice(&mut self, target: Target) -> Slice {
        let in_scope = |(parsed, _): &&(&Parsed, Specialised)| target.is_in_scope_of(&parsed.policy, self.names);
        let in_scope: Vec<_> = self.policies.iter().filter(in_scope).collect();
        self.asked.extend(in_scope.iter().map(|(parsed, _)| parsed.id.as_str()));
        Slice::new(target, in_scope.iter().map(|(_, specialised)| specialised))
    }

    fn tool(&mut self, shape: &ToolShape<'_>) -> ToolPolicies {
        let (tool, names) = (shape.subject.tool, self.names);
        let mut slice = |action: &str, group: Option<&str>| {
            let attributes = HashMap::from([
                ("effect".to_owned(), RestrictedExpression::new_entity_uid(names.effect(tool.effect.as_str()))),
                ("risk".to_owned(), RestrictedExpression::new_entity_uid(names.risk(tool.risk.as_str()))),
            ]);
            let (uid, plugin) = (names.tool(tool.name.as_str()), names.plugin(shape.subject.plugin));
            self.slice(Target {
                action: names.action(action),
                group: group.map(|group| names.action(group)),
                resource: Resource::Tool { tool: uid, plugin, attributes },
            })
        };
        let call = slice(tool.name.as_str(), Some(CALL_GROUP));
        let input = &shape.input.attributes;
        let read = input.iter().filter(|(name, _)| call.reads.context(&["input", name.as_str()]));
        ToolPolicies {
            list: slice(LIST_ACTION, None),
            read: read.map(|(name, attribute)| (name.clone(), attribute.clone())).collect(),
            input: input.clone(),
            call,
            scopes: shape.scopes.clone(),
        }
    }

    /// None for an action on rows that have no type: nobody can ask about them.
    fn rows(&mut self, name: &str, action: &RowAction) -> Option<RowPolicies> {
        let known = action.row_type.as_ref()?;
        let row_type = row_type(&known.name);
        let target = Target { action: self.names.action(name), group: None, resource: Resource::Row(row_type.clone()) };
        Some(RowPolicies {
            slice: self.slice(target),
            resource: action.resource.clone(),
            row_type,
            attributes: known.attributes.clone(),
            arguments: action.arguments.clone(),
        })
    }
}
