//! What a plugin shows of itself without running: its manifest, and what it tells clients of its tools.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Manifest, ToolName};

/// What people review before they let a plugin in, and compare with the version before.
#[derive(Clone, Debug)]
pub struct Face {
    /// What it asks for.
    pub manifest: Manifest,
    /// What clients, and the models behind them, read of its tools.
    pub published: BTreeMap<ToolName, Published>,
}

/// What a client reads of one tool (MCP 2026-07-28, Tool).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Published {
    /// The name for people.
    pub title: Option<String>,
    /// What the tool does, for the model.
    pub description: String,
    /// JSON Schema of the arguments, as the guest wrote it.
    pub input_schema: Value,
    /// JSON Schema of the structured output.
    pub output_schema: Option<Value>,
    /// MCP tool annotations.
    pub annotations: Option<Value>,
}
