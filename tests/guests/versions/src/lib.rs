//! A plugin that says which version of itself answers. Tests make another version, or another plugin, by changing its bytes.

use std::hint::black_box;

use schemars::JsonSchema;
use serde::Serialize;
use tidegate_plugin_sdk::{Context, Failure, Hints, NoInput, Tool, export};

/// Stands in the component as it stands here: the digits are changed.
static VERSION: [u8; 16] = *b"version-00000000";

/// Says which version it is.
struct WhichVersion;

/// The version.
#[derive(Serialize, JsonSchema)]
struct Version {
    /// What stands in the component.
    version: String,
}

impl Tool for WhichVersion {
    const NAME: &'static str = "which_version_0000";
    const DESCRIPTION: &'static str = "Says which version of the plugin answers.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = NoInput;
    type Output = Version;

    fn call(_: NoInput, _: &Context) -> Result<Version, Failure> {
        // Read where it lies, rather than woven into the code.
        Ok(Version { version: String::from_utf8_lossy(black_box(&VERSION)).into_owned() })
    }
}

export!(WhichVersion);
