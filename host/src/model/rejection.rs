//! Why a call was never started.

use std::time::Duration;

use super::{CallId, Scope, Verdict};

/// Why a call was never started. Every call ends as exactly one of these, or as one outcome.
#[derive(Clone, Debug, PartialEq)]
pub enum Rejection {
    /// No credentials, or credentials that do not verify. The text is for the caller.
    Unauthenticated(String),
    /// No such tool, or one hidden from this caller: the two look the same.
    UnknownTool(String),
    /// The client did not declare a capability the tool cannot do without.
    ClientLacks(Vec<String>),
    /// The arguments do not fit the schema. One line per violation.
    InvalidArguments(Vec<String>),
    /// Scopes are missing; all of them are named at once, so that one step-up suffices.
    InsufficientScope {
        /// The scopes the caller lacks.
        missing: Vec<Scope>,
        /// All scopes the tool needs.
        needed: Vec<Scope>,
    },
    /// The policies said no.
    Denied(Verdict),
    /// A write tool was called without a key.
    KeyRequired,
    /// The key was used before with other arguments.
    KeyReused {
        /// The call that used it first.
        first: CallId,
    },
    /// The first call with this key has not ended yet.
    InFlight {
        /// That call.
        first: CallId,
        /// When asking again makes sense.
        retry_after: Duration,
    },
    /// The first call with this key ended without a known outcome; it is never run again by itself.
    OutcomeUnknown {
        /// That call.
        first: CallId,
    },
    /// The first call with this key has ended, and what it was answered can't be read.
    AnswerUnreadable {
        /// That call.
        first: CallId,
        /// It never will be again: it was erased with its caller.
        erased: bool,
    },
    /// The caller calls more often than it may.
    RateLimited {
        /// When it may call again.
        retry_after: Duration,
    },
    /// The queue is full, or the wait would be too long.
    Overloaded {
        /// When trying again makes sense.
        retry_after: Duration,
    },
    /// The call may burn more fuel than the caller's budget can ever promise.
    TooCostly {
        /// What it may burn.
        fuel: u64,
        /// What can be promised: burst and debt together.
        most: u64,
    },
    /// The caller went away while the call was still queued.
    Cancelled,
    /// The tool changed while the call was queued.
    ToolChanged,
    /// What came as the state of the questions of an earlier run (`requestState`) is no such thing: changed, too old, or made for
    /// another call.
    StateInvalid,
    /// What came as answers to the questions of an earlier run is more than anybody answers.
    AnswersTooLarge,
    /// Nobody answered in time what the tool asked.
    Unanswered,
    /// The audit log can't be written, so nothing ran. The text is for operators.
    AuditUnavailable(String),
    /// The host is shutting down.
    ShuttingDown,
}

impl Rejection {
    /// Whether it is for what the caller did or asked for, not for want of anything here.
    pub fn is_callers_doing(&self) -> bool {
        match self {
            Self::Unauthenticated(_)
            | Self::UnknownTool(_)
            | Self::ClientLacks(_)
            | Self::InvalidArguments(_)
            | Self::InsufficientScope { .. }
            | Self::Denied(_)
            | Self::KeyRequired
            | Self::KeyReused { .. }
            | Self::InFlight { .. }
            | Self::RateLimited { .. }
            | Self::Cancelled
            | Self::StateInvalid
            | Self::AnswersTooLarge
            | Self::Unanswered => true,
            Self::OutcomeUnknown { .. }
            | Self::AnswerUnreadable { .. }
            | Self::Overloaded { .. }
            | Self::TooCostly { .. }
            | Self::ToolChanged
            | Self::AuditUnavailable(_)
            | Self::ShuttingDown => false,
        }
    }

    /// The reason as metrics and records spell it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unauthenticated(_) => "unauthenticated",
            Self::UnknownTool(_) => "unknown_tool",
            Self::ClientLacks(_) => "client_lacks_capability",
            Self::InvalidArguments(_) => "invalid_arguments",
            Self::InsufficientScope { .. } => "insufficient_scope",
            Self::Denied(_) => "permission_denied",
            Self::KeyRequired => "idempotency_key_required",
            Self::KeyReused { .. } => "idempotency_key_reused",
            Self::InFlight { .. } => "idempotency_in_flight",
            Self::OutcomeUnknown { .. } => "outcome_unknown",
            Self::AnswerUnreadable { .. } => "answer_unreadable",
            Self::RateLimited { .. } => "rate_limited",
            Self::Overloaded { .. } => "overloaded",
            Self::TooCostly { .. } => "fuel_exhausted",
            Self::Cancelled => "cancelled",
            Self::ToolChanged => "tool_changed",
            Self::StateInvalid => "request_state_invalid",
            Self::AnswersTooLarge => "answers_too_large",
            Self::Unanswered => "unanswered",
            Self::AuditUnavailable(_) => "audit_unavailable",
            Self::ShuttingDown => "shutting_down",
        }
    }
}
