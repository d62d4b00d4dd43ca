//! Greets people: a tool to start from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_plugin_sdk::{Context, Failure, Hints, Level, Tool, export};

struct Greet;

/// Whom to greet.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Whom {
    /// The person's name.
    name: String,
}

/// The greeting.
#[derive(Serialize, JsonSchema)]
struct Greeting {
    /// What to say.
    greeting: String,
}

impl Tool for Greet {
    const NAME: &'static str = "{{tool}}";
    const DESCRIPTION: &'static str = "Greets a person by name.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = Whom;
    type Output = Greeting;

    fn call(whom: Whom, context: &Context) -> Result<Greeting, Failure> {
        let name = whom.name.trim();
        if name.is_empty() {
            return Err(Failure::invalid_arguments("`name` is empty; say whom to greet"));
        }
        context.log(Level::Info, &format!("{} greets {name}", context.subject()));
        Ok(Greeting { greeting: format!("Hello, {name}!") })
    }
}

export!(Greet);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_plugin_sdk::code;
    use tidegate_plugin_sdk::testing::Host;

    use super::*;

    #[test]
    fn a_person_is_greeted_by_name() {
        let host = Host::new().subject("u7");
        let answer = host.call(&PLUGIN, "{{tool}}", json!({ "name": "Ada" }));
        assert_eq!(answer, Ok(json!({ "greeting": "Hello, Ada!" })));
        assert_eq!(host.logs(), [(Level::Info, "u7 greets Ada".to_owned())]);
    }

    #[test]
    fn nobody_is_the_callers_mistake() {
        let failure = Host::new().call(&PLUGIN, "{{tool}}", json!({ "name": " " })).expect_err("there is nobody to greet");
        assert_eq!(failure.code, code::INVALID_ARGUMENTS);
    }
}
