//! `tidegate policy status`: what the running host says of its policies.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};

use super::StatusArgs;
use crate::cli::{Output, print};
use crate::model::PolicyProblem;
use crate::server::operator::POLICY_STATUS;

/// `tidegate policy status`
pub fn run(args: &StatusArgs) -> Result<ExitCode> {
    let status = args.host.demand()?.ask(POLICY_STATUS, &Value::Null)?;
    match args.output {
        Output::Json => print::json(&status)?,
        Output::Table => print::text(&describe(&status))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(status: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    const KEYS: [&str; 11] = [
        "state",
        "hash",
        "generation",
        "loaded_at",
        "source",
        "folder",
        "policies",
        "on_trial",
        "generated_permits",
        "reloads",
        "refusals",
    ];
    let mut lines: Vec<String> = KEYS.map(|key| format!("{key:<17} {}", text(&status[key]))).into();
    for file in status["files"].as_array().into_iter().flatten() {
        lines.push(format!("file              {}  {}", text(&file["sha256"]), text(&file["file"])));
    }
    let refused = &status["last_refused"];
    if refused.is_object() {
        let standing = if refused["standing"] == json!(true) { "and still what the folder holds" } else { "since put right" };
        lines.push(format!("\nrefused at {} ({}), {standing}:", text(&refused["at"]), text(&refused["source"])));
        let problems = refused["problems"].as_array().into_iter().flatten();
        let read = problems.filter_map(|problem| serde_json::from_value::<PolicyProblem>(problem.clone()).ok());
        lines.extend(read.map(|problem| problem.to_string()));
        if let Some(more) = refused["more"].as_u64().filter(|more| *more > 0) {
            lines.push(format!("and {more} more"));
        }
    }
    lines.join("\n")
}
