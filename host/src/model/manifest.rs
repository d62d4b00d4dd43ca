//! A plugin's manifest, `plugin.toml`, as data: what admins and operators review without running code.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{Bytes, Effect, Origin, QuestionKind, Risk, Scope, Span, ToolName};

/// The most tools of one plugin.
pub const MAX_TOOLS: usize = 256;

/// One plugin: its sandbox, its row types and its tools.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The plugin's name: lower-case letters, digits and `-`; the component lies beside the manifest as `<name>.wasm`.
    pub name: String,
    /// The plugin's own version (semver).
    pub version: String,
    /// The contract version the component is built against, such as `0.1`.
    pub contract: String,
    /// Limits and ways out of the sandbox.
    #[serde(default)]
    pub sandbox: SandboxManifest,
    /// Row types that scopes and policies can speak of.
    #[serde(default, rename = "resource")]
    pub resources: Vec<ResourceManifest>,
    /// The tools; `describe` must name exactly these.
    #[serde(default, rename = "tool")]
    pub tools: Vec<ToolManifest>,
}

/// `[sandbox]`: what the guest gets, and all it gets.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SandboxManifest {
    /// Hard cap on the guest's linear memory.
    pub memory: Bytes,
    /// Logical backends the guest may name; the operator defines them in `tidegate.toml`.
    pub backends: Vec<String>,
    /// Literal origins the guest may reach, each also subject to the operator's allow-list.
    pub origins: Vec<Origin>,
}

impl Default for SandboxManifest {
    fn default() -> Self {
        Self { memory: Bytes::mib(32), backends: Vec::new(), origins: Vec::new() }
    }
}

/// `[[resource]]`: a row type.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceManifest {
    /// The name scopes use, such as `invoices`.
    pub name: String,
    /// The type's name in policies, such as `Invoice`.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Attribute names and their Cedar types (`String`, `Long`, `Bool`).
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// `[[tool]]`: one tool and the limits of one call of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolManifest {
    /// The tool's name.
    pub name: ToolName,
    /// `read` or `write`.
    pub effect: Effect,
    /// JSON pointer to an argument that already is an idempotency key.
    pub key_from: Option<String>,
    /// The backend honours `Idempotency-Key`, so an unknown outcome may be settled by asking again.
    #[serde(default)]
    pub backend_keyed: bool,
    /// The scopes a caller must hold, all of them.
    pub scopes: Vec<Scope>,
    /// The most fuel one call may burn.
    #[serde(default = "default_fuel")]
    pub fuel: u64,
    /// The longest one call may run.
    #[serde(default = "default_deadline")]
    pub deadline: Span,
    /// The retention class of the call's audit records.
    #[serde(default)]
    pub risk: Risk,
    /// JSON pointers to arguments that are never stored in clear.
    #[serde(default)]
    pub redact: Vec<String>,
    /// Where the rows in the result are. Must be said where a scope has conditions.
    pub rows: Option<Rows>,
    /// Calls usually take longer than callers wait: clients that take tasks get one as soon as a call is accepted, rather than
    /// once the sync budget is over.
    #[serde(default)]
    pub slow: bool,
    /// MCP client capabilities (such as `sampling`) and extensions (such as `io.modelcontextprotocol/tasks`) without which the tool
    /// refuses to run.
    #[serde(default)]
    pub requires_client: Vec<String>,
    /// What the tool may ask of its caller while it runs, and nothing else.
    #[serde(default)]
    pub asks: BTreeSet<QuestionKind>,
    /// A host event that a call of the tool triggers; only under the conformance profile.
    pub test_hook: Option<TestHook>,
}

/// What a host does once a fixture of the conformance suite has run that no plugin could make it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestHook {
    /// The list of tools changed.
    ToolsChanged,
    /// The list of prompts changed. Nothing is announced: no plugin has prompts.
    PromptsChanged,
    /// It gives the answer of a call that is asked for later as if the tool were gone by then: a JSON-RPC error.
    ProtocolError,
}

fn default_fuel() -> u64 {
    50_000_000
}

fn default_deadline() -> Span {
    Span::seconds(10)
}

/// Where the rows of a tool's result are, so that each can be decided by policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rows {
    /// The result holds no rows: `rows = "none"`.
    None,
    /// `rows = { pointer = "/invoices", resource = "invoices" }`.
    At(RowsOutput),
}

/// The pointer to the rows and their type.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowsOutput {
    /// JSON pointer to the array of rows in the structured output.
    pub pointer: String,
    /// The `[[resource]]` each row is one of.
    pub resource: String,
}

impl ToolManifest {
    /// Where the rows in the result are, if it holds any.
    pub fn rows_at(&self) -> Option<&RowsOutput> {
        match &self.rows {
            Some(Rows::At(rows)) => Some(rows),
            Some(Rows::None) | None => None,
        }
    }
}

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Word(String),
            Table(RowsOutput),
        }
        match Written::deserialize(deserializer) {
            Ok(Written::Word(word)) if word == "none" => Ok(Self::None),
            Ok(Written::Table(rows)) => Ok(Self::At(rows)),
            _ => Err(serde::de::Error::custom(
                "rows is `\"none\"` or a table such as `{ pointer = \"/invoices\", resource = \"invoices\" }`",
            )),
        }
    }
}
