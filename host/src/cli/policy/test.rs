//! `tidegate policy test`: cases that say what policies should come to, held against what they come to.

use std::process::ExitCode;

use anyhow::{Context, Result};
use comfy_table::{Table, presets};
use serde::Serialize;
use serde_json::json;

use super::TestArgs;
use super::cases::{Case, CaseFile, Outcome, RowCase, RowOutcome};
use super::workspace::{Workspace, as_called};
use crate::cli::{Output, print};
use crate::config::Config;
use crate::model::{Decision, DocumentError, document};
use crate::registry::Generation;

/// What became of one case.
#[derive(Serialize)]
struct Ran {
    file: String,
    line: usize,
    name: String,
    tool: String,
    passed: bool,
    expected: Outcome,
    got: Outcome,
    /// Why that came of it.
    because: String,
    /// The policies that determined the decision.
    policies: Vec<String>,
    /// What of the case was not as expected.
    failures: Vec<String>,
}

/// `tidegate policy test`: exits with 1 if a case failed.
pub fn run(args: &TestArgs) -> Result<ExitCode> {
    let workspace = Workspace::open(&args.workspace)?;
    let paths = match &args.paths[..] {
        [] => {
            vec![workspace.policies().context("there is no policy folder to look for cases in; name a file of cases")?.to_owned()]
        }
        paths => paths.to_vec(),
    };
    let mut files = Vec::new();
    for path in &paths {
        files.extend(CaseFile::read_all(path)?);
    }
    let generation = workspace.load()??;
    let mut ran = Vec::new();
    for file in &files {
        for case in &file.cases {
            ran.push(hold(&generation, &workspace.config, file, case)?);
        }
    }
    let failed = ran.iter().filter(|case| !case.passed).count();
    match args.output {
        Output::Json => print::json(&json!({ "passed": ran.len() - failed, "failed": failed, "cases": ran }))?,
        Output::Table => {
            print::text(&table(&ran))?;
            for case in ran.iter().filter(|case| !case.passed) {
                let failures = case.failures.join("\n  ");
                print::text(&format_args!("\n{}:{} {}\n  {failures}\n  {}", case.file, case.line, case.name, case.because))?;
            }
            print::text(&format_args!("\n{} passed, {failed} failed", ran.len() - failed))?;
        }
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Decides one case and compares.
fn hold(generation: &Generation, config: &Config, file: &CaseFile, case: &Case) -> Result<Ran, DocumentError> {
    let policies = &generation.policies;
    let principal =
        case.caller.principal(config).map_err(|problem| file.error(&case.name, format!("{problem}; name one with `issuer`")))?;
    let name = case.tool.get_ref();
    let (arguments, invalid) = as_called(generation, name, &case.args);
    let explanation = policies.explain(&principal, name, &arguments).map_err(|problem| file.error(&case.tool, problem))?;
    for id in &case.by {
        if policies.source(id.get_ref()).is_none() {
            let near = meant(id.get_ref(), policies.ids());
            return Err(file.error(id, format!("no policy has the id `{}`{near}", id.get_ref())));
        }
    }
    for RowCase { resource, .. } in &case.rows {
        if !policies.resources().any(|known| known == resource.get_ref()) {
            let near = meant(resource.get_ref(), policies.resources());
            let problem = format!("no tool needs a scope for rows of `{}`{near}", resource.get_ref());
            return Err(file.error(resource, problem));
        }
    }
    // In the order of a call: whoever may not see the tool learns nothing else of it.
    let got = match &explanation {
        explanation if explanation.hidden => Outcome::Hidden,
        _ if invalid.is_some() => Outcome::InvalidArguments,
        explanation if !explanation.missing.is_empty() => Outcome::InsufficientScope,
        explanation if explanation.allowed => Outcome::Allow,
        _ => Outcome::Deny,
    };
    let mut failures = Vec::new();
    if got != case.expect {
        failures.push(format!("expected {}, got {}", word(case.expect), word(got)));
    }
    // Of a hidden tool, what decides is what is said about showing it.
    let decided = match got {
        Outcome::Hidden => policies.showing(&principal, name, "").policies,
        _ => explanation.verdict.policies,
    };
    let unheard = case.by.iter().map(|id| id.get_ref()).filter(|id| !decided.contains(id));
    failures.extend(unheard.map(|id| format!("`{id}` was expected to decide, but did not")));
    let access = policies.row_access(&principal, name, &arguments, "");
    for (number, row) in (1..).zip(&case.rows) {
        let verdict = access.permits(row.resource.get_ref(), &row.row);
        let got = if verdict.decision == Decision::Allow { RowOutcome::Allow } else { RowOutcome::Deny };
        let line = file.line(&row.resource);
        match verdict.errors.first() {
            // No policy said no to a row that could not be read; a case that took it for one would prove nothing.
            Some(error) if got == row.expect => {
                failures.push(format!("row {number} (line {line}): denied by an error rather than by a policy: {error}"));
            }
            error if got != row.expect => {
                let why = error.map_or(String::new(), |error| format!(": {error}"));
                let (expected, got) = (word(row.expect), word(got));
                failures.push(format!("row {number} (line {line}): expected {expected}, got {got}{why}"));
            }
            _ => {}
        }
    }
    Ok(Ran {
        file: file.path.display().to_string(),
        line: file.line(&case.name),
        name: case.name.get_ref().clone(),
        tool: name.to_string(),
        passed: failures.is_empty(),
        expected: case.expect,
        got,
        because: match (got, invalid) {
            (Outcome::InvalidArguments, Some(violations)) => format!("refused by the tool's schema: {}", violations.join("; ")),
            _ => explanation.because,
        },
        policies: decided,
        failures,
    })
}

/// Which of the known names may have been meant, for the end of an error.
fn meant<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    document::nearest(name, known).map_or(String::new(), |near| format!("; did you mean `{near}`?"))
}

/// An outcome as cases spell it.
fn word(outcome: impl Serialize) -> String {
    serde_json::to_value(outcome).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

fn table(ran: &[Ran]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["", "case", "tool", "expected", "got", "by"]);
    for case in ran {
        let mark = if case.passed { "ok" } else { "FAILED" };
        let [expected, got] = [case.expected, case.got].map(word);
        table.add_row([mark, &case.name, &case.tool, &expected, &got, &case.policies.join(" ")]);
    }
    table
}
