//! What another version of a plugin could do that the one before could not: each difference, and whether somebody has to approve it.
//!
//! A difference **widens** unless it is known to do no more than before:
//!
//! | widens | narrows |
//! |---|---|
//! | a backend; an origin that was not named itself | one that is gone |
//! | more memory, fuel, time | less |
//! | a new tool | a tool that is gone |
//! | read becomes write; write becomes read, as then calls are not held to a key | |
//! | a new scope; one whose conditions are not all implied by the old ones; one that callers need not hold any more | conditions added to a read |
//! | conditions added to a write, as callers who hold less may then call it; something clients need not be able to do any more | |
//! | rows that are decided no longer, or elsewhere in the result | rows that are decided now |
//! | an argument that is redacted no longer; a lower class of risk, so that records go sooner | the reverse |
//! | another argument that is the key; a backend that is said to honour keys, so that it is asked again | it is not said any more |
//! | other attributes of a row type, on which policies decide | |
//!
//! What the model reads of a tool, such as its description and schemas, **rewords** it: text is how a tool that is trusted talks a model
//! into something (tool poisoning), so that has to be approved, too. All else only **alters**.

mod compare;
mod text;

use serde::{Deserialize, Serialize};

use super::ToolName;

pub use compare::compare;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What it amounts to.
    pub weight: Weight,
    /// The tool that it is about; none if it is about the whole plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<ToolName>,
    /// What of it differs.
    pub aspect: Aspect,
    /// Where in a schema: a JSON pointer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// What was said before; none if nothing was.
    pub before: Option<String>,
    /// What is said now; none if nothing is.
    pub after: Option<String>,
}

/// What a difference amounts to, gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// The plugin can do something that it could not do, or is held to less.
    Widens,
    /// Models and people are told something else.
    Rewords,
    /// It can do less, or is held to more.
    Narrows,
    /// Neither.
    Alters,
}

/// What differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aspect {
    /// The version its author gave it.
    Version,
    /// The contract it is built against.
    Contract,
    /// A logical backend.
    Backend,
    /// A literal origin.
    Origin,
    /// The cap on memory.
    Memory,
    /// A row type.
    Resource,
    /// A tool as such.
    Tool,
    /// Read or write.
    Effect,
    /// A scope that callers must hold.
    Scope,
    /// Where the rows of a result are.
    Rows,
    /// An argument that is never stored in clear.
    Redact,
    /// The class of retention.
    Risk,
    /// The argument that is the idempotency key.
    KeyFrom,
    /// Whether the backend honours keys.
    BackendKeyed,
    /// The most fuel of a call.
    Fuel,
    /// The longest a call may run.
    Deadline,
    /// Whether calls are known to take long.
    Slow,
    /// What the client must be able to do.
    RequiresClient,
    /// What it may ask of its caller.
    Asks,
    /// What it makes the host do under the conformance profile.
    TestHook,
    /// The name for people.
    Title,
    /// What the model is told.
    Description,
    /// The arguments.
    InputSchema,
    /// The structured output.
    OutputSchema,
    /// MCP annotations.
    Annotations,
}

impl Change {
    /// Whether somebody has to approve it.
    pub fn needs_approval(&self) -> bool {
        matches!(self.weight, Weight::Widens | Weight::Rewords)
    }
}

impl Aspect {
    /// Whether it is something that models and people are told, rather than something the plugin can do.
    pub fn is_words(self) -> bool {
        matches!(self, Self::Title | Self::Description | Self::InputSchema | Self::OutputSchema | Self::Annotations)
    }

    /// The aspect in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Contract => "contract",
            Self::Backend => "backend",
            Self::Origin => "origin",
            Self::Memory => "memory",
            Self::Resource => "resource",
            Self::Tool => "tool",
            Self::Effect => "effect",
            Self::Scope => "scope",
            Self::Rows => "rows",
            Self::Redact => "redact",
            Self::Risk => "risk",
            Self::KeyFrom => "key_from",
            Self::BackendKeyed => "backend_keyed",
            Self::Fuel => "fuel",
            Self::Deadline => "deadline",
            Self::Slow => "slow",
            Self::RequiresClient => "requires_client",
            Self::Asks => "asks",
            Self::TestHook => "test_hook",
            Self::Title => "title",
            Self::Description => "description",
            Self::InputSchema => "input schema",
            Self::OutputSchema => "output schema",
            Self::Annotations => "annotations",
        }
    }
}

#[cfg(test)]
mod tests;
