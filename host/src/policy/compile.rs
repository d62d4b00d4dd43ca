//! From manifests and policy files to policies in force: generate, parse, validate strictly, slice. All or nothing.

use std::collections::{BTreeMap, HashMap, HashSet};

use cedar_policy::{Authorizer, PolicyId, PolicySet, RestrictedExpression, Schema, ValidationMode, ValidationWarning, Validator};
use miette::Diagnostic;
use sha2::{Digest as _, Sha256};

use super::admin::{Parsed, PolicyFile, Sources};
use super::generate::{CALL_GROUP, LIST_ACTION, Shapes, ToolShape};
use super::lint::{Known, never_asked};
use super::problem::{PolicyError, Problem};
use super::reads::Reads;
use super::request::Names;
use super::slice::{Slice, Specialised, Target};
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
    settle(&mut problems)?;

    let schema_text = shapes.schema();
    let schema = parse_schema(&schema_text)?;
    let generated = PolicyFile { path: GENERATED_FILE.into(), text: shapes.permits(permits) };
    let sources = Sources::parse(generated, admin, &mut problems);
    settle(&mut problems)?;

    let known = Known::of(&shapes);
    let misnamed: HashSet<&str> =
        sources.policies.iter().filter(|parsed| known.check(parsed, &sources, &mut problems)).map(|p| p.id.as_str()).collect();
    validate(schema, &sources, &misnamed, &mut problems);
    settle(&mut problems)?;

    let names = Names::new();
    let mut policies = Vec::with_capacity(sources.policies.len());
    for parsed in &sources.policies {
        match Specialised::of(&parsed.policy, &names) {
            Some(specialised) => policies.push((parsed, specialised)),
            None => problems.push(Problem::at(sources.place_of(parsed), format!("policy `{}` is nested too deeply", parsed.id))),
        }
    }
    settle(&mut problems)?;

    let mut asked = HashSet::new();
    let tools: BTreeMap<ToolName, ToolPolicies> = shapes
        .tools
        .values()
        .map(|shape| (shape.subject.tool.name.clone(), ToolPolicies::new(shape, &policies, &names, &mut asked)))
        .collect();
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
        let place = sources.place_of(parsed);
        let source = PolicySource { file: place.file, line: place.line, text: sources.text_of(parsed).to_owned() };
        (parsed.id.clone(), source)
    });
    Ok(Policies {
        hash: hash(std::iter::once(schema_text.as_str()).chain(sources.texts())),
        invisible: invisible.collect(),
        origins: origins.collect(),
        generated: sources.texts().next().unwrap_or_default().to_owned(),
        schema: schema_text,
        authorizer: Authorizer::new(),
        reads: policies.iter().fold(Reads::default(), |reads, (_, specialised)| reads.and(&specialised.reads)),
        tools,
        names,
    })
}

/// Ends the compilation if there are problems.
fn settle(problems: &mut Vec<Problem>) -> Result<(), PolicyError> {
    PolicyError::of(std::mem::take(problems)).map_or(Ok(()), Err)
}

/// Nothing that a plugin declares should make the generated schema invalid; if it does, its plugins stay out.
fn parse_schema(text: &str) -> Result<Schema, Problem> {
    let place = |diagnostic: &dyn Diagnostic| {
        let label = diagnostic.labels().and_then(|mut labels| labels.next());
        let (offset, length) = label.map_or((0, 0), |label| (label.offset(), label.len()));
        super::problem::Place::new("<generated schema>", text, offset, length)
    };
    let (schema, mut warnings) = Schema::from_cedarschema_str(text)
        .map_err(|error| Problem::at(place(&error), format!("the manifests give no valid schema: {error}")))?;
    match warnings.next() {
        None => Ok(schema),
        Some(warning) => Err(Problem::at(place(&warning), format!("the manifests give no clear schema: {warning}"))),
    }
}

/// Adds what the strict validator finds, without what merely follows from something already told.
fn validate(schema: Schema, sources: &Sources, misnamed: &HashSet<&str>, problems: &mut Vec<Problem>) {
    let set = PolicySet::from_policies(sources.policies.iter().map(|parsed| parsed.policy.clone()))
        .expect("ids are unique, and no policy is a template's");
    let result = Validator::new(schema).validate_with_level(&set, ValidationMode::Strict, DEREFERENCES);
    let mut told: HashSet<&str> = misnamed.clone();
    let mut add = |id: &PolicyId, diagnostic: &dyn Diagnostic| {
        let parsed = sources.find(id.as_ref()).expect("the validator names policies it was given");
        let place = sources.place(parsed.file, diagnostic, (parsed.start, parsed.length));
        let problem = Problem::at(place, diagnostic.to_string());
        problems.push(match diagnostic.help() {
            Some(help) => problem.help(help.to_string()),
            None => problem,
        });
    };
    let errors: Vec<_> = result.validation_errors().filter(|error| !misnamed.contains(text(error.policy_id()))).collect();
    errors.iter().for_each(|error| add(error.policy_id(), *error));
    told.extend(errors.iter().map(|error| text(error.policy_id())));
    // A rule that can never match is a bug, and so is one whose characters look like others.
    let (impossible, other): (Vec<_>, Vec<_>) = result
        .validation_warnings()
        .filter(|warning| !told.contains(text(warning.policy_id())))
        .partition(|warning| matches!(warning, ValidationWarning::ImpossiblePolicy(_)));
    other.iter().for_each(|warning| add(warning.policy_id(), *warning));
    told.extend(other.iter().map(|warning| text(warning.policy_id())));
    let impossible = impossible.iter().filter(|warning| !told.contains(text(warning.policy_id())));
    impossible.for_each(|warning| add(warning.policy_id(), *warning));
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

impl ToolPolicies {
    /// The slices of one tool; ids of policies that are in one are added to `asked`.
    fn new<'a>(
        shape: &ToolShape<'_>,
        policies: &[(&'a Parsed, Specialised)],
        names: &Names,
        asked: &mut HashSet<&'a str>,
    ) -> Self {
        let tool = shape.subject.tool;
        let mut slice = |action: &str, group: Option<&str>| {
            let target = Target {
                action: names.action(action),
                group: group.map(|group| names.action(group)),
                tool: names.tool(tool.name.as_str()),
                plugin: names.plugin(shape.subject.plugin),
                attributes: HashMap::from([
                    ("effect".to_owned(), RestrictedExpression::new_entity_uid(names.effect(tool.effect.as_str()))),
                    ("risk".to_owned(), RestrictedExpression::new_entity_uid(names.risk(tool.risk.as_str()))),
                ]),
            };
            let in_scope: Vec<_> = policies.iter().filter(|(parsed, _)| target.is_in_scope_of(&parsed.policy, names)).collect();
            asked.extend(in_scope.iter().map(|(parsed, _)| parsed.id.as_str()));
            Slice::new(target, in_scope.iter().map(|(_, specialised)| specialised))
        };
        Self {
            list: slice(LIST_ACTION, None),
            call: slice(tool.name.as_str(), Some(CALL_GROUP)),
            input: shape.input.attributes.clone(),
            scopes: shape.scopes.clone(),
        }
    }
}
