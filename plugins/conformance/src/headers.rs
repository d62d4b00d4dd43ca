//! A tool with arguments that HTTP clients mirror into headers (scenario `http-custom-header-server-validation`).

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_plugin_sdk::{Content, Context, Failure, Hints, Tool};

pub(crate) struct TestCustomHeaders;

/// Arguments, two of which HTTP clients also send as `Mcp-Param-*` headers.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    /// Where to look.
    #[schemars(extend("x-mcp-header" = "Region"))]
    region: String,
    /// How urgent it is.
    #[schemars(extend("x-mcp-header" = "Priority"))]
    #[serde(default)]
    priority: i64,
    /// What to look for.
    #[serde(default)]
    query: String,
}

impl Tool for TestCustomHeaders {
    const NAME: &'static str = "test_custom_headers";
    const DESCRIPTION: &'static str = "Takes arguments that are also sent as HTTP headers.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = Query;
    type Output = Content;

    fn call(query: Query, _: &Context) -> Result<Content, Failure> {
        let Query { region, priority, query } = query;
        Ok(Content::new().text(format!("Looked for `{query}` in `{region}` with priority {priority}.")))
    }
}
