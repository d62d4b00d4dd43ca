//! Attacks by the answer: too large, too deep, or not what was promised. And one answer that is none.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidegate_plugin_sdk::{Content, Context, Failure, NoInput, Output, Tool, ToolOutput};

const MEBIBYTE: usize = 1024 * 1024;

/// Does its work.
pub(crate) struct Honest;

/// Two numbers.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Summands {
    /// One.
    a: i32,
    /// The other.
    b: i32,
}

/// Their sum.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Sum {
    /// The sum.
    sum: i64,
}

impl Tool for Honest {
    const NAME: &'static str = "honest";
    const DESCRIPTION: &'static str = "Adds two numbers, quickly and correctly.";
    type Input = Summands;
    type Output = Sum;

    fn call(Summands { a, b }: Summands, _: &Context) -> Result<Sum, Failure> {
        Ok(Sum { sum: i64::from(a) + i64::from(b) })
    }
}

/// Answers with too much.
pub(crate) struct HugeOutput;

/// How much.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Size {
    /// In MiB; 200 unless said otherwise.
    #[serde(default = "two_hundred")]
    mebibytes: usize,
}

impl Tool for HugeOutput {
    const NAME: &'static str = "huge_output";
    const DESCRIPTION: &'static str = "Answers with a very long text.";
    type Input = Size;
    type Output = Raw;

    fn call(size: Size, _: &Context) -> Result<Raw, Failure> {
        // Made in place: with a copy the sandbox would stop it at half the size.
        let mut content = String::with_capacity(size.mebibytes * MEBIBYTE + 64);
        content.push_str(r#"[{"type":"text","text":""#);
        content.extend(std::iter::repeat_n('x', size.mebibytes * MEBIBYTE));
        content.push_str(r#""}]"#);
        Ok(Raw { structured: "{}".to_owned(), content })
    }
}

/// Answers with JSON that overflows the stack of a careless reader.
pub(crate) struct DeepOutput;

/// How deep.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Depth {
    /// In arrays; a million unless said otherwise.
    #[serde(default = "a_million")]
    depth: usize,
}

impl Tool for DeepOutput {
    const NAME: &'static str = "deep_output";
    const DESCRIPTION: &'static str = "Answers with very deeply nested arrays.";
    type Input = Depth;
    type Output = Raw;

    fn call(Depth { depth }: Depth, _: &Context) -> Result<Raw, Failure> {
        let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        Ok(Raw { structured: format!(r#"{{"deep":{nested}}}"#), content: "[]".to_owned() })
    }
}

/// Answers with texts that are not what the contract says they are.
pub(crate) struct GarbageOutput;

/// What to answer.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Garbage {
    /// The text to return as structured answer.
    #[serde(default = "no_json")]
    structured: String,
    /// The text to return as content.
    #[serde(default = "no_json")]
    content: String,
}

impl Tool for GarbageOutput {
    const NAME: &'static str = "garbage_output";
    const DESCRIPTION: &'static str = "Answers with the given texts, whether or not they are JSON.";
    type Input = Garbage;
    type Output = Raw;

    fn call(Garbage { structured, content }: Garbage, _: &Context) -> Result<Raw, Failure> {
        Ok(Raw { structured, content })
    }
}

/// Breaks the promise of its own schema.
pub(crate) struct BadStructured;

/// An answer that promises a number and holds a text.
pub(crate) struct Broken;

impl Tool for BadStructured {
    const NAME: &'static str = "bad_structured";
    const DESCRIPTION: &'static str = "Answers with something its output schema forbids.";
    type Input = NoInput;
    type Output = Broken;

    fn call(_: NoInput, _: &Context) -> Result<Broken, Failure> {
        Ok(Broken)
    }
}

impl ToolOutput for Broken {
    fn schema() -> Option<Value> {
        Some(json!({ "type": "object", "properties": { "sum": { "type": "integer" } }, "required": ["sum"] }))
    }

    fn into_output(self) -> Result<Output, Failure> {
        Ok(Output { structured: Some(r#"{"sum":"forty-two"}"#.to_owned()), content: "[]".to_owned() })
    }
}

/// Fails in words of its own.
pub(crate) struct StrangeFailure;

/// How to fail.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Strange {
    /// The code; a word the host does not know unless said otherwise.
    #[serde(default = "no_code")]
    code: String,
    /// How long the message is, in bytes.
    #[serde(default)]
    message_bytes: usize,
    /// After how many seconds to try again.
    retry_after_seconds: Option<u32>,
}

impl Tool for StrangeFailure {
    const NAME: &'static str = "strange_failure";
    const DESCRIPTION: &'static str = "Fails with the given code and a message of the given length.";
    type Input = Strange;
    type Output = Content;

    fn call(strange: Strange, _: &Context) -> Result<Content, Failure> {
        let Strange { code, message_bytes, retry_after_seconds } = strange;
        Err(Failure { code, message: "x".repeat(message_bytes), retry_after_seconds })
    }
}

/// An answer that crosses to the host as it is.
pub(crate) struct Raw {
    structured: String,
    content: String,
}

impl ToolOutput for Raw {
    fn schema() -> Option<Value> {
        Some(json!({ "type": "object" }))
    }

    fn into_output(self) -> Result<Output, Failure> {
        Ok(Output { structured: Some(self.structured), content: self.content })
    }
}

fn two_hundred() -> usize {
    200
}

fn a_million() -> usize {
    1_000_000
}

fn no_json() -> String {
    "{\"this\": is no JSON".to_owned()
}

fn no_code() -> String {
    "all_is_well".to_owned()
}
