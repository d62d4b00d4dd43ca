//! Attacks by too much of what is allowed: output, logs, host calls, random bytes.

use std::io::Write;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use tidegate_plugin_sdk::{Content, Context, Failure, Level, NoInput, Tool};

use crate::raw;

/// How much to write at a time, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// Fills the disk of whoever keeps the output.
pub(crate) struct FloodStdout;

impl Tool for FloodStdout {
    const NAME: &'static str = "flood_stdout";
    const DESCRIPTION: &'static str = "Writes to standard output and standard error without end.";
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, _: &Context) -> Result<Content, Failure> {
        let piece = [b'x'; PIECE_BYTES];
        loop {
            // Whatever the host answers, go on.
            let _ = std::io::stdout().write_all(&piece);
            let _ = std::io::stderr().write_all(&piece);
        }
    }
}

/// Fills the disk of whoever keeps the log.
pub(crate) struct FloodLog;

impl Tool for FloodLog {
    const NAME: &'static str = "flood_log";
    const DESCRIPTION: &'static str = "Logs long lines without end.";
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, context: &Context) -> Result<Content, Failure> {
        let line = "x".repeat(PIECE_BYTES);
        loop {
            context.log(Level::Emergency, &line);
        }
    }
}

/// Fills the connection to the caller.
pub(crate) struct FloodProgress;

impl Tool for FloodProgress {
    const NAME: &'static str = "flood_progress";
    const DESCRIPTION: &'static str = "Reports progress without end.";
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, context: &Context) -> Result<Content, Failure> {
        let message = "x".repeat(PIECE_BYTES);
        let mut done = 0;
        loop {
            context.progress(done, None, &message);
            done += 1;
        }
    }
}

/// Lets the host do the work, where fuel does not count.
pub(crate) struct FloodHostCalls;

impl Tool for FloodHostCalls {
    const NAME: &'static str = "flood_host_calls";
    const DESCRIPTION: &'static str = "Asks the host for permissions without end.";
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, context: &Context) -> Result<Content, Failure> {
        let row = json!({ "user_id": "u1", "padding": "x".repeat(PIECE_BYTES) });
        loop {
            let _ = context.permits("things", &row);
            let _ = context.is_cancelled();
        }
    }
}

/// Makes the host make random bytes.
pub(crate) struct RandomFlood;

/// How many random bytes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Amount {
    /// How many to ask for in each call; 1 GiB unless said otherwise.
    #[serde(default = "one_gibibyte")]
    bytes: u64,
    /// How often to ask; once unless said otherwise.
    #[serde(default = "once")]
    times: u64,
}

impl Tool for RandomFlood {
    const NAME: &'static str = "random_flood";
    const DESCRIPTION: &'static str = "Asks for many random bytes.";
    type Input = Amount;
    type Output = Content;

    fn call(Amount { bytes, times }: Amount, _: &Context) -> Result<Content, Failure> {
        let mut got = 0;
        for _ in 0..times {
            got += raw::random_bytes(bytes)?;
        }
        Ok(Content::new().text(format!("got {got} random bytes")))
    }
}

fn one_gibibyte() -> u64 {
    1024 * 1024 * 1024
}

fn once() -> u64 {
    1
}
