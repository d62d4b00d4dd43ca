//! `tidegate audit`: reading and checking the log of a stopped host.

use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::{AuditArgs, HostArgs, Output, ShowArgs, print, serve};
use crate::app;
use crate::config::Config;
use crate::ledger::{Ledger, Record};
use crate::model::Timestamp;
use crate::store::Store;

/// Records read at a time.
const PAGE: usize = 512;

/// `tidegate audit list`
pub fn list(args: &AuditArgs) -> Result<ExitCode> {
    with_ledger(args, |ledger| {
        let mut rows = Vec::new();
        let mut next = 1;
        loop {
            let page = ledger.records(next, PAGE)?;
            let Some(last) = page.last() else { break };
            next = last.head.seq + 1;
            rows.extend(page.iter().map(row));
        }
        match args.output {
            Output::Json => print::json(&rows)?,
            Output::Table => print::text(&table(&rows))?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// `tidegate audit verify`
pub fn verify(args: &AuditArgs) -> Result<ExitCode> {
    with_ledger(args, |ledger| {
        let verified = ledger.verify()?;
        let report = json!({
            "records": verified.records, "tip": verified.tip.hash, "open_calls": verified.open_calls,
            "erased_bodies": verified.erased_bodies,
            "broken": verified.broken.as_ref().map(|broken| json!({"seq": broken.seq, "problem": broken.problem})),
        });
        match (args.output, &verified.broken) {
            (Output::Json, _) => print::json(&report)?,
            (Output::Table, None) => {
                print::text(&format_args!("{} records, unbroken; tip {}", verified.records, verified.tip.hash))?
            }
            (Output::Table, Some(broken)) => print::text(&format_args!("broken at record {}: {}", broken.seq, broken.problem))?,
        }
        Ok(if verified.broken.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// `tidegate audit show`
pub fn show(args: &ShowArgs) -> Result<ExitCode> {
    with_ledger(&args.log, |ledger| {
        let Some(state) = ledger.call(&args.call)? else {
            bail!("the ledger no longer remembers {}; `tidegate audit list` still has its records", args.call);
        };
        let time =
            |at: Timestamp| humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(at.as_millis())).to_string();
        let shown = json!({
            "call": state.call, "status": state.status.as_str(), "effect": state.effect, "started": time(state.started),
            "ended": state.ended.map(time), "answer": state.response.map(|response| response.value),
        });
        match args.log.output {
            Output::Json => print::json(&shown)?,
            Output::Table => {
                for (key, value) in shown.as_object().into_iter().flatten() {
                    print::text(&format_args!("{key:<8} {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)))?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Opens the ledger of a stopped host for `read`.
///
/// # Errors
/// There is none, it is in use or damaged; or what `read` answers with.
pub fn with_ledger<T>(args: &AuditArgs, read: impl FnOnce(&Ledger) -> Result<T>) -> Result<T> {
    let config = configure(args)?;
    let data = serve::data_dir(&config);
    // A mistyped folder must not pass for an unbroken log.
    if !data.join(app::KEYS).is_dir() {
        bail!("`{}` is no host's data folder; name it with `--data DIR`", data.display());
    }
    let store = Store::open(&data, &config.store).context("can't read the log of a host that runs; stop it first")?;
    let (ledger, _) = Ledger::open(store, &data.join(app::KEYS), &config.ledger)?;
    let result = read(&ledger);
    let closed = serve::runtime()?.block_on(ledger.close());
    let result = result?;
    closed?;
    Ok(result)
}

/// The configuration of the host whose log it is.
///
/// # Errors
/// It makes no sense.
pub fn configure(args: &AuditArgs) -> Result<Config> {
    serve::configure(&HostArgs { config: args.config.clone(), data: args.data.clone(), ..HostArgs::default() }, None)
}

fn row(record: &Record) -> Value {
    let head = &record.head;
    let body = record.body.as_deref().map(|body| serde_json::from_slice::<Value>(body).unwrap_or(Value::Null));
    json!({
        "seq": head.seq, "at_ms": head.at.as_millis(), "kind": head.kind.as_str(), "call": head.call, "hash": record.hash,
        "generation": head.generation, "policy": head.policy, "body": body,
    })
}

/// Names come from callers: on a terminal, no control character of theirs may act, nor one that hides or turns around others.
pub fn printable(text: &str) -> String {
    let is_unseen = |c: char| matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    text.chars().flat_map(|c| if c.is_control() || is_unseen(c) { c.escape_default().collect() } else { vec![c] }).collect()
}

/// Why a call was let through or not, and what became of its rows, on one line.
fn why(body: &Value) -> String {
    let texts = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(Value::as_str).map(printable).collect()
    };
    let mut parts = texts(&body["policies"]);
    parts.extend(texts(&body["scopes"]["missing"]).into_iter().map(|scope| format!("lacks {scope}")));
    if let (Some(allowed), Some(denied)) = (body["rows"]["allowed"].as_u64(), body["rows"]["denied"].as_u64()) {
        parts.push(format!("{allowed} of {} rows", allowed + denied));
    }
    parts.join(" ")
}

fn table(rows: &[Value]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(["seq", "time", "kind", "call", "subject", "tool", "result", "why", "policies"]);
    for row in rows {
        let text = |value: &Value| value.as_str().map_or_else(String::new, printable);
        let at = UNIX_EPOCH + Duration::from_millis(row["at_ms"].as_u64().unwrap_or_default());
        let body = &row["body"];
        let result =
            [&body["error"], &body["ended"], &body["code"], &body["decision"]].into_iter().find(|value| value.is_string());
        let result = result.map_or_else(|| admin_action(body), text);
        table.add_row([
            row["seq"].to_string(),
            humantime::format_rfc3339_seconds(at).to_string(),
            text(&row["kind"]),
            text(&row["call"]),
            text(&body["subject"]),
            text(&body["tool"]),
            result,
            why(body),
            row["policy"].as_str().map_or_else(String::new, |hash| hash.chars().take(8).collect()),
        ]);
    }
    table
}

/// What an admin's record tells, on one line: `policy_reload (file watch) +new.cedar ~changed.cedar -gone.cedar`.
fn admin_action(body: &Value) -> String {
    let Some(action) = body["action"].as_str() else { return String::new() };
    let mut line = format!("{action} ({})", body["source"].as_str().unwrap_or_default());
    for (sign, list) in [('+', &body["added"]), ('~', &body["changed"]), ('-', &body["removed"])] {
        let files = list.as_array().into_iter().flatten().filter_map(|file| file["file"].as_str());
        files.for_each(|file| line.extend([' ', sign].into_iter().chain(file.chars())));
    }
    printable(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_control_characters_do_nothing_on_the_operators_terminal() {
        assert_eq!(printable("x\u{1b}[31m\nübel"), "x\\u{1b}[31m\\nübel");
    }
}
