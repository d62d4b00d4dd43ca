//! `tidegate audit …`: reading the log, checking it, and taking it elsewhere; of a live host or a stopped one alike.

mod backup;
mod export;
mod keeping;
mod list;
mod progress;
mod prove;
mod query;
mod resume;
mod show;
mod source;
mod table;
pub mod time;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

use super::AuditArgs;
use crate::model::CallId;

pub use source::{read, with_ledger};
pub use table::{body, printable};

/// `tidegate audit …`
#[derive(Debug, Subcommand)]
pub enum AuditVerb {
    /// Print every record, oldest first.
    List(AuditArgs),
    /// Print the last records, and with --follow each new one of a live host.
    Tail(TailArgs),
    /// Find calls that ended, newest first.
    Query(QueryArgs),
    /// Print all there is about one record or one call.
    Show(ShowArgs),
    /// Check that no record was changed, removed, reordered or inserted; exits with 1 and the first bad one otherwise.
    ///
    /// Of a host, live or stopped; or, without any host, of an export or a proof, from a file.
    Verify(VerifyArgs),
    /// Print the proof that one record stands in the log, for somebody who has nothing but its public key.
    Prove(ProveArgs),
    /// Print the public key of the log.
    Key(AuditArgs),
    /// Sign how far the log has got, and print the signed note: kept elsewhere, it later shows whether the log was rolled back.
    Checkpoint(AuditArgs),
    /// Take the log elsewhere: lines of JSON that end with a checkpoint and can be checked with the public key alone.
    Export(ExportArgs),
    /// Copy everything the host keeps into a folder, consistently, while it runs or while it is stopped.
    ///
    /// A live host writes it itself, as its own user. The backup holds the host's keys, so keep it as safe as the host: who has
    /// it can read what callers were answered. What is erased or deleted after it was taken is still in it.
    Backup(backup::BackupArgs),
    /// Make a new data folder (`--data DIR`) out of a backup, after checking all that is in it.
    ///
    /// What happened since the backup was taken is not in it: payments made since are unknown to it, erased people are back.
    Restore(backup::RestoreArgs),
    /// Drop what has had its time, now instead of within the hour.
    Prune(keeping::PruneArgs),
    /// Keep records whatever their time: legal holds.
    #[command(subcommand)]
    Hold(keeping::HoldVerb),
    /// Make everything that is written about a person unreadable, for good; the log stays provable.
    Erase(keeping::EraseArgs),
}

/// `tidegate audit tail`
#[derive(Debug, Clone, Args)]
pub struct TailArgs {
    /// How many records to begin with.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    lines: u64,
    /// Print further records as they are written, until interrupted.
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    log: AuditArgs,
}

/// `tidegate audit query`
#[derive(Debug, Clone, Args)]
pub struct QueryArgs {
    /// Who called.
    #[arg(long)]
    subject: Option<String>,
    /// Who vouches for the caller.
    #[arg(long)]
    issuer: Option<String>,
    /// What was called.
    #[arg(long)]
    tool: Option<String>,
    /// How it ended: an error code, or `completed`, `interrupted`, `replayed`, ….
    #[arg(long, value_name = "WORD")]
    outcome: Option<String>,
    /// The trace it belongs to.
    #[arg(long, value_name = "ID")]
    trace: Option<String>,
    /// The call itself.
    #[arg(long, value_name = "ID")]
    call: Option<CallId>,
    /// Only what ended then or later: a time such as `2026-08-01T12:00:00Z`, or how long ago, such as `2h`.
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    since: Option<u64>,
    /// Only what ended before: a time, or how long ago.
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    until: Option<u64>,
    /// How many calls at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Go on below this record, as the page before says.
    #[arg(long, value_name = "SEQ")]
    before: Option<u64>,
    #[command(flatten)]
    log: AuditArgs,
}

/// `tidegate audit show`
#[derive(Debug, Clone, Args)]
pub struct ShowArgs {
    /// The record's number, or the call's id as answers and records name it.
    #[arg(value_name = "SEQ|CALL")]
    what: show::What,
    #[command(flatten)]
    log: AuditArgs,
}

/// `tidegate audit verify`
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// An export or a proof, `-` for stdin; the log of the host on the data folder by default.
    #[arg(conflicts_with_all = ["data", "config", "admin_url"])]
    file: Option<PathBuf>,
    /// The public key that the log must be signed with, or a file with it; without it, whatever is checked is believed about that.
    #[arg(long, value_name = "KEY|FILE")]
    key: Option<String>,
    /// A signed note that was kept elsewhere: the log must lead through it.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    #[command(flatten)]
    log: AuditArgs,
}

/// `tidegate audit prove`
#[derive(Debug, Clone, Args)]
pub struct ProveArgs {
    /// The record's number.
    seq: u64,
    /// Show that it is there, and not what it says.
    #[arg(long, conflicts_with = "pointer")]
    no_body: bool,
    /// Prove the value of a redacted argument too: where it stood, such as `/card_number`.
    #[arg(long, requires = "value")]
    pointer: Option<String>,
    /// The value that stood there, as JSON; `-` reads it from stdin, where no other user sees it.
    #[arg(long, value_name = "JSON", requires = "pointer", allow_hyphen_values = true)]
    value: Option<String>,
    #[command(flatten)]
    log: AuditArgs,
}

/// `tidegate audit export`
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// The first record; the first one there is by default.
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    /// The last record; by default a checkpoint that is signed now.
    #[arg(long, value_name = "SEQ")]
    to: Option<u64>,
    /// What to write.
    #[arg(long, value_enum, default_value_t = export::Format::Jsonl)]
    format: export::Format,
    /// Where to; stdout by default. A file that ends in the middle of an export of this log is gone on with.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    log: AuditArgs,
}

/// `tidegate audit …`
pub fn run(verb: &AuditVerb) -> Result<ExitCode> {
    let done = match verb {
        AuditVerb::Verify(args) => return verify::run(args),
        AuditVerb::List(args) => list::list(args),
        AuditVerb::Tail(args) => list::tail(args),
        AuditVerb::Query(args) => query::run(args),
        AuditVerb::Show(args) => show::run(args),
        AuditVerb::Prove(args) => prove::prove(args),
        AuditVerb::Key(args) => prove::key(args),
        AuditVerb::Checkpoint(args) => prove::checkpoint(args),
        AuditVerb::Export(args) => export::run(args),
        AuditVerb::Backup(args) => backup::backup(args),
        AuditVerb::Restore(args) => backup::restore(args),
        AuditVerb::Prune(args) => keeping::prune(args),
        AuditVerb::Hold(verb) => keeping::hold(verb),
        AuditVerb::Erase(args) => keeping::erase(args),
    };
    done.map(|()| ExitCode::SUCCESS)
}
