//! What `tidegate bench` takes on the command line.

use std::time::Duration;

use clap::Args;

use crate::cli::Output;

/// `tidegate bench`
///
/// Closed loop by default: every caller makes its next call when the one before has ended. With `--rate` calls begin on a
/// schedule instead, whether or not earlier ones have ended, and each is measured from the moment it was due, so that a host
/// that stalls is not spared the calls that would have come meanwhile (no coordinated omission). Calls that find every caller
/// busy begin late and are counted as such; those still waiting for a caller at the end are counted as not begun.
///
/// `p50_ms` and its like measure the first answer: a result, *pending*, `overloaded` or an error. The report has the same for
/// results, polling and hinted waits included. Ends with 0 if nothing was lost or doubled, with 1 if something was, with 2
/// if it could not begin.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// The MCP endpoint to load, of this host or of another server.
    #[arg(long, default_value = "http://127.0.0.1:7300/mcp")]
    pub url: String,
    /// A tool to call, with its share of the calls: `list_invoices=9`. May be repeated.
    #[arg(long, value_name = "NAME[=WEIGHT]", required = true)]
    pub tool: Vec<String>,
    /// The arguments of the tools, in the order of the tools. `{n}` stands for the call's number (`{n:04}`: at least four
    /// digits), `{principal}` for the caller's subject.
    #[arg(long, value_name = "JSON")]
    pub args: Vec<String>,
    /// How many callers there are, each with a connection of its own and one call at a time.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub concurrency: u32,
    /// How long calls are begun.
    #[arg(long, default_value = "10s", value_parser = some_time)]
    pub duration: Duration,
    /// Begin so many calls a second, on schedule.
    #[arg(long, value_name = "CALLS", value_parser = rate)]
    pub rate: Option<f64>,
    /// How long a caller thinks after each call.
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration, conflicts_with = "rate")]
    pub think: Duration,
    /// How many principals the callers are, with tokens from `tidegate dev`.
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u32).range(1..=1_000_000), conflicts_with = "token")]
    pub principals: Option<u32>,
    /// What the subjects of these principals begin with; a number follows.
    #[arg(long, value_name = "TEXT", default_value = "bench-", value_parser = subject_prefix)]
    pub subject_prefix: String,
    /// A bearer token for all callers; better in the variable than on the command line.
    #[arg(long, env = "TIDEGATE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Which calls get an idempotency key, each its own, kept for its retries.
    #[arg(long, value_enum, default_value_t = Keys::Auto)]
    pub key: Keys,
    /// Take every tool for a write that wants a key, whatever the server says of it.
    #[arg(long, conflicts_with = "key")]
    pub write: bool,
    /// Repeat this share of the keyed calls that succeeded with the same key; they must not take effect again. 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub repeat: f64,
    /// Where the backend tells how much it did, as JSON: a number, or a list; `URL#/pointer` for a part. Compared with the
    /// keyed calls that succeeded.
    #[arg(long, value_name = "URL")]
    pub effects: Option<String>,
    /// Declare the tasks extension, and poll with `tasks/get`.
    #[arg(long)]
    pub tasks: bool,
    /// Speak the protocol of 2025-11-25 and before, with its handshake, even to a server that knows a newer one.
    #[arg(long, conflicts_with = "tasks")]
    pub legacy: bool,
    /// How long one request may take.
    #[arg(long, default_value = "60s", value_parser = some_time)]
    pub timeout: Duration,
    /// For how long a call whose connection breaks, or comes to nothing, is tried again.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    pub patience: Duration,
    /// How long calls may still end after the last one began.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    pub drain: Duration,
    /// How many threads drive the callers; half of the cores by default.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// How to print the report.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// Which calls get an idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Keys {
    /// Those of tools that say they take one.
    Auto,
    /// None.
    None,
}

fn some_time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time.is_zero() => Err("it must be longer than nothing".to_owned()),
        Ok(time) if time > Duration::from_secs(7 * 24 * 3600) => Err("it must not be longer than a week".to_owned()),
        parsed => parsed.map_err(|error| error.to_string()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.001..=1e7).contains(&rate) => Ok(rate),
        _ => Err("write calls per second, from 0.001 to 10000000".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("write a share from 0 to 1, such as 0.1".to_owned()),
    }
}

/// Subjects stand in JSON texts and token requests as they are.
fn subject_prefix(text: &str) -> Result<String, String> {
    match text.len() <= 100 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:@/".contains(&byte)) {
        true => Ok(text.to_owned()),
        false => Err("write up to 100 of the characters a-z, A-Z, 0-9 and -_.:@/".to_owned()),
    }
}
