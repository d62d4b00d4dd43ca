//! Listing directories and folders.

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_plugin_sdk::{Content, Context, Failure, Hints, NoInput, Tool};

use crate::path::Path;
use crate::requests::{self, Entry, Kind};

/// Lists the directories.
pub(crate) struct ListAllowedDirectories;

impl Tool for ListAllowedDirectories {
    const NAME: &'static str = "list_allowed_directories";
    const TITLE: Option<&'static str> = Some("List allowed directories");
    const DESCRIPTION: &'static str = "Lists the directories that can be accessed, by the names that all paths start with, and which of \
        them can be written to. Use it before anything else.";
    const HINTS: Hints = Hints::READ_ONLY.open_world(false);
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, context: &Context) -> Result<Content, Failure> {
        let mut text = "Allowed directories:".to_owned();
        for directory in requests::directories(context)? {
            text.push('\n');
            text.push_str(&directory.name);
            text.push_str(if directory.write { "" } else { " (read only)" });
        }
        Ok(Content::new().text(text))
    }
}

/// Lists a folder.
pub(crate) struct ListDirectory;

/// Which folder.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Folder {
    /// The folder, such as `docs` or `docs/manuals`.
    path: String,
}

impl Tool for ListDirectory {
    const NAME: &'static str = "list_directory";
    const TITLE: Option<&'static str> = Some("List a folder");
    const DESCRIPTION: &'static str = "Lists the files and folders in a folder, one a line, marked with [FILE] and [DIR]. Symbolic links \
        ([LINK]) are not followed.";
    const HINTS: Hints = Hints::READ_ONLY.open_world(false);
    type Input = Folder;
    type Output = Content;

    fn call(folder: Folder, context: &Context) -> Result<Content, Failure> {
        let listing = requests::list(Path::parse(&folder.path)?, 1, context)?;
        let mut lines: Vec<_> = listing.entries.iter().map(|entry| format!("{} {}", mark(entry.kind), entry.path)).collect();
        if lines.is_empty() {
            lines.push("The folder is empty.".to_owned());
        }
        lines.extend(more(listing.truncated));
        Ok(Content::new().text(lines.join("\n")))
    }
}

/// Lists a folder with the sizes of its files.
pub(crate) struct ListDirectoryWithSizes;

/// Which folder, in which order.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct SortedFolder {
    /// The folder, such as `docs` or `docs/manuals`.
    path: String,
    /// Sort entries by name or by size.
    #[serde(default)]
    sort_by: SortBy,
}

/// The order of entries.
//
// The variants have no doc comments of their own, so that the schema is a plain `enum`.
#[derive(Default, Deserialize, JsonSchema, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum SortBy {
    #[default]
    Name,
    Size,
}

impl Tool for ListDirectoryWithSizes {
    const NAME: &'static str = "list_directory_with_sizes";
    const TITLE: Option<&'static str> = Some("List a folder with sizes");
    const DESCRIPTION: &'static str = "Lists the files and folders in a folder with the sizes of the files, by name or by size, largest \
        first, and sums them up.";
    const HINTS: Hints = Hints::READ_ONLY.open_world(false);
    type Input = SortedFolder;
    type Output = Content;

    fn call(folder: SortedFolder, context: &Context) -> Result<Content, Failure> {
        let listing = requests::list(Path::parse(&folder.path)?, 1, context)?;
        let mut entries = listing.entries;
        if let SortBy::Size = folder.sort_by {
            entries.sort_by_key(|entry| std::cmp::Reverse(file_size(entry)));
        }
        let mut lines: Vec<_> = entries.iter().map(line).collect();
        let files = entries.iter().filter(|entry| entry.kind == Kind::File).count();
        let folders = entries.iter().filter(|entry| entry.kind == Kind::Folder).count();
        lines.extend([String::new(), format!("Total: {files} files, {folders} directories")]);
        lines.push(format!("Combined size: {}", size(entries.iter().map(file_size).sum())));
        lines.extend(more(listing.truncated));
        Ok(Content::new().text(lines.join("\n")))
    }
}

fn line(entry: &Entry) -> String {
    let size = if entry.kind == Kind::File { size(entry.size) } else { String::new() };
    format!("{} {:<30} {size:>10}", mark(entry.kind), entry.path).trim_end().to_owned()
}

fn file_size(entry: &Entry) -> u64 {
    if entry.kind == Kind::File { entry.size } else { 0 }
}

fn mark(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "[FILE]",
        Kind::Folder => "[DIR]",
        Kind::Link => "[LINK]",
        Kind::Other => "[OTHER]",
    }
}

/// That there is more, if there is.
pub(crate) fn more(is_truncated: bool) -> Option<String> {
    is_truncated.then(|| "There is more than can be listed at once: look into the folders one by one.".to_owned())
}

/// A size for people.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KB", "MB", "GB", "TB", "PB"];
    let (mut amount, mut unit) = (bytes, None);
    let mut rest = 0;
    for name in UNITS {
        if amount < 1024 {
            break;
        }
        (amount, rest, unit) = (amount / 1024, amount % 1024 * 100 / 1024, Some(name));
    }
    unit.map_or_else(|| format!("{bytes} B"), |unit| format!("{amount}.{rest:02} {unit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_units_of_1024() {
        for (bytes, told) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KB"), (1536, "1.50 KB"), (5 << 20, "5.00 MB"), (u64::MAX, "16383.99 PB")]
        {
            assert_eq!(size(bytes), told);
        }
    }
}
