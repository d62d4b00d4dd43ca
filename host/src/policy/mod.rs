//! Authorization: policies compiled from manifests and from what admins write, and the decisions they make.
//!
//! This module is the only one that knows Cedar. For all tools of all loaded plugins it generates a schema and one permit per
//! tool and decision (see `generate`), adds the admin's policy files, validates the whole strictly (errors and warnings alike
//! refuse it), and keeps for every tool the policies that can apply to it. Deny is the default, and any error denies.
//!
//! | file       | what lives there                                                |
//! |------------|-----------------------------------------------------------------|
//! | `compile`  | the way from texts to policies in force                         |
//! | `generate` | schema and permits as text                                      |
//! | `input`    | which part of a tool's JSON Schema policies can see             |
//! | `mangle`   | names as Cedar identifiers                                      |
//! | `admin`    | policy files: reading and parsing                               |
//! | `nesting`  | texts that would exhaust a parser's stack                       |
//! | `lint`     | well-typed policies that never match                            |
//! | `request`  | principals and arguments as Cedar values                        |
//! | `reads`    | what of a request policies look at                              |
//! | `slice`    | the policies that can apply to one tool                         |
//! | `problem`  | what is wrong, where, and what to do                            |

use std::collections::BTreeMap;

use cedar_policy::{AuthorizationError, Authorizer, EvaluationError};
use serde_json::Value;

use crate::model::scope::Bindings;
use crate::model::{Arguments, Decision, Digest, Principal, ResourceManifest, Scope, ToolManifest, ToolName, Verdict};

mod admin;
mod compile;
mod generate;
mod input;
mod lint;
mod mangle;
mod nesting;
mod problem;
mod reads;
mod request;
mod row_access;
mod slice;

#[cfg(test)]
mod tests;

pub use admin::PolicyFile;
pub use problem::PolicyError;
pub use row_access::RowAccess;

use input::Attributes;
use reads::Reads;
use request::{Caller, Names};
use slice::Slice;

/// One tool that policies are about.
#[derive(Clone, Copy, Debug)]
pub struct PolicySubject<'a> {
    /// The plugin's name.
    pub plugin: &'a str,
    /// The tool.
    pub tool: &'a ToolManifest,
    /// The tool's `inputSchema` as the plugin describes it, without the `idempotency_key` that the host adds.
    pub input_schema: &'a Value,
    /// The row types that the plugin declares.
    pub resources: &'a [ResourceManifest],
}

/// Whether the scopes in the manifests permit anything by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GeneratedPermits {
    /// A tool may be listed and called by whoever holds all scopes that its manifest names.
    #[default]
    On,
    /// Only hand-written policies permit anything; without one, nothing is.
    Off,
}

/// The two decisions about a tool.
#[derive(Clone, Copy, Debug)]
pub enum PolicyAction<'a> {
    /// Whether the tool is shown.
    List,
    /// Whether it may be called with these arguments.
    Call(&'a Arguments),
}

/// A property of a tool's arguments that policies cannot see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invisible {
    /// The tool.
    pub tool: ToolName,
    /// JSON pointer into the arguments; `*` stands for any element or name. Empty: the whole.
    pub path: String,
    /// Why.
    pub reason: &'static str,
}

/// Where a policy in force comes from, for explanations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySource {
    /// The file, or `<generated>`.
    pub file: String,
    /// One-based line of its beginning.
    pub line: usize,
    /// The policy as written, without comments above it.
    pub text: String,
}

/// Proof that a call of one tool was allowed, by which policies, and under which policy set. Only [`Policies::authorize`] makes one.
#[derive(Debug)]
pub struct Grant {
    tool: ToolName,
    verdict: Verdict,
    policy: Digest,
}

impl Grant {
    /// The tool that may be called.
    pub fn tool(&self) -> &ToolName {
        &self.tool
    }

    /// The verdict, always allow.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// The hash of the policy set that decided.
    pub fn policy(&self) -> Digest {
        self.policy
    }
}

/// The policies in force: compiled, validated, immutable.
pub struct Policies {
    tools: BTreeMap<ToolName, ToolPolicies>,
    names: Names,
    authorizer: Authorizer,
    /// What the policies together look at.
    reads: Reads,
    schema: String,
    generated: String,
    invisible: Vec<Invisible>,
    origins: BTreeMap<String, PolicySource>,
    hash: Digest,
}

/// What is needed to decide about one tool.
struct ToolPolicies {
    list: Slice,
    call: Slice,
    input: Attributes,
    scopes: Vec<Scope>,
}

impl Policies {
    /// Compiles the permits that follow from the tools' manifests together with the admin's policies.
    ///
    /// # Errors
    /// Every problem found, each with its place: texts that do not parse, ids that are missing or taken, anything the strict
    /// validator finds (warnings too), policies that name unknown tools or can never match. Nothing takes effect then.
    pub fn compile(subjects: &[PolicySubject<'_>], admin: &[PolicyFile], permits: GeneratedPermits) -> Result<Self, PolicyError> {
        compile::compile(subjects, admin, permits)
    }

    /// What the policies say. Unknown tools are denied, and so is everything that cannot be decided without an error.
    pub fn decide(&self, principal: &Principal, tool: &ToolName, action: PolicyAction<'_>, trace_id: &str) -> Verdict {
        let Some(policies) = self.tools.get(tool) else {
            return failed(format!("no policy knows the tool `{tool}`"));
        };
        let arguments = match action {
            PolicyAction::List => None,
            PolicyAction::Call(arguments) => Some(arguments),
        };
        let bindings = Bindings { principal, arguments };
        let is_covered = |needed: &&Scope| principal.scopes.iter().any(|held| held.covers(needed, &bindings));
        let covered: Vec<Scope> = policies.scopes.iter().filter(is_covered).cloned().collect();
        self.decide_for(&self.caller(principal, &covered, trace_id), policies, action)
    }

    /// The proof that `principal` may call `tool` with `arguments`, which must be valid under the tool's schema.
    ///
    /// # Errors
    /// The verdict, if it is not allow.
    pub fn authorize(
        &self,
        principal: &Principal,
        tool: &ToolName,
        arguments: &Arguments,
        trace_id: &str,
    ) -> Result<Grant, Verdict> {
        let verdict = self.decide(principal, tool, PolicyAction::Call(arguments), trace_id);
        match verdict.decision {
            Decision::Allow => Ok(Grant { tool: tool.clone(), verdict, policy: self.hash }),
            Decision::Deny => Err(verdict),
        }
    }

    /// The tools that are shown to `principal`, by name.
    pub fn listed(&self, principal: &Principal, trace_id: &str) -> Vec<&ToolName> {
        let allowed = |name: &ToolName| self.decide(principal, name, PolicyAction::List, trace_id).decision == Decision::Allow;
        self.tools.keys().filter(|name| allowed(name)).collect()
    }

    /// Whether `tool` must look unknown to `principal`: it would not be listed even with all scopes the tool needs. A tool that
    /// only lacks scopes is not hidden, or no client could learn which scopes to ask for.
    pub fn hides(&self, principal: &Principal, tool: &ToolName, trace_id: &str) -> bool {
        let Some(policies) = self.tools.get(tool) else { return true };
        let caller = self.caller(principal, &policies.scopes, trace_id);
        self.decide_for(&caller, policies, PolicyAction::List).decision == Decision::Deny
    }

    /// SHA-256 over the schema and all policy texts: what was in force, for the audit log.
    pub fn hash(&self) -> Digest {
        self.hash
    }

    /// The generated Cedar schema.
    pub fn schema_text(&self) -> &str {
        &self.schema
    }

    /// The generated permits.
    pub fn generated_text(&self) -> &str {
        &self.generated
    }

    /// The arguments that policies cannot see, by tool and path.
    pub fn invisible(&self) -> &[Invisible] {
        &self.invisible
    }

    /// Where the policy with this id comes from; ids are those that verdicts name.
    pub fn source(&self, id: &str) -> Option<&PolicySource> {
        self.origins.get(id)
    }

    fn caller<'a>(&'a self, principal: &'a Principal, further: &[Scope], trace_id: &str) -> Caller<'a> {
        Caller::new(&self.names, principal, further, trace_id, &self.reads)
    }

    fn decide_for(&self, caller: &Caller<'_>, policies: &ToolPolicies, action: PolicyAction<'_>) -> Verdict {
        let (slice, context) = match action {
            PolicyAction::List => (&policies.list, caller.listing()),
            PolicyAction::Call(arguments) => {
                (&policies.call, caller.calling(&policies.input, arguments, policies.call.reads_input))
            }
        };
        match context.and_then(|context| slice.ask(caller, context)) {
            Ok((request, entities)) => verdict(&self.authorizer.is_authorized(&request, &slice.policies, &entities)),
            Err(error) => failed(error),
        }
    }
}

fn failed(error: String) -> Verdict {
    Verdict { decision: Decision::Deny, policies: Vec::new(), errors: vec![error] }
}

/// Reads Cedar's answer, and denies on any error: Cedar itself skips a policy that fails, a `forbid` included.
fn verdict(response: &cedar_policy::Response) -> Verdict {
    let mut errors: Vec<(String, String)> = response
        .diagnostics()
        .errors()
        .map(|AuthorizationError::PolicyEvaluationError(error)| {
            let id = id_text(error.policy_id());
            let text = format!("policy `{id}` failed: {}", cause(error.inner()));
            (id, text)
        })
        .collect();
    errors.sort();
    let decision = match response.decision() {
        cedar_policy::Decision::Allow if errors.is_empty() => Decision::Allow,
        _ => Decision::Deny,
    };
    // A permit does not determine a denial; the policies that failed do.
    let reasons =
        response.diagnostics().reason().filter(|_| response.decision() == cedar_policy::Decision::Deny || errors.is_empty());
    let mut policies: Vec<String> = reasons.map(id_text).chain(errors.iter().map(|(id, _)| id.clone())).collect();
    policies.sort();
    Verdict { decision, policies, errors: errors.into_iter().map(|(_, text)| text).collect() }
}

/// The id as it was written; Cedar's own display escapes it.
fn id_text(id: &cedar_policy::PolicyId) -> String {
    let text: &str = id.as_ref();
    text.to_owned()
}

/// The kind of an evaluation error. Cedar's own text quotes values, and arguments may be such that must not be stored.
fn cause(error: &EvaluationError) -> &'static str {
    match error {
        EvaluationError::IntegerOverflow(_) => "a number left the range of 64 bits",
        EvaluationError::EntityDoesNotExist(_) => "it asks for an entity that does not exist",
        EvaluationError::EntityAttrDoesNotExist(_) => "it asks for an attribute or tag that is not there",
        EvaluationError::RecordAttrDoesNotExist(_) => "it asks for an argument that is not there",
        EvaluationError::TypeError(_) => "a value has the wrong type",
        EvaluationError::RecursionLimit(_) => "it is nested too deeply",
        _ => "it cannot be evaluated",
    }
}
