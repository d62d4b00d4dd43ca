//! What is known of a tool before it runs: its name, its effect, its retention class.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The host's own tool, which asks for the answer of a call that went on without its caller: agents can call tools, not URLs.
/// No plugin may have one of that name.
pub const POLL_TOOL: &str = "get_call_result";

/// A tool's name, unique over all plugins: 1–64 of `A-Z a-z 0-9 _ - .` (the intersection of the MCP text and its suite).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ToolName(Arc<str>);

impl ToolName {
    /// The longest name, in characters.
    pub const MAX_LENGTH: usize = 64;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ToolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for ToolName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for ToolName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = (1..=Self::MAX_LENGTH).contains(&text.len());
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        if fits && plain {
            Ok(Self(text.into()))
        } else {
            Err(format!("`{text}` is not a tool name (1 to 64 of letters, digits, `_`, `-` and `.`)"))
        }
    }
}

impl<'de> Deserialize<'de> for ToolName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Whether a call may change the world. Write tools demand an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Running it twice changes nothing more than running it once.
    Read,
    /// It changes state somewhere; it runs at most once per key.
    Write,
}

impl Effect {
    /// `read` or `write`, as manifests spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// The retention class of a tool's audit records, ordered by how long they are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    /// Kept for the short default.
    Low,
    /// Kept for the usual default.
    #[default]
    Medium,
    /// Kept for at least six months.
    High,
}

impl Risk {
    /// The class that manifests spell `word`.
    pub fn read(word: &str) -> Option<Self> {
        [Self::Low, Self::Medium, Self::High].into_iter().find(|risk| risk.as_str() == word)
    }

    /// `low`, `medium` or `high`, as manifests spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}
