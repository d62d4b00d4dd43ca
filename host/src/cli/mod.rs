//! The command line: its verbs and flags, no logic.

pub mod audit;
pub mod bench;
pub mod build;
pub mod call;
pub mod calls;
pub mod dev;
pub mod doctor;
pub mod live;
pub mod plugin;
pub mod policy;
pub mod print;
pub mod reload;
pub mod serve;
pub mod top;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use audit::AuditVerb;
pub use bench::BenchArgs;
pub use calls::CallsVerb;
pub use doctor::DoctorArgs;
pub use live::{Elsewhere, WhichHost};
pub use plugin::{DiffArgs, InstallArgs, RemoveArgs, RollbackArgs};
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
    /// Build the plugins under `plugins/`, start the demo backend, serve on loopback, and print what to try.
    Dev(DevArgs),
    /// Serve MCP over Streamable HTTP, as `tidegate.toml` says.
    Serve(ServeArgs),
    /// Serve MCP over stdin and stdout, for desktop clients.
    Run(RunArgs),
    /// Call a tool of a running host.
    Call(CallArgs),
    /// See which calls are remembered, and settle those whose outcome nobody knows.
    #[command(subcommand)]
    Calls(CallsVerb),
    /// List, inspect and build plugins.
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

/// `tidegate dev`
#[derive(Debug, Clone, Args)]
pub struct DevArgs {
    #[command(flatten)]
    pub host: HostArgs,
    #[command(flatten)]
    pub ports: PortArgs,
    /// What to serve.
    #[arg(long, value_enum, default_value_t = DevProfile::Demo)]
    pub profile: DevProfile,
}

/// What `dev` serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DevProfile {
    /// The plugins under `plugins/` but the conformance fixtures, with the demo backend.
    Demo,
    /// The fixtures of the official MCP conformance suite, with authentication off.
    Conformance,
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

/// `tidegate call`
#[derive(Debug, Clone, Args)]
pub struct CallArgs {
    /// The tool.
    pub tool: String,
    /// Its arguments, a JSON object.
    #[arg(default_value = "{}")]
    pub arguments: String,
    /// The host's MCP endpoint.
    #[arg(long, default_value = "http://127.0.0.1:7300/mcp")]
    pub url: String,
    /// The idempotency key of a write; a new one is made up, and printed, if absent.
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// A bearer token, if the host wants one; better in the variable than on the command line.
    #[arg(long, env = "TIDEGATE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// How long to wait for the result of a call that is told to be pending.
    #[arg(long, value_name = "SPAN", default_value = "10m", value_parser = humantime::parse_duration, conflicts_with = "no_wait")]
    pub wait: Duration,
    /// Print what the host says of a pending call, and don't wait for its result.
    #[arg(long)]
    pub no_wait: bool,
    /// Print the whole result, not just its text.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `tidegate plugin …`
#[derive(Debug, Subcommand)]
pub enum PluginVerb {
    /// List what is installed, or the plugins and tools in a folder.
    List(ListArgs),
    /// Load one plugin as a host would, and show its tools, schemas, scopes and limits.
    Inspect(PluginArgs),
    /// Install a plugin, or another version of one; what of it widens has to be approved.
    Install(InstallArgs),
    /// Show what one version of a plugin could do that the other could not.
    Diff(DiffArgs),
    /// Go back to a version that was installed before.
    Rollback(RollbackArgs),
    /// Remove an installed plugin, with all its versions.
    Remove(RemoveArgs),
    /// Compile plugin crates to components, ready to be served.
    Build(BuildArgs),
    /// Make a key to sign plugins with; the public half is printed.
    Keygen(plugin::sign::KeygenArgs),
    /// Sign a built plugin: its files, and what it tells of its tools.
    Sign(plugin::sign::SignArgs),
    /// See who vouches for a plugin, wherever it is; exits with 1 if nobody does who is trusted.
    Verify(plugin::verify::VerifyArgs),
    /// Pack a built plugin as a `.tar.gz`.
    Pack(plugin::ship::PackArgs),
    /// Push a built plugin to an OCI registry.
    Push(plugin::ship::PushArgs),
    /// Have the running host load plugins and policies anew: all of them take effect at once, or none, and then it says why.
    Reload(LiveArgs),
    /// What the running host says of its plugins: which are in force, since when, and what was refused.
    Status(LiveArgs),
}

/// `tidegate plugin list`
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// A folder of plugin folders, or one plugin folder; what is installed if absent.
    #[arg(conflicts_with_all = ["config", "data", "admin_url"])]
    pub dir: Option<PathBuf>,
    #[command(flatten)]
    pub host: WhichHost,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// The folder a plugin verb looks at.
#[derive(Debug, Clone, Args)]
pub struct PluginArgs {
    /// A folder of plugin folders, or one plugin folder.
    #[arg(default_value = "plugins")]
    pub dir: PathBuf,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `tidegate plugin build`
#[derive(Debug, Clone, Args)]
pub struct BuildArgs {
    /// Plugin crates, or folders of them.
    #[arg(default_value = "plugins")]
    pub dirs: Vec<PathBuf>,
    /// Where the built plugins go, one folder each.
    #[arg(long, value_name = "DIR", default_value = "target/plugins")]
    pub out: PathBuf,
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
