//! Editing a text file: parts of it are replaced, and nothing that somebody else wrote meanwhile is lost.

use schemars::JsonSchema;
use serde::Deserialize;
use similar::TextDiff;
use tidegate_plugin_sdk::http::Method;
use tidegate_plugin_sdk::{Content, Context, Failure, Hints, Tool, code};

use crate::path::Path;
use crate::{read, requests};

mod replace;

/// Edits a file.
pub(crate) struct EditFile;

/// Which file, and what to change in it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Edits {
    /// The file, such as `notes/a.txt`.
    path: String,
    /// What to replace, one after another.
    #[schemars(length(min = 1, max = 256))]
    edits: Vec<Edit>,
    /// Preview changes using git-style diff format: nothing is written.
    #[serde(default)]
    dry_run: bool,
}

/// One replacement.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Edit {
    /// Text to search for: it must be there once. Whole lines are also found with other indentation.
    #[schemars(length(min = 1))]
    old_text: String,
    /// Text to replace it with.
    new_text: String,
}

impl Tool for EditFile {
    const NAME: &'static str = "edit_file";
    const TITLE: Option<&'static str> = Some("Edit a file");
    const DESCRIPTION: &'static str = "Replaces parts of a text file, and returns a git-style diff of what changed. Each `oldText` must be \
        in the file once. With `dryRun` nothing is written. If somebody else changes the file meanwhile, nothing is written either, and \
        the failure is `conflict`: read it and try again.";
    const HINTS: Hints = Hints::WRITES.destructive(true).idempotent(false).open_world(false);
    type Input = Edits;
    type Output = Content;

    fn call(wanted: Edits, context: &Context) -> Result<Content, Failure> {
        let path = Path::parse(&wanted.path)?;
        let before = read::whole(path, context)?;
        // Callers write line breaks as they see them; the file keeps its own. One with both kinds is taken to the letter.
        let is_crlf = before.text.contains("\r\n") && !before.text.replace("\r\n", "").contains('\n');
        let plain = |text: &str| if is_crlf { text.replace("\r\n", "\n") } else { text.to_owned() };
        let mut text = plain(&before.text);
        for (index, edit) in wanted.edits.iter().enumerate() {
            text = replace::once(&text, &plain(&edit.old_text), &plain(&edit.new_text)).map_err(|problem| {
                Failure::conflict(format!("edit {} of `{}`: {problem}; nothing was changed", index + 1, path.as_str()))
            })?;
        }
        let diff = diff(path.as_str(), &plain(&before.text), &text);
        let after = if is_crlf { text.replace('\n', "\r\n") } else { text };
        if !wanted.dry_run && after != before.text {
            let request = requests::request(Method::Put, path, context).header("if-match", &before.tag);
            requests::send(request.body("application/octet-stream", after)).map_err(|failure| match failure.code.as_str() {
                code::CONFLICT => Failure::conflict(format!("{}; read it and edit it anew", failure.message)),
                _ => failure,
            })?;
        }
        Ok(Content::new().text(diff))
    }
}

/// A diff as git shows it, in a fence that is longer than any in it.
fn diff(path: &str, before: &str, after: &str) -> String {
    let diff = TextDiff::from_lines(before, after).unified_diff().context_radius(3).header(path, path).to_string();
    let mut fence = "```".to_owned();
    while diff.contains(&fence) {
        fence.push('`');
    }
    format!("{fence}diff\n{diff}{fence}\n")
}
