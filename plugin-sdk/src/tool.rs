//! What an author writes: a tool, its hints, and what it answers with.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Content, Context, Failure, schema};

/// One tool of a plugin.
///
/// The type is only a name for the tool: it is never constructed, and a call gets everything through its arguments.
pub trait Tool {
    /// The name clients call: 1 to 128 characters of `A-Z a-z 0-9 _ . -`, unique among all plugins of a host.
    const NAME: &'static str;

    /// A name for people.
    const TITLE: Option<&'static str> = None;

    /// What the tool does and when to use it, written for a language model.
    const DESCRIPTION: &'static str;

    /// MCP tool annotations.
    const HINTS: Hints = Hints::NONE;

    /// The arguments. Their schema is what the host advertises and validates; doc comments on fields become their
    /// descriptions. [`NoInput`] for a tool without arguments.
    type Input: DeserializeOwned + JsonSchema;

    /// The answer: any type that is `Serialize + JsonSchema` and becomes a JSON object (a *structured* answer, of which
    /// the host also writes the text), or [`Content`].
    type Output: ToolOutput;

    /// Runs the tool once.
    ///
    /// # Errors
    ///
    /// A [`Failure`] is the tool's answer too: it tells the agent what happened and what to do. It must not hold secrets.
    fn call(input: Self::Input, context: &Context) -> Result<Self::Output, Failure>;

    /// The JSON Schema 2020-12 of the arguments, derived from [`Tool::Input`]. Override it to write the schema by hand;
    /// `Input` must then accept what the schema allows.
    fn input_schema() -> Value {
        schema::input::<Self::Input>()
    }
}

/// The arguments of a tool that takes none.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoInput {}

/// MCP tool annotations: hints for clients and people about what a tool does. The host decides nothing by them; what a
/// tool may do stands in its manifest. (MCP 2026-07-28, `ToolAnnotations`.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hints {
    #[serde(skip_serializing_if = "Option::is_none")]
    read_only_hint: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destructive_hint: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotent_hint: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    open_world_hint: Option<bool>,
}

impl Hints {
    /// Says nothing: clients then expect the worst.
    pub const NONE: Hints = Hints { read_only_hint: None, destructive_hint: None, idempotent_hint: None, open_world_hint: None };

    /// A tool that changes nothing, anywhere.
    pub const READ_ONLY: Hints = Hints { read_only_hint: Some(true), ..Hints::NONE };

    /// A tool that changes something.
    pub const WRITES: Hints = Hints { read_only_hint: Some(false), ..Hints::NONE };

    /// Whether the tool may destroy something, rather than only add.
    pub const fn destructive(self, yes: bool) -> Hints {
        Hints { destructive_hint: Some(yes), ..self }
    }

    /// Whether calling the tool again with the same arguments has no further effect.
    pub const fn idempotent(self, yes: bool) -> Hints {
        Hints { idempotent_hint: Some(yes), ..self }
    }

    /// Whether the tool deals with an open world (such as the web) rather than a closed one (such as one database).
    pub const fn open_world(self, yes: bool) -> Hints {
        Hints { open_world_hint: Some(yes), ..self }
    }
}

/// The answer of a call as it crosses to the host: JSON texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The structured answer; present exactly if [`ToolOutput::schema`] is.
    pub structured: Option<String>,
    /// An array of MCP content blocks. `[]` beside a structured answer leaves the text to the host.
    pub content: String,
}

/// What a tool may answer with. Every `Serialize + JsonSchema` type is one; so is [`Content`]. Implement it to answer
/// with both.
pub trait ToolOutput {
    /// The JSON Schema 2020-12 of the structured answer, if there is one.
    fn schema() -> Option<Value>;

    /// Writes the answer as JSON.
    ///
    /// # Errors
    ///
    /// A failure of code `failed` if the value has no JSON form, such as a map whose keys are not strings.
    fn into_output(self) -> Result<Output, Failure>;
}

impl<T: Serialize + JsonSchema> ToolOutput for T {
    fn schema() -> Option<Value> {
        Some(schema::output::<T>())
    }

    fn into_output(self) -> Result<Output, Failure> {
        Ok(Output { structured: Some(to_json(&self)?), content: "[]".to_owned() })
    }
}

impl ToolOutput for Content {
    fn schema() -> Option<Value> {
        None
    }

    fn into_output(self) -> Result<Output, Failure> {
        Ok(Output { structured: None, content: to_json(&self.blocks)? })
    }
}

fn to_json<T: Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::failed(format!("the answer has no JSON form: {error}")))
}
