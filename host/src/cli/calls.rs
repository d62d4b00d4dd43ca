//! `tidegate calls`: which calls the ledger remembers, how one stands, and settling one whose outcome nobody knows; on a live
//! host or a stopped one.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use comfy_table::{Table, presets};
use serde::Serialize;
use serde_json::Value;

use super::audit::{self, printable};
use super::{AuditArgs, Output, WhichHost, print};
use crate::ledger::{CallStatus, CallsQuery, Ledger, LedgerError, NOTE_MAX, PAGE_MAX, Verdict};
use crate::model::CallId;
use crate::server::operator;
use crate::server::operator::calls;

/// `tidegate calls …`
#[derive(Debug, Subcommand)]
pub enum CallsVerb {
    /// List the calls that the ledger remembers: those that run, those whose outcome nobody knows, and for a day those that had
    /// an idempotency key. Oldest first in each state.
    List(ListArgs),
    /// Show all there is to say about one call, its answer included.
    Show(ShowArgs),
    /// Say what became of a call whose outcome nobody knows. It is written down who did.
    ///
    /// `executed`: it took effect; whoever comes with its key is told so, without the answer that is lost. `not-executed`: it
    /// changed nothing; its key is free, and a retry runs.
    Resolve(ResolveArgs),
}

/// Whose calls.
#[derive(Debug, Clone, Args)]
pub struct Whose {
    #[command(flatten)]
    host: WhichHost,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// `tidegate calls list`
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Only those that stand so.
    #[arg(long, value_enum)]
    state: Option<State>,
    /// How many at most.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=PAGE_MAX as i64))]
    limit: u32,
    /// Go on from here: what the page before said of the next.
    #[arg(long, value_name = "PLACE")]
    after: Option<String>,
    #[command(flatten)]
    whose: Whose,
}

/// `tidegate calls show`
#[derive(Debug, Clone, Args)]
pub struct ShowArgs {
    /// The call's id, as answers and records name it.
    call: CallId,
    #[command(flatten)]
    whose: Whose,
}

/// `tidegate calls resolve`
#[derive(Debug, Clone, Args)]
pub struct ResolveArgs {
    /// The call's id, as answers and records name it.
    call: CallId,
    /// What became of it.
    #[arg(value_enum)]
    verdict: Found,
    /// How you know; written down with it.
    #[arg(long, value_name = "TEXT", value_parser = parse_note)]
    note: Option<String>,
    #[command(flatten)]
    whose: Whose,
}

/// The states, as flags.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    Queued,
    Asking,
    Running,
    Unknown,
    Done,
    Released,
}

/// The verdicts, as arguments.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Found {
    Executed,
    NotExecuted,
}

/// Runs a verb.
pub fn run(verb: &CallsVerb) -> Result<ExitCode> {
    match verb {
        CallsVerb::List(args) => list(args),
        CallsVerb::Show(args) => show(args),
        CallsVerb::Resolve(args) => resolve(args),
    }
}

fn list(args: &ListArgs) -> Result<ExitCode> {
    let state = args.state.map(|state| match state {
        State::Queued => CallStatus::Queued,
        State::Asking => CallStatus::Asking,
        State::Running => CallStatus::Running,
        State::Unknown => CallStatus::Unknown,
        State::Done => CallStatus::Done,
        State::Released => CallStatus::Released,
    });
    let query = CallsQuery { state, after: args.after.clone(), limit: args.limit as usize };
    let page = ask(&args.whose, calls::LIST, query, calls::list)?;
    match args.whose.output {
        Output::Json => print::json(&page)?,
        Output::Table => {
            print::text(&table(page["calls"].as_array().map_or(&[], Vec::as_slice)))?;
            if let Some(next) = page["next"].as_str() {
                print::text(&format_args!("\nthere may be more: --after {next}"))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(args: &ShowArgs) -> Result<ExitCode> {
    tell(&args.whose, &ask(&args.whose, calls::SHOW, calls::Show { call: args.call }, calls::show)?)
}

fn resolve(args: &ResolveArgs) -> Result<ExitCode> {
    let verdict = match args.verdict {
        Found::Executed => Verdict::Executed,
        Found::NotExecuted => Verdict::NotExecuted,
    };
    let resolve = calls::Resolve { call: args.call, verdict, note: args.note.clone() };
    let by = operator::user(rustix::process::geteuid().as_raw());
    let report = ask(&args.whose, calls::RESOLVE, resolve, |ledger, resolve| calls::resolve(ledger, &by, resolve))?;
    tell(&args.whose, &report)
}

/// Asks the live host, or the ledger of the stopped one.
fn ask<P: Serialize>(
    whose: &Whose,
    method: &str,
    params: P,
    stopped: impl FnOnce(&Ledger, P) -> Result<Value, LedgerError>,
) -> Result<Value> {
    let Whose { host, output } = whose;
    if let Some(mut live) = host.live()? {
        return live.ask(method, &serde_json::to_value(params)?);
    }
    let args = AuditArgs { host: host.clone(), output: *output };
    audit::with_ledger(&args, |ledger| Ok(stopped(ledger, params)?))
}

fn tell(whose: &Whose, report: &Value) -> Result<ExitCode> {
    match whose.output {
        Output::Json => print::json(report)?,
        Output::Table => {
            for (key, value) in report.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
                print::text(&format_args!("{key:<11} {}", text(value)))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn table(calls: &[Value]) -> Table {
    const COLUMNS: [&str; 8] = ["call", "status", "queued", "started", "ended", "expires", "subject", "tool"];
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(COLUMNS);
    for call in calls {
        table.add_row(COLUMNS.map(|column| if call[column].is_null() { String::new() } else { text(&call[column]) }));
    }
    table
}

fn text(value: &Value) -> String {
    printable(&value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

fn parse_note(text: &str) -> Result<String, String> {
    if text.len() <= NOTE_MAX { Ok(text.to_owned()) } else { Err(format!("a note is at most {NOTE_MAX} bytes long")) }
}
