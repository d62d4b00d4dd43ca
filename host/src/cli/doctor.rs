//! `tidegate doctor`: looks at everything a host needs, changes nothing, and says in words what to fix.

mod checks;
mod reach;

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::{HostArgs, Output, print, serve};

/// `tidegate doctor`
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    host: HostArgs,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// Good.
    Ok,
    /// It works, but perhaps not as it is meant to.
    Warning,
    /// Calls fail because of it, or the host does not start.
    Broken,
}

/// What was found of one thing.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    /// The thing.
    check: String,
    state: State,
    /// How it is.
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Finding {
    fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self { check: check.into(), state: State::Ok, found: found.into(), fix: None }
    }

    fn warning(check: impl Into<String>, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check: check.into(), state: State::Warning, found: found.into(), fix: Some(fix.into()) }
    }

    fn broken(check: impl Into<String>, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check: check.into(), state: State::Broken, found: found.into(), fix: Some(fix.into()) }
    }
}

/// `tidegate doctor`; exits with 1 if something is broken.
pub fn run(args: &DoctorArgs) -> Result<ExitCode> {
    let findings = match serve::configure(&args.host, None) {
        Ok(config) => serve::runtime()?.block_on(checks::all(&config)),
        Err(error) => vec![Finding::broken("config", format!("{error:#}"), "correct it; nothing else can be looked at before")],
    };
    let is_well = findings.iter().all(|finding| finding.state != State::Broken);
    match args.output {
        Output::Json => print::json(&json!({ "ok": is_well, "checks": findings }))?,
        Output::Table => print::text(&in_words(&findings))?,
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The findings, each with what to do below it.
fn in_words(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or_default();
    let mut lines = Vec::new();
    for Finding { check, state, found, fix } in findings {
        let state = match state {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Broken => "BROKEN",
        };
        lines.push(format!("{state:<8} {check:<width$}  {found}"));
        lines.extend(fix.iter().map(|fix| format!("{:<8} {:<width$}  → {fix}", "", "")));
    }
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    lines.push(match (count(State::Broken), count(State::Warning)) {
        (0, 0) => "all is well".to_owned(),
        (0, warnings) => format!("nothing is broken, {warnings} to look at"),
        (broken, _) => format!("{broken} broken"),
    });
    lines.join("\n")
}
