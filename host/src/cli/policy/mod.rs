//! `tidegate policy …`: what admins ask about policies before, while and after these are in force.

mod check;
mod generate;
mod status;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

use super::{Output, PluginArgs};
use workspace::WorkspaceArgs;

/// `tidegate policy …`
#[derive(Debug, Subcommand)]
pub enum PolicyVerb {
    /// Print the Cedar schema and the permits that follow from the manifests, and what of the arguments policies can't see.
    Generate(PluginArgs),
    /// Check policies as a host would before they take effect; exits with 1 if they are refused.
    Check(CheckArgs),
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

/// `tidegate policy status`
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// The configuration file; `tidegate.toml` here if it exists.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data folder of the host.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// `tidegate policy …`
pub fn run(verb: &PolicyVerb) -> Result<ExitCode> {
    match verb {
        PolicyVerb::Generate(args) => generate::run(args),
        PolicyVerb::Check(args) => check::run(args),
        PolicyVerb::Status(args) => status::run(args),
    }
}
