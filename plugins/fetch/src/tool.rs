//! The tool: its arguments, and how it answers.

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_plugin_sdk::{Content, Context, Failure, Hints, Tool};

use crate::page::{self, Kind};
use crate::{markdown, window};

/// Fetches a page.
pub(crate) struct Fetch;

/// Which page, and which part of it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// URL to fetch.
    #[schemars(length(min = 1, max = 4096), extend("format" = "uri"))]
    url: String,
    /// Maximum number of characters to return.
    #[serde(default = "max_length")]
    #[schemars(range(min = 1, max = 999_999))]
    max_length: usize,
    /// On return output starting at this character index, useful if a previous fetch was truncated and more context is required.
    #[serde(default)]
    #[schemars(range(max = 100_000_000))]
    start_index: usize,
    /// Get the actual HTML content of the requested page, without simplification.
    #[serde(default)]
    raw: bool,
}

fn max_length() -> usize {
    5000
}

impl Tool for Fetch {
    const NAME: &'static str = "fetch";
    const TITLE: Option<&'static str> = Some("Fetch a page");
    const DESCRIPTION: &'static str = "Fetches a URL from the internet and returns its contents as Markdown, or as they are if they \
        are not HTML. Long contents are truncated; the answer then says which start_index comes next. Only servers that the \
        operator allows can be reached.";
    const HINTS: Hints = Hints::READ_ONLY.open_world(true);
    type Input = Wanted;
    type Output = Content;

    fn call(wanted: Wanted, context: &Context) -> Result<Content, Failure> {
        let page = page::get(&wanted.url, context)?;
        let (prefix, text) = match page.kind {
            Kind::Html if !wanted.raw => (String::new(), markdown::of(&page.text, &page.url)),
            _ => {
                let kind = if page.content_type.is_empty() { "unknown" } else { &page.content_type };
                let prefix = format!("Content type {kind} cannot be simplified to markdown, but here is the raw content:\n");
                (prefix, page.text)
            }
        };
        let part = window::of(&text, wanted.start_index, wanted.max_length);
        let from = if page.is_redirected { format!("{} (redirected from {})", page.url, wanted.url) } else { wanted.url };
        Ok(Content::new().text(format!("{prefix}Contents of {from}:\n{part}")))
    }
}
