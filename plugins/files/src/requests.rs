//! The requests of this plugin to the host's directories, and what their answers mean.

use serde::Deserialize;
use tidegate_plugin_sdk::http::{Backend, Builder, HttpError, Method, Response};
use tidegate_plugin_sdk::{Context, Failure, code};

use crate::path::Path;

/// The largest answer, in bytes.
pub(crate) const MAX_ANSWER: usize = 4 << 20;

/// The most levels a listing goes down; the host's own limit.
pub(crate) const MAX_DEPTH: usize = 32;

/// What lies in a folder.
#[derive(Deserialize)]
pub(crate) struct Listing {
    /// Files and folders, each folder before what lies in it.
    pub entries: Vec<Entry>,
    /// Whether there are more than are listed.
    pub truncated: bool,
}

/// A file or a folder.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Entry {
    /// From the folder that is listed on.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// How many bytes it has.
    pub size: u64,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    File,
    Folder,
    Link,
    Other,
}

/// One of the operator's directories.
#[derive(Deserialize)]
pub(crate) struct Directory {
    /// Its name.
    pub name: String,
    /// Whether it can be written to.
    pub write: bool,
}

/// The operator's directories.
pub(crate) fn directories(context: &Context) -> Result<Vec<Directory>, Failure> {
    #[derive(Deserialize)]
    struct Directories {
        directories: Vec<Directory>,
    }
    let answer = send(files(context).get(&[]))?;
    Ok(answer.json::<Directories>()?.directories)
}

/// What lies in a folder, so many levels down.
pub(crate) fn list(path: Path<'_>, depth: usize, context: &Context) -> Result<Listing, Failure> {
    Ok(send(files(context).get(&path.names()).query("depth", depth))?.json()?)
}

/// A path as the host's directories are told of it where it is no path of the request.
pub(crate) fn encoded(path: Path<'_>) -> String {
    format!("/{}", path.as_str().replace('%', "%25"))
}

/// A request for a file or a folder.
pub(crate) fn request<'c>(method: Method, path: Path<'_>, context: &'c Context) -> Builder<'c> {
    files(context).request(method, &path.names())
}

/// Sends a request. What the host's directories refuse is told in their words.
pub(crate) fn send(request: Builder<'_>) -> Result<Response, Failure> {
    answered(request.max_body_bytes(MAX_ANSWER).send().map_err(|error| match error {
        HttpError::TooLarge { limit_bytes, .. } => Failure::failed(format!("that is more than {limit_bytes} bytes")),
        other => other.into(),
    })?)
}

/// An answer that says yes, or what else it says.
pub(crate) fn answered(response: Response) -> Result<Response, Failure> {
    #[derive(Deserialize)]
    struct Problem {
        message: String,
    }
    let told = response.json::<Problem>().map(|problem| problem.message);
    let status = response.status();
    response.success().map_err(|failure| {
        let code = match status {
            403 | 405 => code::PERMISSION_DENIED,
            413 | 416 | 507 => code::FAILED,
            _ => failure.code.as_str(),
        };
        Failure {
            code: code.to_owned(),
            message: told.unwrap_or(failure.message),
            retry_after_seconds: failure.retry_after_seconds,
        }
    })
}

/// The backend, by the name the manifest gives it.
fn files(context: &Context) -> Backend<'_> {
    context.backend("files")
}
