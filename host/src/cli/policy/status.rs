//! `tidegate policy status`: what the running host says of its policies.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;

use super::StatusArgs;
use crate::cli::plugin::reload;
use crate::cli::{Output, print};
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
    lines.extend(reload::last_refused(&status["last_refused"]));
    lines.join("\n")
}
