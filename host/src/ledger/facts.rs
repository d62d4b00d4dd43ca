//! What the pipeline tells the ledger about a call, at each of the moments that are written down.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::scope::Delta;
use crate::model::{
    Arguments, CallId, Dialogue, Digest, Effect, ErrorCode, Outcome, Principal, Rejection, Risk, RowTally, ToolName,
    TraceContext, Verdict,
};

/// What is known when a call is about to run.
#[derive(Clone, Copy, Debug)]
pub struct IntentFacts<'a> {
    /// The call.
    pub call: CallId,
    /// The trace it belongs to.
    pub trace: &'a TraceContext,
    /// Who calls.
    pub principal: &'a Principal,
    /// What is called.
    pub tool: ToolFacts<'a>,
    /// With which arguments: validated, before redaction.
    pub arguments: &'a Arguments,
    /// What its caller answered to questions of earlier runs.
    pub dialogue: &'a Dialogue,
    /// What the policies said.
    pub verdict: &'a Verdict,
    /// How the scopes held differ from those needed.
    pub delta: &'a Delta,
    /// The claims that the decision may depend on.
    pub claims: &'a BTreeMap<&'a str, &'a Value>,
    /// The generation it runs on.
    pub generation: Generation,
    /// How long it waited for its turn.
    pub queued: Duration,
}

/// The tool of a call, as far as the log is concerned.
#[derive(Clone, Copy, Debug)]
pub struct ToolFacts<'a> {
    /// Its name.
    pub name: &'a ToolName,
    /// The plugin it belongs to.
    pub plugin: &'a str,
    /// The plugin's version.
    pub plugin_version: &'a str,
    /// The digest of the plugin's component.
    pub component: Digest,
    /// Read or write.
    pub effect: Effect,
    /// The retention class of the call's records.
    pub risk: Risk,
    /// The most fuel the call may burn.
    pub fuel_limit: u64,
    /// JSON pointers to arguments that are never stored in clear.
    pub redact: &'a [String],
}

/// The plugins and policies a call runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its number, counted by this process or kept by the registry.
    pub number: u64,
    /// The digest of the policy set.
    pub policies: Digest,
}

impl Generation {
    /// What records name that concern none, or were written when none was in force.
    pub(super) const NONE: Self = Self { number: 0, policies: Digest([0; 32]) };
}

/// What is known when a call has ended.
#[derive(Clone, Copy, Debug)]
pub struct OutcomeFacts<'a> {
    /// How it ended.
    pub outcome: &'a Outcome,
    /// What the caller is told.
    pub answer: &'a StoredResponse,
    /// What is kept for replays: the same, before rows were removed that the caller may not see.
    pub kept: &'a StoredResponse,
    /// The code of the error the caller is told, if it is one.
    pub error: Option<ErrorCode>,
    /// What becomes of the call and its idempotency key.
    pub disposition: Disposition,
    /// The rows that the guest asked about.
    pub asked: &'a RowTally,
    /// The rows of the answer.
    pub delivered: &'a RowTally,
    /// Whether somebody holds a handle to the call and may ask for its answer later: it is remembered then, however it ended.
    pub handle_given: bool,
    /// Whether its caller cancelled it.
    pub cancelled: bool,
    /// Whether the guest reported success although the last attempt at one of its backends failed.
    pub despite_backend_error: bool,
}

/// What becomes of a call that has ended, and of its idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It ran to its end, well or not; the answer is replayed to whoever comes with the same key.
    Done,
    /// Certainly nothing changed: no unsafe request reached a connector. The key is free again.
    Released,
    /// Nothing changed, and it waits for answers of its caller. The key stays its own.
    Waiting,
    /// Something may have changed. The key stays taken until somebody finds out.
    Unknown,
}

impl Disposition {
    /// The state as records spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Released => "released",
            Self::Waiting => "waiting",
            Self::Unknown => "unknown",
        }
    }
}

/// The final answer to a call, as it was given and as it is given again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredResponse {
    /// The result, or the error envelope.
    pub value: Value,
    /// Whether it is an error.
    pub is_error: bool,
}

/// What is known of a call that did not run.
#[derive(Clone, Debug)]
pub struct RejectionFacts<'a> {
    /// The call.
    pub call: CallId,
    /// The trace it belongs to.
    pub trace: &'a TraceContext,
    /// Who called; `None` leaves nothing but a count.
    pub principal: Option<&'a Principal>,
    /// The tool asked for, as it was asked for.
    pub tool: &'a str,
    /// The arguments, if they were found valid, and the pointers to redact in them.
    pub arguments: Option<(&'a Arguments, &'a [String])>,
    /// How the scopes held differ from those needed, if a tool was found that needs any.
    pub delta: Option<Delta>,
    /// The claims that the decision may depend on.
    pub claims: BTreeMap<&'a str, &'a Value>,
    /// The generation that decided.
    pub generation: Generation,
    /// Whether the caller is told that there is no such tool.
    pub hidden: bool,
    /// Why it did not run.
    pub why: WhyNot<'a>,
}

/// Why a call did not run, or not at once.
#[derive(Clone, Copy, Debug)]
pub enum WhyNot<'a> {
    /// It was turned away.
    Rejected(&'a Rejection),
    /// It was queued, and its caller told to ask for the answer later.
    Pending,
    /// It was answered with the response of an earlier call.
    Replayed {
        /// That call.
        of: CallId,
        /// What the policies said of this call.
        verdict: &'a Verdict,
        /// The rows of the answer, if it could be read.
        rows: Option<&'a RowTally>,
    },
}
