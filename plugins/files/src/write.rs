//! Writing files, making folders, moving both.

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_plugin_sdk::http::Method;
use tidegate_plugin_sdk::{Content, Context, Failure, Hints, Tool};

use crate::path::Path;
use crate::requests;

/// Writes a file.
pub(crate) struct WriteFile;

/// Which file, and what is to be in it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewContent {
    /// The file, such as `notes/a.txt`.
    path: String,
    /// Everything that is to be in it.
    content: String,
}

impl Tool for WriteFile {
    const NAME: &'static str = "write_file";
    const TITLE: Option<&'static str> = Some("Write a file");
    const DESCRIPTION: &'static str = "Creates a file, or replaces everything in it. The folder it lies in must exist. To change a part of \
        a file use edit_file.";
    const HINTS: Hints = Hints::WRITES.destructive(true).idempotent(true).open_world(false);
    type Input = NewContent;
    type Output = Content;

    fn call(new: NewContent, context: &Context) -> Result<Content, Failure> {
        let path = Path::parse(&new.path)?;
        requests::send(requests::request(Method::Put, path, context).body("application/octet-stream", new.content))?;
        Ok(Content::new().text(format!("Successfully wrote to {}", path.as_str())))
    }
}

/// Makes a folder.
pub(crate) struct CreateDirectory;

/// Which folder.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// The folder, such as `notes/2026/may`.
    path: String,
}

impl Tool for CreateDirectory {
    const NAME: &'static str = "create_directory";
    const TITLE: Option<&'static str> = Some("Make a folder");
    const DESCRIPTION: &'static str = "Makes a folder, and those it lies in. If it is there already, nothing happens.";
    const HINTS: Hints = Hints::WRITES.destructive(false).idempotent(true).open_world(false);
    type Input = Which;
    type Output = Content;

    fn call(which: Which, context: &Context) -> Result<Content, Failure> {
        let path = Path::parse(&which.path)?;
        requests::send(requests::request(Method::Put, path, context).query("folder", ""))?;
        Ok(Content::new().text(format!("Successfully created directory {}", path.as_str())))
    }
}

/// Moves a file or a folder.
pub(crate) struct MoveFile;

/// From where to where.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FromTo {
    /// The file or folder, such as `notes/a.txt`.
    source: String,
    /// Its new path, such as `notes/old/a.txt`.
    destination: String,
}

impl Tool for MoveFile {
    const NAME: &'static str = "move_file";
    const TITLE: Option<&'static str> = Some("Move or rename a file");
    const DESCRIPTION: &'static str = "Moves a file or a folder, or gives it another name. Fails if there is something at the destination \
        already.";
    const HINTS: Hints = Hints::WRITES.destructive(false).idempotent(false).open_world(false);
    type Input = FromTo;
    type Output = Content;

    fn call(moved: FromTo, context: &Context) -> Result<Content, Failure> {
        let (from, to) = (Path::parse(&moved.source)?, Path::parse(&moved.destination)?);
        requests::send(requests::request(Method::Post, from, context).query("move-to", requests::encoded(to)))?;
        Ok(Content::new().text(format!("Successfully moved {} to {}", from.as_str(), to.as_str())))
    }
}
