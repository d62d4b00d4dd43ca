//! The smallest plugin: `echo` says back what it is told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_plugin_sdk::{Context, Failure, Hints, Tool, export};

/// Says back what it is told.
struct Echo;

/// What to say.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Said {
    /// The text to say back.
    text: String,
}

/// What was said.
#[derive(Serialize, JsonSchema)]
struct Echoed {
    /// The text, unchanged.
    text: String,
}

impl Tool for Echo {
    const NAME: &'static str = "echo";
    const TITLE: Option<&'static str> = Some("Echo");
    const DESCRIPTION: &'static str = "Returns the given text unchanged. Useful to check that tools can be called at all.";
    const HINTS: Hints = Hints::READ_ONLY.idempotent(true).open_world(false);
    type Input = Said;
    type Output = Echoed;

    fn call(said: Said, _: &Context) -> Result<Echoed, Failure> {
        Ok(Echoed { text: said.text })
    }
}

export!(Echo);

#[cfg(test)]
mod tests {
    use tidegate_plugin_sdk::testing::Host;

    use super::*;

    #[test]
    fn a_text_comes_back_unchanged() {
        let arguments = r#"{"text":"\u0000 \"quoted\" grüße 🌊"}"#;
        let output = PLUGIN.call("echo", arguments, &Host::new().context()).expect("any text can be said");
        assert_eq!(output.structured.as_deref(), Some(arguments));
    }
}
