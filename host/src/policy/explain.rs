//! Why a call is allowed or denied, as data for admins: scopes, policies and where they stand, rows, shadows.

use std::sync::Arc;

use cedar_policy::{Authorizer, Effect, Entities, Policy, PolicyId, PolicySet, Request};
use serde::Serialize;
use serde_json::{Value, json};

use super::decision::Tally;
use super::filter::Filter;
use super::{Policies, PolicyAction};
use crate::model::document::nearest;
use crate::model::scope::{Bindings, Delta};
use crate::model::{Arguments, Decision, Principal, Scope, ToolName, Verdict};

/// Why one call by one principal is allowed or denied.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The tool.
    pub tool: ToolName,
    /// Whether the call would be let through: the tool is not hidden, no scope is missing, and the policies allow it.
    pub allowed: bool,
    /// The reason in one sentence.
    pub because: String,
    /// Whether a listing shows the tool to the principal.
    pub listed: bool,
    /// Whether the tool must look unknown, whatever scopes the principal had. A call of it is refused as one of no tool at all.
    pub hidden: bool,
    /// The scopes that the tool needs and nothing held covers.
    pub missing: Vec<Scope>,
    /// The scopes held that go beyond what the tool needs.
    pub excess: Vec<Scope>,
    /// What the policies say about the call.
    pub verdict: Verdict,
    /// Every policy that is about this tool's call, those that determined the decision first.
    pub policies: Vec<ExplainedPolicy>,
    /// Which rows of the result the principal may see, by resource.
    pub rows: Vec<ExplainedRows>,
}

/// One policy and what it came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExplainedPolicy {
    /// Its `@id`.
    pub id: String,
    /// `permit` or `forbid`.
    pub effect: &'static str,
    /// The file it is in, or `<generated>`.
    pub file: String,
    /// One-based line of its beginning.
    pub line: usize,
    /// Its `@description`.
    pub description: Option<String>,
    /// The policy as written.
    pub text: String,
    /// It only watches: `@mode("shadow")`.
    pub shadow: bool,
    /// Whether it determined the decision.
    pub decided: bool,
    /// What it came to.
    pub outcome: PolicyOutcome,
}

/// What one policy came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyOutcome {
    /// Its head and all its conditions matched.
    Matched,
    /// Its head is about other principals.
    OtherPrincipal,
    /// This condition of it did not hold, the first of those that do not: a `when` as written, an `unless` with its word before it.
    Unmet(String),
    /// It could not be evaluated, which denies.
    Failed(String),
}

/// Which rows of one resource may pass.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExplainedRows {
    /// The resource as scopes name it.
    pub resource: String,
    /// In words, such as `every row`, `rows where user_id = 'u1'`; none if it cannot be said in the words there are.
    pub rows: Option<String>,
    /// The same as guests get it.
    pub filter: Option<Value>,
}

impl Policies {
    /// Why `principal` may call `tool` with `arguments`, or why not.
    ///
    /// # Errors
    /// There is no such tool; the text says which may have been meant.
    pub fn explain(
        self: &Arc<Self>,
        principal: &Principal,
        tool: &ToolName,
        arguments: &Arguments,
    ) -> Result<Explanation, String> {
        let Some(policies) = self.tools.get(tool) else {
            let near = nearest(tool.as_str(), self.tools.keys().map(ToolName::as_str));
            let near = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            return Err(format!("no loaded plugin has a tool `{tool}`{near}"));
        };
        let bindings = Bindings { principal, arguments: Some(arguments) };
        let Delta { missing, excess } = Delta::of(&principal.scopes, &policies.scopes, &bindings);
        let caller = self.caller(principal, "");
        let verdict = self.decide(principal, tool, PolicyAction::Call(arguments), "");
        let showing = self.showing(principal, tool, "");
        let hidden = showing.decision == Decision::Deny;
        let candidates = match self.prepare(&caller, policies, PolicyAction::Call(arguments), false) {
            Ok((slice, request, entities)) => {
                let of = |policy: &Policy| self.explained(policy, &verdict, &request, &entities);
                slice.all_policies().policies().map(of).collect()
            }
            Err(_) => Vec::new(),
        };
        let mut explained: Vec<ExplainedPolicy> = candidates;
        explained.sort_by(|one, other| (!one.decided, &one.file, one.line).cmp(&(!other.decided, &other.file, other.line)));
        Ok(Explanation {
            tool: tool.clone(),
            allowed: !hidden && missing.is_empty() && verdict.decision == Decision::Allow,
            because: if hidden { hidden_by(&showing) } else { because(&missing, &verdict, &explained) },
            listed: self.decide(principal, tool, PolicyAction::List, "").decision == Decision::Allow,
            hidden,
            rows: self.explained_rows(principal, tool, arguments),
            policies: explained,
            verdict,
            missing,
            excess,
        })
    }

    fn explained(&self, policy: &Policy, verdict: &Verdict, request: &Request, entities: &Entities) -> ExplainedPolicy {
        let id: &str = policy.id().as_ref();
        let source = self.origins.get(id);
        ExplainedPolicy {
            id: id.to_owned(),
            effect: match policy.effect() {
                Effect::Permit => "permit",
                Effect::Forbid => "forbid",
            },
            file: source.map_or(String::new(), |source| source.file.clone()),
            line: source.map_or(0, |source| source.line),
            description: source.and_then(|source| source.description.clone()),
            text: source.map_or(String::new(), |source| source.text.clone()),
            shadow: source.is_some_and(|source| source.shadow),
            decided: verdict.policies.iter().any(|decided| decided == id),
            outcome: outcome(&self.authorizer, policy, request, entities),
        }
    }

    fn explained_rows(self: &Arc<Self>, principal: &Principal, tool: &ToolName, arguments: &Arguments) -> Vec<ExplainedRows> {
        let access = self.row_access(principal, tool, arguments, "");
        let explained = |resource: &str| {
            let filter = access.filter(resource);
            let words = |filter: &Filter| match filter {
                Filter::All(parts) if parts.is_empty() => "every row".to_owned(),
                Filter::Any(parts) if parts.is_empty() => "no row".to_owned(),
                filter => format!("rows where {filter}"),
            };
            let rows = filter.as_ref().map(words);
            ExplainedRows { resource: resource.to_owned(), rows, filter: filter.as_ref().map(Filter::to_json) }
        };
        access.resources().into_iter().map(explained).collect()
    }
}

/// Why the tool looks unknown, from the verdict on showing it.
fn hidden_by(showing: &Verdict) -> String {
    let why = match (showing.errors.first(), showing.policies.is_empty()) {
        (Some(error), _) => error.clone(),
        (None, false) => format!("by {}", list(&mut showing.policies.iter().cloned())),
        (None, true) => "no policy that permits showing it matches".to_owned(),
    };
    format!("denied: the tool is hidden from this caller, whatever scopes are held: {why}")
}

fn list(texts: &mut dyn Iterator<Item = String>) -> String {
    texts.map(|text| format!("`{text}`")).collect::<Vec<_>>().join(", ")
}

fn because(missing: &[Scope], verdict: &Verdict, policies: &[ExplainedPolicy]) -> String {
    if !missing.is_empty() {
        return format!("denied: nothing that is held covers {}", list(&mut missing.iter().map(Scope::to_string)));
    }
    if let Some(error) = verdict.errors.first() {
        return format!("denied: {error}");
    }
    let decided = list(&mut verdict.policies.iter().cloned());
    match (verdict.decision, decided.is_empty()) {
        (Decision::Allow, _) => format!("allowed by {decided}"),
        (Decision::Deny, false) => format!("denied by {decided}"),
        (Decision::Deny, true) if policies.iter().all(|policy| policy.effect == "forbid") => {
            "denied: no policy permits calls of this tool".to_owned()
        }
        (Decision::Deny, true) => "denied: none of the policies that could permit it matches".to_owned(),
    }
}

/// What a policy comes to on its own.
fn outcome(authorizer: &Authorizer, policy: &Policy, request: &Request, entities: &Entities) -> PolicyOutcome {
    let decide = |policy: Policy| {
        let set = PolicySet::from_policies([policy]).expect("one policy has no double");
        Tally::of(&authorizer.is_authorized(request, &set, entities)).verdict()
    };
    let whole = decide(policy.clone());
    if let Some(error) = whole.errors.into_iter().next() {
        return PolicyOutcome::Failed(error);
    }
    if !whole.policies.is_empty() {
        return PolicyOutcome::Matched;
    }
    // One condition more at a time: what comes first may guard what comes later.
    let Some((head, conditions)) = taken_apart(policy) else { return PolicyOutcome::Unmet(String::new()) };
    let with = |count: usize| {
        let mut parts = head.clone();
        parts["conditions"] = conditions[..count].iter().cloned().collect();
        Policy::from_json(Some(PolicyId::new("part")), parts).ok()
    };
    let holds = |count: &usize| with(*count).is_some_and(|policy| !decide(policy).policies.is_empty());
    match (0..=conditions.len()).find(|count| !holds(count)) {
        Some(0) => PolicyOutcome::OtherPrincipal,
        Some(count) => PolicyOutcome::Unmet(text(&head, &conditions[count - 1])),
        None => PolicyOutcome::Unmet(String::new()),
    }
}

/// A policy without conditions, and its conditions; what a `when` joins with `&&` counts as several.
fn taken_apart(policy: &Policy) -> Option<(Value, Vec<Value>)> {
    let mut head = policy.to_json().ok()?;
    let Value::Array(written) = head.get_mut("conditions").map(Value::take)? else { return None };
    let mut conditions = Vec::new();
    for condition in written {
        match condition.get("body").filter(|_| condition["kind"] == "when") {
            Some(body) => conjuncts(body, &mut conditions),
            None => conditions.push(condition),
        }
    }
    Some((head, conditions))
}

fn conjuncts(body: &Value, conditions: &mut Vec<Value>) {
    match body.get("&&") {
        Some(both) => {
            conjuncts(&both["left"], conditions);
            conjuncts(&both["right"], conditions);
        }
        None => conditions.push(json!({ "kind": "when", "body": body })),
    }
}

/// A condition as Cedar text.
fn text(head: &Value, condition: &Value) -> String {
    let body = expression(head, &condition["body"]);
    match condition["kind"] == "unless" {
        true => format!("unless {body}"),
        false => body,
    }
}

fn expression(head: &Value, body: &Value) -> String {
    // Cedar itself writes `a > b` as `!(a <= b)`.
    if let Some(sign) = [">", ">=", "!="].into_iter().find(|sign| body.get(*sign).is_some()) {
        let side = |name: &str| expression(head, &body[sign][name]);
        return format!("{} {sign} {}", side("left"), side("right"));
    }
    let mut parts = head.clone();
    parts["conditions"] = json!([{ "kind": "when", "body": body }]);
    let policy = Policy::from_json(None, parts).ok().and_then(|policy| policy.to_cedar()).unwrap_or_default();
    policy.find('{').zip(policy.rfind('}')).map_or(String::new(), |(start, end)| policy[start + 1..end].trim().to_owned())
}
