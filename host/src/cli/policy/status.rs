//! `tidegate policy status`: what the running host says of its policies, over the admin socket in its data folder.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::StatusArgs;
use crate::app;
use crate::cli::{HostArgs, Output, print, serve};
use crate::model::PolicyProblem;
use crate::server::stdio::POLICY_STATUS;

/// How long the host may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest answer: the files of a full policy folder, with room to spare.
const LONGEST: u64 = 4 << 20;

/// `tidegate policy status`
pub fn run(args: &StatusArgs) -> Result<ExitCode> {
    let host = HostArgs { config: args.config.clone(), data: args.data.clone(), ..HostArgs::default() };
    let status = ask(&serve::data_dir(&serve::configure(&host, None)?))?;
    match args.output {
        Output::Json => print::json(&status)?,
        Output::Table => print::text(&describe(&status))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn ask(data: &Path) -> Result<Value> {
    let path = app::admin_socket_path(data);
    let mut socket = UnixStream::connect(&path).with_context(|| {
        format!(
            "no host answers on `{}`; start one, or name the data folder of the running one with `--data DIR`",
            path.display()
        )
    })?;
    socket.set_read_timeout(Some(PATIENCE)).and_then(|()| socket.set_write_timeout(Some(PATIENCE)))?;
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": POLICY_STATUS });
    let mut line = String::new();
    let asked = writeln!(socket, "{request}");
    let answered = asked.and_then(|()| BufReader::new(socket.take(LONGEST)).read_line(&mut line));
    match answered.map_err(|error| (error.kind(), error)) {
        // One connection too many is closed at once, whichever side of it notices first.
        Ok(0) | Err((ErrorKind::BrokenPipe | ErrorKind::ConnectionReset, _)) => bail!("the host has no place free, try again"),
        Err((_, error)) => return Err(error).context("the host does not answer"),
        Ok(_) => {}
    }
    let mut answer: Value = serde_json::from_str(&line).context("the host's answer is no JSON; is it of another version?")?;
    match answer.get_mut("result") {
        Some(status) => Ok(status.take()),
        None => bail!("the host refuses to answer: {}", answer["error"]["message"].as_str().unwrap_or("no reason given")),
    }
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
