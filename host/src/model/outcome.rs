//! How a started call ended: the guest's result, what it burned, what it sent.

use std::time::Duration;

use serde_json::Value;

use super::{ErrorCode, Question, Sent};

/// How a started call ended, and all that is known about the way there. Exactly one per intent.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub ended: Ended,
    /// Fuel burned, in wasmtime fuel units.
    pub fuel: u64,
    /// The guest's peak linear memory, in bytes.
    pub memory_peak: u64,
    /// Wall-clock time from intent to end.
    pub latency: Duration,
    /// Every attempt at a request to a backend on behalf of the guest, in order.
    pub sent: Vec<Sent>,
    /// The backend that has failed the call, if one has and did not make up for it: what the caller is told if the guest has no
    /// word of its own.
    pub blame: Option<Failure>,
    /// What the guest wrote.
    pub log: GuestLog,
}

/// The guest's last word, or why it has none.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// The tool returned a result that fits its schema.
    Completed(Output),
    /// The tool, or the host in its place, reported a failure.
    Failed(Failure),
    /// The tool asked what its caller has not answered yet, having changed nothing: it is run again with the answers.
    Asked(Vec<Question>),
    /// The sandbox stopped the guest.
    Trapped(Trap),
    /// The host was told to stop it (shutdown), before it ended by itself.
    Cancelled,
}

/// A tool's result.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// The structured result.
    pub structured: Option<Value>,
    /// MCP content blocks.
    pub content: Vec<Value>,
}

/// A tool's failure in the guest's words, or the host's when the backend failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// What kind of failure.
    pub code: ErrorCode,
    /// What happened and what to do, for the agent.
    pub message: String,
    /// When trying again makes sense.
    pub retry_after: Option<Duration>,
}

/// Why the sandbox stopped a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trap {
    /// It burned all the fuel one call may burn.
    OutOfFuel,
    /// It asked for more memory than its manifest allows.
    OutOfMemory,
    /// It ran longer than its deadline.
    DeadlineExceeded,
    /// It crashed: unreachable code, stack overflow, a contract violation. For operators; callers see only the code.
    Guest(String),
}

/// What a guest wrote to its log, stdout and stderr, bounded by the sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestLog {
    /// Lines, oldest first, control characters escaped.
    pub lines: Vec<String>,
    /// Bytes dropped because the bound was reached.
    pub dropped_bytes: u64,
}
