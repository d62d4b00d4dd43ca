//! A folder and all that lies in it, as a tree.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tidegate_plugin_sdk::{Content, Context, Failure, Hints, Tool};

use crate::glob;
use crate::listing::more;
use crate::path::Path;
use crate::requests::{self, Entry, Kind, MAX_DEPTH};

/// Shows a folder as a tree.
pub(crate) struct DirectoryTree;

/// Which folder, and what of it not.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Wanted {
    /// The folder, such as `docs`.
    path: String,
    /// Patterns of what to leave out, such as `node_modules` or `*.log`.
    #[serde(default)]
    #[schemars(length(max = 64))]
    exclude_patterns: Vec<String>,
}

impl Tool for DirectoryTree {
    const NAME: &'static str = "directory_tree";
    const TITLE: Option<&'static str> = Some("Show a folder as a tree");
    const DESCRIPTION: &'static str = "Returns a folder and all that lies in it as JSON: each entry has `name` and `type` (file or \
        directory), and directories have `children`.";
    const HINTS: Hints = Hints::READ_ONLY.open_world(false);
    type Input = Wanted;
    type Output = Content;

    fn call(wanted: Wanted, context: &Context) -> Result<Content, Failure> {
        let listing = requests::list(Path::parse(&wanted.path)?, MAX_DEPTH, context)?;
        let entries = glob::exclude(listing.entries, &wanted.exclude_patterns);
        let tree = serde_json::to_string_pretty(&children("", &mut entries.iter().peekable()))
            .map_err(|error| Failure::failed(format!("the tree has no JSON form: {error}")))?;
        let content = Content::new().text(tree);
        Ok(match more(listing.truncated) {
            Some(more) => content.text(more),
            None => content,
        })
    }
}

/// The entries that lie in the folder `above`, which come next. As deep as the host lists, and no deeper.
fn children<'e>(above: &str, entries: &mut std::iter::Peekable<impl Iterator<Item = &'e Entry>>) -> Vec<Value> {
    let mut found = Vec::new();
    while let Some(entry) = entries.next_if(|entry| entry.path.starts_with(above)) {
        let mut told = Map::new();
        told.insert("name".to_owned(), json!(&entry.path[above.len()..]));
        let kind = match entry.kind {
            Kind::Folder => "directory",
            Kind::File => "file",
            Kind::Link => "link",
            Kind::Other => "other",
        };
        told.insert("type".to_owned(), json!(kind));
        if entry.kind == Kind::Folder {
            told.insert("children".to_owned(), json!(children(&format!("{}/", entry.path), entries)));
        }
        found.push(Value::Object(told));
    }
    found
}
