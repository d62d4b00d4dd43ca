//! How a tool says that it could not do what it was asked to.

use std::fmt;

/// The words of Tidegate's error envelope that a tool may use. The list only grows.
pub mod code {
    /// A system behind the tool does not answer.
    pub const BACKEND_UNAVAILABLE: &str = "backend_unavailable";
    /// A system behind the tool took too long; what it did is not known.
    pub const BACKEND_TIMEOUT: &str = "backend_timeout";
    /// Too many requests; later ones will work.
    pub const RATE_LIMITED: &str = "rate_limited";
    /// The caller may not do this.
    pub const PERMISSION_DENIED: &str = "permission_denied";
    /// The arguments make no sense; other ones would.
    pub const INVALID_ARGUMENTS: &str = "invalid_arguments";
    /// The caller gave up, and the tool stopped.
    pub const CANCELLED: &str = "cancelled";
    /// What was asked for contradicts the state of things, such as paying what is already paid.
    pub const CONFLICT: &str = "conflict";
    /// What was asked for does not exist.
    pub const NOT_FOUND: &str = "not_found";
    /// Anything else.
    pub const FAILED: &str = "failed";
}

/// The answer of a call that did not work, written for the agent that made it.
///
/// The message reaches the caller, so it holds no secrets. It says what happened, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// One of the words in [`code`]; the host turns one it does not know into `failed`.
    pub code: String,
    /// What happened and what to do about it.
    pub message: String,
    /// After how many seconds the same call may work.
    pub retry_after_seconds: Option<u32>,
}

impl Failure {
    /// A failure with the given [`code`].
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Failure {
        Failure { code: code.into(), message: message.into(), retry_after_seconds: None }
    }

    /// What was asked for does not exist.
    pub fn not_found(message: impl Into<String>) -> Failure {
        Failure::new(code::NOT_FOUND, message)
    }

    /// What was asked for contradicts the state of things.
    pub fn conflict(message: impl Into<String>) -> Failure {
        Failure::new(code::CONFLICT, message)
    }

    /// The arguments make no sense.
    pub fn invalid_arguments(message: impl Into<String>) -> Failure {
        Failure::new(code::INVALID_ARGUMENTS, message)
    }

    /// Anything else.
    pub fn failed(message: impl Into<String>) -> Failure {
        Failure::new(code::FAILED, message)
    }

    /// Says after how many seconds the same call may work.
    pub fn retry_after(self, seconds: u32) -> Failure {
        Failure { retry_after_seconds: Some(seconds), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Failure {}
