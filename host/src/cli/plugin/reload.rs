//! `tidegate plugin reload` and `status`: a running host takes what lies in its folders, or says why not.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::cli::{LiveArgs, Output, print};
use crate::model::LoadProblem;
use crate::server::operator::plugins::{RELOAD, STATUS};

/// How long a host may take to compile other plugins.
const PATIENCE: Duration = Duration::from_secs(300);

/// `tidegate plugin reload`
pub fn run(args: &LiveArgs) -> Result<ExitCode> {
    let mut live = args.host.demand()?;
    live.wait_at_most(PATIENCE)?;
    let answer = live.ask(RELOAD, &Value::Null)?;
    let refused = &answer["refused"];
    match args.output {
        Output::Json => print::json(&answer)?,
        Output::Table if refused.is_object() => {
            let generation = &answer["generation"];
            eprintln!("refused; generation {generation} stays in force:");
            problems(refused).iter().for_each(|problem| eprintln!("{problem}"));
        }
        Output::Table => print::text(&describe(&answer))?,
    }
    Ok(if refused.is_object() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// `tidegate plugin status`
pub fn status(args: &LiveArgs) -> Result<ExitCode> {
    let status = args.host.demand()?.ask(STATUS, &Value::Null)?;
    match args.output {
        Output::Json => print::json(&status)?,
        Output::Table => {
            const KEYS: [&str; 8] = ["state", "generation", "loaded_at", "source", "folder", "tools", "reloads", "refusals"];
            let mut lines: Vec<String> = KEYS.map(|key| format!("{key:<10} {}", text(&status[key]))).into();
            for plugin in status["plugins"].as_array().into_iter().flatten() {
                lines.push(format!(
                    "plugin     {}  {}  {}",
                    text(&plugin["component"]),
                    text(&plugin["plugin"]),
                    text(&plugin["version"])
                ));
            }
            // What stands may never have been refused: others changed whose signatures count, and somebody installed something else.
            if status["last_refused"]["standing"] != json!(true) && status["state"] == "refused" {
                lines.push("\nwould be refused if it was loaded anew:".to_owned());
                lines.extend(problems(&status));
            }
            lines.extend(last_refused(&status["last_refused"]));
            print::text(&lines.join("\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(answer: &Value) -> String {
    let (change, generation) = (&answer["change"], &answer["generation"]);
    if change.is_null() {
        return format!("nothing is new; generation {generation} stays in force");
    }
    let mut lines = vec![format!("generation {generation} is in force")];
    for change in change["plugin_changes"].as_array().into_iter().flatten() {
        let (before, after) = (&change["before"], &change["after"]);
        let of = |version: &Value| {
            let digest: String = text(&version["component"]).chars().take(12).collect();
            format!("{} ({digest})", text(&version["version"]))
        };
        lines.push(match (before.is_object(), after.is_object()) {
            (false, _) => format!("+ {} {}", text(&after["plugin"]), of(after)),
            (true, false) => format!("- {} {}", text(&before["plugin"]), of(before)),
            (true, true) => format!("~ {} {} -> {}", text(&before["plugin"]), of(before), of(after)),
        });
    }
    for (sign, list) in [('+', &change["added"]), ('~', &change["changed"]), ('-', &change["removed"])] {
        lines.extend(list.as_array().into_iter().flatten().map(|file| format!("{sign} {}", text(&file["file"]))));
    }
    lines.join("\n")
}

/// What is told of the last refusal, line by line; nothing if there was none.
pub fn last_refused(refused: &Value) -> Vec<String> {
    if !refused.is_object() {
        return Vec::new();
    }
    let standing = if refused["standing"] == json!(true) { "and still what the folder holds" } else { "since put right" };
    let mut lines = vec![format!("\nrefused at {} ({}), {standing}:", text(&refused["at"]), text(&refused["source"]))];
    lines.extend(problems(refused));
    lines
}

fn problems(refused: &Value) -> Vec<String> {
    let problems = refused["problems"].as_array().into_iter().flatten();
    let read = problems.filter_map(|problem| serde_json::from_value::<LoadProblem>(problem.clone()).ok());
    let mut lines: Vec<_> = read.map(|problem| problem.to_string()).collect();
    lines.extend(refused["more"].as_u64().filter(|more| *more > 0).map(|more| format!("and {more} more")));
    lines
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
