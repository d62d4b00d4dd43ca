//! The append-only list of error codes.

use serde::{Deserialize, Serialize};

/// The error codes of the envelope. Append-only: agents and programs branch on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// A backend could not be reached, or said that it cannot serve.
    BackendUnavailable,
    /// A backend did not answer in time.
    BackendTimeout,
    /// The caller, or the host at a backend, calls too often.
    RateLimited,
    /// All slots and the whole queue are taken.
    Overloaded,
    /// The guest burned all the fuel one call may burn.
    FuelExhausted,
    /// The guest ran longer than its deadline.
    DeadlineExceeded,
    /// The guest asked for more memory than it may have.
    MemoryExceeded,
    /// The guest crashed.
    PluginTrapped,
    /// The guest returned something its tool never promised.
    OutputInvalid,
    /// A scope is missing, or a policy said no.
    PermissionDenied,
    /// The arguments do not fit the tool's schema.
    InvalidArguments,
    /// A write came without a key.
    IdempotencyKeyRequired,
    /// A key came back with other arguments.
    IdempotencyKeyReused,
    /// The first call with the key has not ended.
    IdempotencyInFlight,
    /// Nobody knows whether the call took effect.
    OutcomeUnknown,
    /// The call took effect, and its answer is lost.
    AnswerLost,
    /// A read was cut off by a crash of the host.
    Interrupted,
    /// The tool changed while the call was queued.
    ToolChanged,
    /// The audit log cannot be written, so nothing ran.
    AuditUnavailable,
    /// The call was cancelled before it ended.
    Cancelled,
    /// The state of what was to be changed does not allow it.
    Conflict,
    /// What was asked for does not exist.
    NotFound,
    /// The tool failed in a way no other code describes.
    Failed,
}

impl ErrorCode {
    /// The code as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BackendUnavailable => "backend_unavailable",
            Self::BackendTimeout => "backend_timeout",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::FuelExhausted => "fuel_exhausted",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::MemoryExceeded => "memory_exceeded",
            Self::PluginTrapped => "plugin_trapped",
            Self::OutputInvalid => "output_invalid",
            Self::PermissionDenied => "permission_denied",
            Self::InvalidArguments => "invalid_arguments",
            Self::IdempotencyKeyRequired => "idempotency_key_required",
            Self::IdempotencyKeyReused => "idempotency_key_reused",
            Self::IdempotencyInFlight => "idempotency_in_flight",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::AnswerLost => "answer_lost",
            Self::Interrupted => "interrupted",
            Self::ToolChanged => "tool_changed",
            Self::AuditUnavailable => "audit_unavailable",
            Self::Cancelled => "cancelled",
            Self::Conflict => "conflict",
            Self::NotFound => "not_found",
            Self::Failed => "failed",
        }
    }

    /// The codes a guest may report by itself; any other word of a guest becomes `failed`, so that no guest can
    /// claim that the host, the ledger or a policy refused.
    pub fn from_guest(word: &str) -> Self {
        match word {
            "backend_unavailable" => Self::BackendUnavailable,
            "backend_timeout" => Self::BackendTimeout,
            "rate_limited" => Self::RateLimited,
            "permission_denied" => Self::PermissionDenied,
            "invalid_arguments" => Self::InvalidArguments,
            "cancelled" => Self::Cancelled,
            "conflict" => Self::Conflict,
            "not_found" => Self::NotFound,
            _ => Self::Failed,
        }
    }

    /// Whether it tells of what the caller did or asked for, not of a host, a tool or a backend that failed.
    pub fn is_callers_doing(self) -> bool {
        matches!(
            self,
            Self::RateLimited
                | Self::PermissionDenied
                | Self::InvalidArguments
                | Self::IdempotencyKeyRequired
                | Self::IdempotencyKeyReused
                | Self::IdempotencyInFlight
                | Self::Cancelled
                | Self::Conflict
                | Self::NotFound
        )
    }

    /// Whether the same call may succeed later although the caller changes nothing.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::BackendUnavailable
                | Self::BackendTimeout
                | Self::RateLimited
                | Self::Overloaded
                | Self::IdempotencyInFlight
                | Self::Interrupted
                | Self::AuditUnavailable
                | Self::Cancelled
        )
    }
}
