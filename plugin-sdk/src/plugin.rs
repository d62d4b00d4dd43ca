//! A plugin: the list of its tools, and the way from a name and a JSON text to one of them.

use serde_json::Value;

use crate::{Context, Failure, Hints, Output, Tool, ToolOutput};

/// The tools of a plugin. [`crate::export!`] makes one; tests call it as the host would.
pub struct Plugin {
    tools: &'static [Entry],
}

/// One tool, its types forgotten.
#[derive(Clone, Copy)]
pub struct Entry {
    name: &'static str,
    describe: fn() -> Definition,
    call: fn(&str, &Context) -> Result<Output, Failure>,
}

/// One tool, as clients see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// The name clients call.
    pub name: &'static str,
    /// A name for people.
    pub title: Option<&'static str>,
    /// What the tool does and when to use it.
    pub description: &'static str,
    /// JSON Schema 2020-12 of the arguments.
    pub input_schema: Value,
    /// JSON Schema 2020-12 of the structured answer; none if the tool answers in content blocks.
    pub output_schema: Option<Value>,
    /// MCP tool annotations.
    pub hints: Hints,
}

impl Entry {
    /// The entry of a tool.
    pub const fn of<T: Tool>() -> Entry {
        Entry { name: T::NAME, describe: describe::<T>, call: call::<T> }
    }
}

impl Plugin {
    /// A plugin of these tools.
    ///
    /// # Panics
    ///
    /// At compile time: if a name is not one MCP allows, or appears twice.
    pub const fn new(tools: &'static [Entry]) -> Plugin {
        let mut at = 0;
        while at < tools.len() {
            assert!(is_tool_name(tools[at].name), "a tool name is 1 to 128 characters of `A-Z a-z 0-9 _ . -`");
            let mut before = 0;
            while before < at {
                assert!(!same(tools[before].name, tools[at].name), "two tools of one plugin have the same name");
                before += 1;
            }
            at += 1;
        }
        Plugin { tools }
    }

    /// Describes every tool. The only place where schemas are made: a call never pays for them.
    pub fn describe(&self) -> Vec<Definition> {
        self.tools.iter().map(|entry| (entry.describe)()).collect()
    }

    /// Runs a tool on a JSON text.
    ///
    /// # Errors
    ///
    /// The tool's own failure; `invalid_arguments` if the text does not fit the tool's input; `not_found` if there is no
    /// such tool.
    pub fn call(&self, tool: &str, arguments: &str, context: &Context) -> Result<Output, Failure> {
        match self.tools.iter().find(|entry| entry.name == tool) {
            Some(entry) => (entry.call)(arguments, context),
            None => Err(Failure::not_found(format!("this plugin has no tool `{tool}`"))),
        }
    }
}

fn describe<T: Tool>() -> Definition {
    Definition {
        name: T::NAME,
        title: T::TITLE,
        description: T::DESCRIPTION,
        input_schema: T::input_schema(),
        output_schema: T::Output::schema(),
        hints: T::HINTS,
    }
}

fn call<T: Tool>(arguments: &str, context: &Context) -> Result<Output, Failure> {
    let input = serde_json::from_str(arguments)
        .map_err(|error| Failure::invalid_arguments(format!("the arguments of `{}` do not fit: {error}", T::NAME)))?;
    T::call(input, context)?.into_output()
}

const fn is_tool_name(name: &str) -> bool {
    let name = name.as_bytes();
    let mut at = 0;
    while at < name.len() {
        if !matches!(name[at], b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-') {
            return false;
        }
        at += 1;
    }
    !name.is_empty() && name.len() <= 128
}

const fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use super::*;
    use crate::testing::Host;
    use crate::{Content, NoInput, code};

    struct Double;

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Number {
        value: i64,
    }

    #[derive(Serialize, JsonSchema)]
    struct Doubled {
        value: i64,
    }

    impl Tool for Double {
        const NAME: &'static str = "double";
        const TITLE: Option<&'static str> = Some("Double");
        const DESCRIPTION: &'static str = "Doubles a number.";
        const HINTS: Hints = Hints::READ_ONLY.open_world(false);
        type Input = Number;
        type Output = Doubled;

        fn call(number: Number, _: &Context) -> Result<Doubled, Failure> {
            let value = number.value.checked_mul(2).ok_or_else(|| Failure::failed("the number is too large"))?;
            Ok(Doubled { value })
        }
    }

    struct Picture;

    impl Tool for Picture {
        const NAME: &'static str = "picture";
        const DESCRIPTION: &'static str = "Shows a picture.";
        type Input = NoInput;
        type Output = Content;

        fn call(_: NoInput, _: &Context) -> Result<Content, Failure> {
            Ok(Content::new().image("image/png", b"png"))
        }
    }

    crate::export!(Double, Picture);

    #[test]
    fn a_typed_answer_is_structured_and_leaves_the_text_to_the_host() {
        let output = PLUGIN.call("double", r#"{"value":21}"#, &Host::new().context()).expect("21 can be doubled");
        assert_eq!(output, Output { structured: Some(r#"{"value":42}"#.to_owned()), content: "[]".to_owned() });
    }

    #[test]
    fn arguments_that_do_not_fit_are_the_callers_mistake() {
        for arguments in ["{}", r#"{"value":"x"}"#, r#"{"value":1,"extra":2}"#, "nonsense"] {
            let failure = PLUGIN.call("double", arguments, &Host::new().context()).expect_err(arguments);
            assert_eq!(failure.code, code::INVALID_ARGUMENTS, "{arguments}");
            assert!(failure.message.contains("`double`"), "{}", failure.message);
        }
    }

    #[test]
    fn a_tools_own_failure_reaches_the_caller_unchanged() {
        let arguments = json!({ "value": i64::MAX }).to_string();
        let failure = PLUGIN.call("double", &arguments, &Host::new().context()).expect_err("it overflows");
        assert_eq!(failure, Failure::failed("the number is too large"));
    }

    #[test]
    fn an_unknown_tool_is_not_found() {
        let failure = PLUGIN.call("triple", "{}", &Host::new().context()).expect_err("there is no such tool");
        assert_eq!(failure.code, code::NOT_FOUND);
    }

    #[test]
    fn only_a_structured_answer_has_a_schema() {
        let definitions = PLUGIN.describe();
        assert_eq!(definitions.iter().map(|tool| tool.name).collect::<Vec<_>>(), ["double", "picture"]);
        assert!(definitions[0].output_schema.is_some());
        assert_eq!(definitions[1].output_schema, None);
        assert_eq!(
            serde_json::to_value(definitions[0].hints).expect("hints are plain data"),
            json!({ "readOnlyHint": true, "openWorldHint": false })
        );
    }

    #[test]
    fn a_tool_without_arguments_takes_an_empty_object_only() {
        let schema = Picture::input_schema();
        assert_eq!(schema["type"], "object");
        assert_eq!(schema["additionalProperties"], false);
        assert!(PLUGIN.call("picture", "{}", &Host::new().context()).is_ok());
        assert!(PLUGIN.call("picture", r#"{"x":1}"#, &Host::new().context()).is_err());
    }

    #[test]
    fn tool_names_are_those_of_the_protocol() {
        assert!(is_tool_name("a.b-c_D9"));
        assert!(!is_tool_name(""));
        assert!(!is_tool_name("has space"));
        assert!(!is_tool_name("é"));
        assert!(!same("ab", "ba"));
    }
}
