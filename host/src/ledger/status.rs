//! Where a call stands, in a word.

use serde::{Deserialize, Serialize};

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallStatus {
    /// It was accepted and waits for its turn.
    Queued,
    /// It asked its caller something, and waits for the answers.
    Asking,
    /// It has an intent and no outcome yet.
    Running,
    /// It ran to its end, well or not.
    Done,
    /// It ended without having changed anything, or never started; its key is free again.
    Released,
    /// It may have changed something, and nobody knows. It stays so until somebody finds out.
    Unknown,
}

impl CallStatus {
    /// The status as people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Asking => "asking",
            Self::Running => "running",
            Self::Done => "done",
            Self::Released => "released",
            Self::Unknown => "unknown",
        }
    }
}
