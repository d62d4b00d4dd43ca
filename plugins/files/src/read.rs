//! Reading files: as text, as media, several at once.

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_plugin_sdk::http::Method;
use tidegate_plugin_sdk::{Content, Context, Failure, Hints, Tool, code};

use crate::path::Path;
use crate::requests;

/// The most text of one answer, in bytes.
pub(crate) const MAX_TEXT: usize = 1 << 20;
/// The largest media file, in bytes; in an answer it takes a third more.
const MAX_MEDIA: usize = 2 << 20;
/// How much of a file is read at first for its first or last lines, in bytes.
const FIRST_PART: usize = 64 << 10;

/// Reads a text file.
pub(crate) struct ReadTextFile;

/// Reads a text file, under the name that older clients know.
pub(crate) struct ReadFile;

/// Which file, and which lines of it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lines {
    /// The file, such as `docs/a.txt`.
    path: String,
    /// If provided, returns only the first N lines of the file.
    #[schemars(range(min = 1, max = 1_000_000))]
    head: Option<usize>,
    /// If provided, returns only the last N lines of the file.
    #[schemars(range(min = 1, max = 1_000_000))]
    tail: Option<usize>,
}

impl Tool for ReadTextFile {
    const NAME: &'static str = "read_text_file";
    const TITLE: Option<&'static str> = Some("Read a text file");
    const DESCRIPTION: &'static str = "Reads a file as text (UTF-8). Use `head` for only its first N lines and `tail` for only its last N \
        lines; of a large file nothing else is read.";
    const HINTS: Hints = Hints::READ_ONLY.open_world(false);
    type Input = Lines;
    type Output = Content;

    fn call(lines: Lines, context: &Context) -> Result<Content, Failure> {
        let path = Path::parse(&lines.path)?;
        let text = match (lines.head, lines.tail) {
            (Some(_), Some(_)) => return Err(Failure::invalid_arguments("either `head` or `tail` can be asked for, not both")),
            (Some(count), None) => head(path, count, context)?,
            (None, Some(count)) => tail(path, count, context)?,
            (None, None) => whole(path, context)?.text,
        };
        Ok(Content::new().text(text))
    }
}

impl Tool for ReadFile {
    const NAME: &'static str = "read_file";
    const TITLE: Option<&'static str> = Some("Read a file (deprecated)");
    const DESCRIPTION: &'static str = "Reads a file as text. Deprecated: use read_text_file instead.";
    const HINTS: Hints = Hints::READ_ONLY.open_world(false);
    type Input = Lines;
    type Output = Content;

    fn call(lines: Lines, context: &Context) -> Result<Content, Failure> {
        ReadTextFile::call(lines, context)
    }
}

/// A text file, and the tag of what is in it.
pub(crate) struct Text {
    pub text: String,
    pub tag: String,
}

/// A whole text file.
pub(crate) fn whole(path: Path<'_>, context: &Context) -> Result<Text, Failure> {
    let response = requests::send(requests::request(Method::Get, path, context))?;
    let tag = response.header("etag").unwrap_or_default().to_owned();
    let bytes = response.bytes();
    if bytes.len() > MAX_TEXT {
        return Err(Failure::failed(format!(
            "`{}` has {} bytes, and at most {MAX_TEXT} are returned at once; read it in parts with `head` or `tail`",
            path.as_str(),
            bytes.len()
        )));
    }
    Ok(Text { text: text(bytes, path)?, tag })
}

fn text(bytes: &[u8], path: Path<'_>) -> Result<String, Failure> {
    String::from_utf8(bytes.to_vec())
        .map_err(|_| Failure::failed(format!("`{}` is no text in UTF-8; read_media_file returns it as it is", path.as_str())))
}

/// The first lines of a file.
fn head(path: Path<'_>, count: usize, context: &Context) -> Result<String, Failure> {
    let mut length = FIRST_PART;
    loop {
        let Some((bytes, is_whole)) = part(path, &format!("bytes=0-{}", length - 1), context)? else { return Ok(String::new()) };
        let end = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(count - 1).map(|(at, _)| at);
        match end {
            Some(end) => return text(&bytes[..end], path),
            None if is_whole => return text(&bytes, path),
            None if length >= MAX_TEXT => return Err(too_long(path)),
            None => length *= 4,
        }
    }
}

/// The last lines of a file.
fn tail(path: Path<'_>, count: usize, context: &Context) -> Result<String, Failure> {
    let mut length = FIRST_PART;
    loop {
        let Some((bytes, is_whole)) = part(path, &format!("bytes=-{length}"), context)? else { return Ok(String::new()) };
        // A line break at the end ends the last line, and begins none.
        let lines = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let start = lines.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').nth(count - 1).map(|(at, _)| at + 1);
        match start {
            Some(start) => return text(&lines[start..], path),
            None if is_whole => return text(lines, path),
            None if length >= MAX_TEXT => return Err(too_long(path)),
            None => length *= 4,
        }
    }
}

fn too_long(path: Path<'_>) -> Failure {
    Failure::failed(format!("so many lines of `{}` are more than {MAX_TEXT} bytes; ask for fewer", path.as_str()))
}

/// A range of a file, and whether that is all of it; `None` of a file that is empty.
fn part(path: Path<'_>, range: &str, context: &Context) -> Result<Option<(Vec<u8>, bool)>, Failure> {
    let answered =
        requests::request(Method::Get, path, context).header("range", range).max_body_bytes(requests::MAX_ANSWER).send()?;
    if answered.status() == 416 {
        return Ok(None);
    }
    let response = requests::answered(answered)?;
    let size = response.header("content-range").and_then(|range| range.rsplit('/').next()?.parse::<usize>().ok());
    let is_whole = size.is_none_or(|size| size == response.bytes().len());
    Ok(Some((response.bytes().to_vec(), is_whole)))
}

/// Reads a file as media.
pub(crate) struct ReadMediaFile;

/// Which file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// The file, such as `docs/gate.png`.
    path: String,
}

impl Tool for ReadMediaFile {
    const NAME: &'static str = "read_media_file";
    const TITLE: Option<&'static str> = Some("Read a media file");
    const DESCRIPTION: &'static str = "Reads an image, a sound or any other file, and returns it in base64 with its MIME type.";
    const HINTS: Hints = Hints::READ_ONLY.open_world(false);
    type Input = Which;
    type Output = Content;

    fn call(which: Which, context: &Context) -> Result<Content, Failure> {
        let path = Path::parse(&which.path)?;
        let response = requests::send(requests::request(Method::Get, path, context))?;
        let bytes = response.bytes();
        if bytes.len() > MAX_MEDIA {
            let shown = path.as_str();
            return Err(Failure::failed(format!("`{shown}` has {} bytes, and at most {MAX_MEDIA} are returned", bytes.len())));
        }
        let mime_type = mime_type(path.as_str());
        Ok(match mime_type.split('/').next() {
            Some("image") => Content::new().image(mime_type, bytes),
            Some("audio") => Content::new().audio(mime_type, bytes),
            _ => Content::new().resource_bytes(format!("files:///{}", path.as_str()), mime_type, bytes),
        })
    }
}

/// What a file's name says of its content.
fn mime_type(path: &str) -> &'static str {
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
    match extension.as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "bmp" => "image/bmp",
        "svg" => "image/svg+xml",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "ogg" => "audio/ogg",
        "flac" => "audio/flac",
        _ => "application/octet-stream",
    }
}

/// Reads several files.
pub(crate) struct ReadMultipleFiles;

/// Which files.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Several {
    /// The files, such as `docs/a.txt`.
    #[schemars(length(min = 1, max = 100))]
    paths: Vec<String>,
}

impl Tool for ReadMultipleFiles {
    const NAME: &'static str = "read_multiple_files";
    const TITLE: Option<&'static str> = Some("Read several files");
    const DESCRIPTION: &'static str = "Reads several files as text at once. Each one's contents stand below its path; one that can't be \
        read does not keep the others from being read.";
    const HINTS: Hints = Hints::READ_ONLY.open_world(false);
    type Input = Several;
    type Output = Content;

    fn call(several: Several, context: &Context) -> Result<Content, Failure> {
        let mut left = MAX_TEXT;
        let mut parts = Vec::new();
        for path in &several.paths {
            if context.is_cancelled() {
                return Err(Failure::new(code::CANCELLED, "the caller gave up"));
            }
            let read = Path::parse(path).and_then(|path| whole(path, context));
            parts.push(match read {
                Ok(Text { text, .. }) if text.len() <= left => {
                    left -= text.len();
                    format!("{path}:\n{text}\n")
                }
                Ok(_) => format!("{path}: Error - the files before it fill the answer; read it by itself"),
                // A disk in trouble is in trouble for all of them.
                Err(failure) if failure.code == code::BACKEND_UNAVAILABLE => return Err(failure),
                Err(failure) => format!("{path}: Error - {}", failure.message),
            });
        }
        Ok(Content::new().text(parts.join("\n---\n")))
    }
}
