//! The command line: its verbs and flags, no logic.

pub mod audit;
pub mod bench;
pub mod call;
pub mod calls;
pub mod dev;
pub mod doctor;
pub mod language;
pub mod live;
pub mod new;
pub mod plugin;
pub mod policy;
pub mod print;
pub mod serve;
pub mod top;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use audit::AuditVerb;
pub use bench::BenchArgs;
pub use call::CallArgs;
pub use calls::CallsVerb;
pub use dev::DevArgs;
pub use doctor::DoctorArgs;
pub use live::{Elsewhere, WhichHost};
pub use new::NewArgs;
pub use plugin::{PluginArgs, PluginVerb};
pub use policy::PolicyVerb;
pub use top::TopArgs;

/// A production host for MCP tools: every call authorized, audited before it runs, run at most once, metered.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Build a plugin, or those under `plugins/`, serve them on loopback with their demo backends, and build and serve them again
    /// after every edit.
    Dev(DevArgs),
    /// Serve MCP over Streamable HTTP, as `tidegate.toml` says.
    Serve(ServeArgs),
    /// Serve MCP over stdin and stdout, for desktop clients.
    Run(RunArgs),
    /// Call a tool of a running host.
    Call(Box<CallArgs>),
    /// See which calls are remembered, and settle those whose outcome nobody knows.
    #[command(subcommand)]
    Calls(CallsVerb),
    /// Make a new plugin, which builds and passes its own test.
    New(NewArgs),
    /// List, inspect, build, test and check plugins.
    #[command(subcommand)]
    Plugin(PluginVerb),
    /// See, check, explain, test and replay policies.
    #[command(subcommand)]
    Policy(PolicyVerb),
    /// Read and check what was written down, of a live host or a stopped one.
    #[command(subcommand)]
    Audit(AuditVerb),
    /// See who runs, who waits and who burns fuel at a live host, as it goes on.
    Top(TopArgs),
    /// Load an MCP server with calls, and see how it answers, what it loses and what it does twice.
    Bench(Box<BenchArgs>),
    /// Look at everything a host needs, change nothing, and say what to fix; exits with 1 if something is broken.
    Doctor(DoctorArgs),
}

/// What every verb that runs a host takes.
#[derive(Debug, Clone, Default, Args)]
pub struct HostArgs {
    /// The configuration file; `tidegate.toml` here if it exists.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The folder that holds the store, the keys and the control socket.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// A folder of plugin folders, or one plugin folder.
    #[arg(long, value_name = "DIR")]
    pub plugins: Option<PathBuf>,
    /// A folder of `*.cedar` policies.
    #[arg(long, value_name = "DIR")]
    pub policies: Option<PathBuf>,
    /// Use a running backend: `billing=http://127.0.0.1:8080`. May be repeated.
    #[arg(long, value_name = "NAME=URL", value_parser = parse_backend)]
    pub backend: Vec<(String, String)>,
}

/// The two listeners.
#[derive(Debug, Clone, Args)]
pub struct PortArgs {
    /// The port of the MCP endpoint; 0 picks one and prints it.
    #[arg(long)]
    pub port: Option<u16>,
    /// The port of health, readiness and metrics; 0 picks one and prints it.
    #[arg(long)]
    pub admin_port: Option<u16>,
}

/// `tidegate serve`
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub host: HostArgs,
    #[command(flatten)]
    pub ports: PortArgs,
    /// Let callers without credentials in as `[auth.anonymous]`. Loopback only.
    #[arg(long)]
    pub insecure_no_auth: bool,
}

/// `tidegate run`
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub host: HostArgs,
}

/// Whose log to read.
#[derive(Debug, Clone, Args)]
pub struct AuditArgs {
    #[command(flatten)]
    pub host: WhichHost,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// Which running host to ask.
#[derive(Debug, Clone, Args)]
pub struct LiveArgs {
    #[command(flatten)]
    pub host: WhichHost,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// How listings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

fn parse_backend(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, url)) if !name.is_empty() && url.contains("://") => Ok((name.to_owned(), url.to_owned())),
        _ => Err("write NAME=URL, for example `billing=http://127.0.0.1:8080`".to_owned()),
    }
}
