//! `files`: files and folders of the directories that the operator grants.
//!
//! Its tools have the names and the arguments of the `filesystem` reference server of MCP, and answer as those do. Where the directories
//! are, and that nothing leads out of them, is the host's affair: this plugin asks for `http://files/<directory>/<path>`.

mod edit;
mod glob;
mod listing;
mod path;
mod read;
mod requests;
mod search;
mod tree;
mod write;

tidegate_plugin_sdk::export!(
    listing::ListAllowedDirectories,
    listing::ListDirectory,
    listing::ListDirectoryWithSizes,
    tree::DirectoryTree,
    search::SearchFiles,
    search::GetFileInfo,
    read::ReadFile,
    read::ReadTextFile,
    read::ReadMediaFile,
    read::ReadMultipleFiles,
    write::WriteFile,
    edit::EditFile,
    write::CreateDirectory,
    write::MoveFile,
);

#[cfg(test)]
mod tests;
