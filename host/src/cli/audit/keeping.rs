//! `tidegate audit prune`, `hold` and `erase`: what stays in the log, and what goes.

use anyhow::Result;
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::source::with_source;
use super::{printable, time};
use crate::cli::{AuditArgs, Output, print};
use crate::ledger::Hold;
use crate::model::CallId;
use crate::server::operator::keeping::{self, Erase, Prune, Release};

/// `tidegate audit prune`
#[derive(Debug, Clone, Args)]
pub struct PruneArgs {
    /// Only tell what would go.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    log: AuditArgs,
}

/// `tidegate audit hold …`
#[derive(Debug, Clone, Subcommand)]
pub enum HoldVerb {
    /// Keep the records that all of what is said applies to, whatever their time, until the hold is released.
    Add(HoldArgs),
    /// List the holds in force.
    List(AuditArgs),
    /// Release a hold: what it kept goes when its time has come.
    Release(ReleaseArgs),
}

/// `tidegate audit hold add`
#[derive(Debug, Clone, Args)]
pub struct HoldArgs {
    /// A name for it, such as the number of a case.
    name: String,
    /// Calls of this caller.
    #[arg(long, requires = "issuer")]
    subject: Option<String>,
    /// Who vouches for the caller.
    #[arg(long, requires = "subject")]
    issuer: Option<String>,
    /// Calls of this tool.
    #[arg(long)]
    tool: Option<String>,
    /// This call.
    #[arg(long, value_name = "ID")]
    call: Option<CallId>,
    /// What was written then or later: a time such as `2026-08-01T12:00:00Z`, or how long ago, such as `2h`.
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    since: Option<u64>,
    /// What was written before: a time, or how long ago.
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    until: Option<u64>,
    #[command(flatten)]
    log: AuditArgs,
}

/// `tidegate audit hold release`
#[derive(Debug, Clone, Args)]
pub struct ReleaseArgs {
    /// The hold's name.
    name: String,
    #[command(flatten)]
    log: AuditArgs,
}

/// `tidegate audit erase`
#[derive(Debug, Clone, Args)]
pub struct EraseArgs {
    /// The person, as tokens name them.
    #[arg(long)]
    subject: String,
    /// Who vouches for the person; may be left out if the log knows of one issuer only.
    #[arg(long)]
    issuer: Option<String>,
    /// Why: written down with it.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    log: AuditArgs,
}

/// `tidegate audit prune`
pub fn prune(args: &PruneArgs) -> Result<()> {
    let done: Value = with_source(&args.log, |source| source.ask(keeping::PRUNE, &Prune { dry_run: args.dry_run }))?;
    if args.log.output == Output::Json {
        return print::json(&done);
    }
    let went = if args.dry_run { "would go" } else { "gone" };
    print::text(&format_args!(
        "{went}: bodies of {} low, {} medium, {} high risk and of {} rejections; {} more are held; {} whole records",
        done["low"], done["medium"], done["high"], done["rejections"], done["held"], done["records"]
    ))
}

/// `tidegate audit hold …`
pub fn hold(verb: &HoldVerb) -> Result<()> {
    let (log, method, params) = match verb {
        HoldVerb::List(log) => (log, keeping::HOLDS, json!(null)),
        HoldVerb::Release(args) => (&args.log, keeping::RELEASE, json!(Release { name: args.name.clone() })),
        HoldVerb::Add(args) => {
            let hold = Hold {
                name: args.name.clone(),
                subject: args.subject.clone(),
                issuer: args.issuer.clone(),
                tool: args.tool.clone(),
                call: args.call,
                since_ms: args.since,
                until_ms: args.until,
            };
            (&args.log, keeping::HOLD, json!(hold))
        }
    };
    let holds: Vec<Value> = with_source(log, |source| source.ask(method, &params))?;
    match log.output {
        Output::Json => print::json(&holds),
        Output::Table => print::text(&table(&holds)),
    }
}

/// `tidegate audit erase`
pub fn erase(args: &EraseArgs) -> Result<()> {
    let question = Erase { subject: args.subject.clone(), issuer: args.issuer.clone(), reason: args.reason.clone() };
    let erased: Value = with_source(&args.log, |source| source.ask(keeping::ERASE, &question))?;
    match args.log.output {
        Output::Json => print::json(&erased),
        Output::Table => print::text(&format_args!(
            "what was written about `{}` can be read by nobody any more; backups and exports made before still have it",
            printable(&args.subject)
        )),
    }
}

fn table(holds: &[Value]) -> Table {
    const COLUMNS: [&str; 7] = ["name", "subject", "issuer", "tool", "call", "since", "until"];
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(COLUMNS);
    for hold in holds {
        let text = |column: &str| match column {
            "since" | "until" => hold[format!("{column}_ms")].as_u64().map_or_else(String::new, time::show),
            _ => hold[column].as_str().map_or_else(String::new, printable),
        };
        table.add_row(COLUMNS.map(text));
    }
    table
}
