//! Finding files, and what there is to know of one.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tidegate_plugin_sdk::http::Method;
use tidegate_plugin_sdk::{Content, Context, Failure, Hints, Tool};

use crate::glob;
use crate::listing::more;
use crate::path::Path;
use crate::requests::{self, MAX_DEPTH};

/// Searches for files and folders by name.
pub(crate) struct SearchFiles;

/// Where, what, and what not.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Wanted {
    /// The folder to search in, such as `docs`.
    path: String,
    /// What to look for: `*.txt` in the folder itself, `**/*.txt` in all folders below it.
    #[schemars(length(min = 1, max = 1024))]
    pattern: String,
    /// Patterns of what to leave out, such as `node_modules` or `*.log`.
    #[serde(default)]
    #[schemars(length(max = 64))]
    exclude_patterns: Vec<String>,
}

impl Tool for SearchFiles {
    const NAME: &'static str = "search_files";
    const TITLE: Option<&'static str> = Some("Search for files");
    const DESCRIPTION: &'static str = "Searches a folder and all folders in it for files and folders whose path fits a glob pattern, and \
        returns their paths. '*.ext' fits files in the folder itself, '**/*.ext' those in all folders below.";
    const HINTS: Hints = Hints::READ_ONLY.open_world(false);
    type Input = Wanted;
    type Output = Content;

    fn call(wanted: Wanted, context: &Context) -> Result<Content, Failure> {
        let path = Path::parse(&wanted.path)?;
        let listing = requests::list(path, MAX_DEPTH, context)?;
        let left = glob::exclude(listing.entries, &wanted.exclude_patterns);
        let fitting = left.iter().filter(|entry| glob::fits(&entry.path, &wanted.pattern));
        let mut lines: Vec<_> = fitting.map(|entry| format!("{}/{}", path.as_str(), entry.path)).collect();
        if lines.is_empty() {
            lines.push("No matches found".to_owned());
        }
        lines.extend(more(listing.truncated));
        Ok(Content::new().text(lines.join("\n")))
    }
}

/// Tells of a file or a folder.
pub(crate) struct GetFileInfo;

/// Which file or folder.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// The file or folder, such as `docs/a.txt`.
    path: String,
}

impl Tool for GetFileInfo {
    const NAME: &'static str = "get_file_info";
    const TITLE: Option<&'static str> = Some("Tell of a file");
    const DESCRIPTION: &'static str = "Returns what is known of a file or a folder without its contents: size, when it was created, \
        modified and accessed, what it is, and its permissions.";
    const HINTS: Hints = Hints::READ_ONLY.open_world(false);
    type Input = Which;
    type Output = Content;

    fn call(which: Which, context: &Context) -> Result<Content, Failure> {
        let request = requests::request(Method::Get, Path::parse(&which.path)?, context).query("info", "");
        let info: Value = requests::send(request)?.json()?;
        let kind = info["kind"].as_str().unwrap_or_default();
        let word = |key: &str| info[key].as_str().unwrap_or("unknown").to_owned();
        let lines = [
            format!("size: {}", info["size"]),
            format!("created: {}", word("created")),
            format!("modified: {}", word("modified")),
            format!("accessed: {}", word("accessed")),
            format!("isDirectory: {}", kind == "folder"),
            format!("isFile: {}", kind == "file"),
            format!("isSymbolicLink: {}", kind == "link"),
            format!("permissions: {}", word("permissions")),
        ];
        Ok(Content::new().text(lines.join("\n")))
    }
}
