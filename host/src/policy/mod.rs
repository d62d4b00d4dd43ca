//! Authorization: policies compiled from manifests and from what admins write, and the decisions they make.
//!
//! This module is the only one that knows Cedar. For all tools of all loaded plugins it generates a schema and one permit per
//! tool and decision (see `generate`), adds the admin's policy files, validates the whole strictly (errors and warnings alike
//! refuse it), and keeps for every tool the policies that can apply to it. Deny is the default, and any error denies.
//!
//! | file        | what lives there                                               |
//! |-------------|----------------------------------------------------------------|
//! | `compile`   | the way from texts to policies in force                        |
//! | `shapes`    | what the manifests say, read once and checked                  |
//! | `needs`     | the scopes that tools need, checked against row types          |
//! | `operand`   | what row attributes are compared with                          |
//! | `generate`  | schema and permits as text                                     |
//! | `input`     | which part of a tool's JSON Schema policies can see            |
//! | `mangle`    | names as Cedar identifiers                                     |
//! | `names`     | types and ids of entities                                      |
//! | `folder`    | which files of the policy folder count, and reading them       |
//! | `admin`     | policy files: parsing                                          |
//! | `entities`  | the entities file                                              |
//! | `directory` | what admins say about users and groups                         |
//! | `nesting`   | texts that would exhaust a parser's stack                      |
//! | `lint`      | well-typed policies that never match                           |
//! | `literals`  | texts in policies that nothing ever equals                     |
//! | `tree`      | policies taken apart                                           |
//! | `reads`     | what of a request policies look at                             |
//! | `caller`    | a principal as Cedar sees it, and the context of its requests  |
//! | `arguments` | a call's arguments as Cedar values                             |
//! | `slice`     | the policies that can apply to one action                      |
//! | `standing`  | what depends on the principal alone                            |
//! | `decision`  | from Cedar's answers to verdicts                               |
//! | `rows`      | decisions about single rows                                    |
//! | `filter`    | conditions on rows, for guests and for people                  |
//! | `hint`      | which rows could pass at all                                   |
//! | `explain`   | why a call is allowed or denied                                |
//! | `basis`     | what decisions are based on                                    |
//! | `problem`   | what is wrong, where, and what to do                           |

use std::collections::BTreeMap;
use std::sync::Arc;

use cedar_policy::{Authorizer, Entities, Request};
use serde_json::Value;

use crate::model::{Arguments, Decision, Digest, Principal, ResourceManifest, Scope, ToolManifest, ToolName, Verdict};

mod admin;
mod arguments;
mod basis;
mod caller;
mod compile;
mod decision;
mod directory;
mod entities;
mod explain;
mod filter;
mod folder;
mod generate;
mod hint;
mod input;
mod lint;
mod literals;
mod mangle;
mod names;
mod needs;
mod nesting;
mod operand;
mod problem;
mod reads;
mod rows;
mod shapes;
mod slice;
mod standing;
mod tree;

#[cfg(test)]
mod tests;

pub use explain::{ExplainedPolicy, Explanation, PolicyOutcome};
pub use folder::{ENTRIES, PolicyFile};
pub use problem::PolicyError;
pub use rows::RowAccess;

use caller::{Caller, Holding, Vocabulary};
use decision::failed;
use input::Attributes;
use rows::RowPolicies;
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
    /// Its `@description`.
    pub description: Option<String>,
    /// It only watches: `@mode("shadow")`.
    pub shadow: bool,
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
    /// By action, such as `read:invoices`; those whose rows have a type.
    rows: BTreeMap<String, RowPolicies>,
    vocabulary: Vocabulary,
    authorizer: Authorizer,
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
    /// What policies can see of the arguments.
    input: Attributes,
    /// What of that they look at.
    read: Attributes,
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
        self.decide_for(&self.caller(principal, trace_id), policies, action, false)
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
        let caller = self.caller(principal, trace_id);
        let allowed =
            |policies: &ToolPolicies| self.decide_for(&caller, policies, PolicyAction::List, false).decision == Decision::Allow;
        self.tools.iter().filter(|(_, policies)| allowed(policies)).map(|(name, _)| name).collect()
    }

    /// Whether `tool` is shown to `principal`: what [`Policies::listed`] says of it alone.
    pub fn lists(&self, principal: &Principal, tool: &ToolName, trace_id: &str) -> bool {
        self.tools.get(tool).is_some_and(|policies| {
            self.decide_for(&self.caller(principal, trace_id), policies, PolicyAction::List, false).decision == Decision::Allow
        })
    }

    /// Whether `tool` must look unknown to `principal`: it would not be listed even with all scopes the tool needs. A tool that
    /// only lacks scopes is not hidden, or no client could learn which scopes to ask for.
    pub fn hides(&self, principal: &Principal, tool: &ToolName, trace_id: &str) -> bool {
        self.showing(principal, tool, trace_id).decision == Decision::Deny
    }

    /// What the policies say about showing `tool` to `principal` as if it held all scopes that the tool needs: why a tool is hidden.
    pub fn showing(&self, principal: &Principal, tool: &ToolName, trace_id: &str) -> Verdict {
        let Some(policies) = self.tools.get(tool) else {
            return failed(format!("no policy knows the tool `{tool}`"));
        };
        self.decide_for(&self.caller(principal, trace_id), policies, PolicyAction::List, true)
    }

    /// Which rows `principal` may see of what a call of `tool` with `arguments` returns, now or delivered again.
    pub fn row_access(
        self: &Arc<Self>,
        principal: &Principal,
        tool: &ToolName,
        arguments: &Arguments,
        trace_id: &str,
    ) -> RowAccess {
        RowAccess::new(self, principal, tool, arguments, trace_id)
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

    /// The resources whose rows have a type.
    pub fn resources(&self) -> impl Iterator<Item = &str> {
        self.rows.values().map(|rows| rows.resource.as_str())
    }

    /// The ids of all policies, those on trial included.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.origins.keys().map(String::as_str)
    }

    /// Where the policy with this id comes from; ids are those that verdicts name.
    pub fn source(&self, id: &str) -> Option<&PolicySource> {
        self.origins.get(id)
    }

    fn caller<'a>(&'a self, principal: &'a Principal, trace_id: &str) -> Caller<'a> {
        Caller::new(&self.vocabulary, principal, trace_id)
    }

    /// Decides about one tool; with `suppose`, as if the caller held all scopes that the tool needs.
    fn decide_for(&self, caller: &Caller<'_>, policies: &ToolPolicies, action: PolicyAction<'_>, suppose: bool) -> Verdict {
        self.prepare(caller, policies, action, suppose)
            .and_then(|(slice, request, entities)| slice.decide(&self.authorizer, caller, &request, &entities))
            .unwrap_or_else(failed)
    }

    /// All that a decision about one tool is made of.
    fn prepare<'a>(
        &self,
        caller: &Caller<'_>,
        policies: &'a ToolPolicies,
        action: PolicyAction<'_>,
        suppose: bool,
    ) -> Result<(&'a Slice, Request, Entities), String> {
        let ToolPolicies { list, call, input, read, scopes: needed } = policies;
        let (slice, context) = match action {
            PolicyAction::List => (list, caller.listing(list.watched(), Holding { needed, arguments: None, suppose })),
            PolicyAction::Call(arguments) => {
                let holding = Holding { needed, arguments: Some(arguments), suppose };
                (call, caller.calling(call.watched(), holding, input, read, arguments))
            }
        };
        Ok((slice, slice.request(caller, context?)?, slice.entities(caller)?))
    }
}
