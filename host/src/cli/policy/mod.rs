//! `tidegate policy …`: what admins ask about policies before, while and after these are in force.

mod again;
mod caller;
mod cases;
mod check;
mod explain;
mod generate;
mod replay;
mod status;
mod test;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};

use super::{Output, PluginArgs, WhichHost};
use crate::model::ToolName;
use caller::Caller;
use workspace::WorkspaceArgs;

/// `tidegate policy …`
#[derive(Debug, Subcommand)]
pub enum PolicyVerb {
    /// Print the Cedar schema and the permits that follow from the manifests, and what of the arguments policies can't see.
    Generate(PluginArgs),
    /// Check policies as a host would before they take effect; exits with 1 if they are refused.
    Check(CheckArgs),
    /// Tell why a call would be let through or not; exits with 1 if not.
    Explain(ExplainArgs),
    /// Hold policies to the cases in `*.test.toml` files; exits with 1 if one fails.
    Test(TestArgs),
    /// Decide recorded calls again under other policies and list those that come out differently; exits with 1 if any
    /// does, with 2 if none does but not every call could be decided again. Rows are not decided again.
    Replay(ReplayArgs),
    /// Ask the running host which policies are in force, since when, and what it refused last.
    Status(StatusArgs),
}

/// `tidegate policy check`
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    workspace: WorkspaceArgs,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// `tidegate policy explain`
#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    caller: Caller,
    /// The tool.
    #[arg(long)]
    tool: ToolName,
    /// The call's arguments, a JSON object.
    #[arg(long = "args", value_name = "JSON", default_value = "{}")]
    arguments: String,
    #[command(flatten)]
    workspace: WorkspaceArgs,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// `tidegate policy test`
#[derive(Debug, Clone, Args)]
pub struct TestArgs {
    /// Files of cases, or folders with `*.test.toml` files; the policy folder by default.
    #[arg(value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    workspace: WorkspaceArgs,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// `tidegate policy replay`
#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    /// The folder of policies to decide under.
    #[arg(long, value_name = "DIR")]
    candidate: PathBuf,
    /// How far back to go, such as `7d` or `12h`.
    #[arg(long, value_name = "SPAN", default_value = "7d", value_parser = humantime::parse_duration)]
    since: Duration,
    /// The configuration file; `tidegate.toml` here if it exists.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data folder of the stopped host.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A folder of plugin folders, or one plugin folder; `plugins` by default. Crates are built first.
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// `tidegate policy status`
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    host: WhichHost,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// `tidegate policy …`
pub fn run(verb: &PolicyVerb) -> Result<ExitCode> {
    match verb {
        PolicyVerb::Generate(args) => generate::run(args),
        PolicyVerb::Check(args) => check::run(args),
        PolicyVerb::Explain(args) => explain::run(args),
        PolicyVerb::Test(args) => test::run(args),
        PolicyVerb::Replay(args) => replay::run(args),
        PolicyVerb::Status(args) => status::run(args),
    }
}
