//! `tidegate policy explain`: why one call would be let through or not, with every policy that has a say.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use super::ExplainArgs;
use super::workspace::{Workspace, as_called};
use crate::cli::{Output, print};
use crate::model::{Decision, Scope};
use crate::policy::{ExplainedPolicy, Explanation, PolicyOutcome};

/// `tidegate policy explain`: exits with 0 if the call would be let through, with 1 if not.
pub fn run(args: &ExplainArgs) -> Result<ExitCode> {
    let arguments: Value = serde_json::from_str(&args.arguments).context("the arguments are not JSON")?;
    let workspace = Workspace::open(&args.workspace)?;
    let generation = workspace.load()??;
    let policies = Arc::clone(&generation.policies);
    let principal = args.caller.principal(&workspace.config).map_err(|problem| anyhow!("{problem}; name one with --issuer"))?;
    let Value::Object(arguments) = arguments else { bail!("the arguments must be a JSON object") };
    let (arguments, invalid) = as_called(&generation, &args.tool, &arguments);
    if let Some(violations) = invalid {
        bail!("before any policy is asked, the arguments are refused by the tool's schema: {}", violations.join("; "));
    }
    let explanation = policies.explain(&principal, &args.tool, &arguments).map_err(anyhow::Error::msg)?;
    match args.output {
        Output::Json => print::json(&explanation)?,
        Output::Table => print::text(&describe(&explanation))?,
    }
    Ok(if explanation.allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn describe(explanation: &Explanation) -> String {
    let mut text = format!("{}\n\n", explanation.because);
    let mut line = |key: &str, value: String| writeln!(text, "{key:<9} {value}").expect("writing to a string");
    let listing = match (explanation.listed, explanation.hidden) {
        (true, _) => "shown in this caller's list of tools",
        (false, true) => "hidden from this caller, who is told that there is no such tool",
        (false, false) => "left out of this caller's list of tools until it holds the scopes",
    };
    line("tool", format!("{}: {listing}", explanation.tool));
    if !explanation.missing.is_empty() {
        line("missing", scopes(&explanation.missing));
        line("grant", format!("put this into the token's `scope`: {}", scopes(&explanation.missing)));
    }
    if !explanation.excess.is_empty() {
        line("excess", format!("{} (held, and more than is needed)", scopes(&explanation.excess)));
    }
    for rows in &explanation.rows {
        let words = rows.rows.clone().unwrap_or_else(|| "what each row comes to is decided row by row".to_owned());
        line("rows", format!("{}: {words}", rows.resource));
    }
    if let Some(shadow) = &explanation.verdict.shadow {
        let would = if shadow.decision == Decision::Allow { "allowed" } else { "denied" };
        let by = if shadow.policies.is_empty() { String::new() } else { format!(" by {}", shadow.policies.join(", ")) };
        line("trial", format!("if the policies on trial counted, the call would be {would}{by}"));
    }
    let (decided, others): (Vec<_>, Vec<_>) = explanation.policies.iter().partition(|policy| policy.decided);
    for policy in &decided {
        write!(text, "\n{}", whole(policy)).expect("writing to a string");
    }
    if !others.is_empty() {
        text.push_str("\nwithout effect on this call:\n");
        others.iter().for_each(|policy| writeln!(text, "  {}: {}", place(policy), outcome(policy)).expect("writing to a string"));
    }
    text.trim_end().to_owned()
}

/// The policy with its text, for one that decided.
fn whole(policy: &ExplainedPolicy) -> String {
    let mut text = format!("{}: {}\n", place(policy), outcome(policy));
    policy.description.iter().for_each(|description| writeln!(text, "  {description}").expect("writing to a string"));
    policy.text.lines().for_each(|line| writeln!(text, "    {line}").expect("writing to a string"));
    text
}

fn place(policy: &ExplainedPolicy) -> String {
    let trial = if policy.shadow { " (on trial)" } else { "" };
    format!("{}:{} {} `{}`{trial}", policy.file, policy.line, policy.effect, policy.id)
}

fn outcome(policy: &ExplainedPolicy) -> String {
    match &policy.outcome {
        PolicyOutcome::Matched => "matches".to_owned(),
        PolicyOutcome::OtherPrincipal => "is about other callers".to_owned(),
        PolicyOutcome::Unmet(condition) if condition.is_empty() => "does not match".to_owned(),
        PolicyOutcome::Unmet(condition) => format!("does not match: not `{condition}`"),
        PolicyOutcome::Failed(error) => format!("failed, which denies: {error}"),
    }
}

fn scopes(scopes: &[Scope]) -> String {
    scopes.iter().map(Scope::to_string).collect::<Vec<_>>().join(" ")
}
