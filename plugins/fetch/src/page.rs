//! From a URL to a page: through redirects, which each lead only where the host lets the plugin go.

use tidegate_plugin_sdk::http::{HttpError, Response};
use tidegate_plugin_sdk::{Context, Failure, code};
use url::Url;

use crate::charset;
use crate::robots::Robots;

/// Redirects that are followed.
const MAX_REDIRECTS: usize = 5;

/// The largest page, in bytes: as a tree it takes many times as much memory.
pub(crate) const MAX_PAGE: usize = 2 << 20;

/// Who asks, as servers see it.
const USER_AGENT: &str = concat!("Tidegate/", env!("CARGO_PKG_VERSION"), " (autonomous; fetch plugin)");

/// Where a page says early enough that it is one, or a file that it is no text.
const SNIFFED: usize = 512;

/// What a URL led to.
pub(crate) struct Page {
    /// Where it was, in the end.
    pub url: Url,
    /// Whether that is not where it was looked for.
    pub is_redirected: bool,
    /// The header of this name, or nothing.
    pub content_type: String,
    /// What can be made of it.
    pub kind: Kind,
    /// What it says.
    pub text: String,
}

/// What can be made of a page.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Markdown.
    Html,
    /// Nothing but what it is.
    Text,
}

/// Fetches the page at `url`.
pub(crate) fn get(url: &str, context: &Context) -> Result<Page, Failure> {
    let mut url = parse(url)?;
    let mut robots = Robots::default();
    for hop in 0..=MAX_REDIRECTS {
        robots.check(&url, context)?;
        let response = ask(&url, "text/html,application/xhtml+xml,text/markdown,text/plain;q=0.9,*/*;q=0.8", context)?;
        if matches!(response.status(), 301 | 302 | 303 | 307 | 308) {
            url = follow(&url, &response)?;
            continue;
        }
        if !(200..300).contains(&response.status()) {
            let status = response.status();
            return Err(response.success().err().map_or_else(
                || Failure::failed(format!("`{url}` answered {status}")),
                |failure| Failure { message: format!("`{url}` answered {status}, so there is no page"), ..failure },
            ));
        }
        return read(url, hop > 0, &response);
    }
    Err(Failure::failed(format!("more than {MAX_REDIRECTS} redirects, the last one to `{url}`")))
}

/// A GET of `url`, whose answer may be any.
pub(crate) fn ask(url: &Url, accept: &str, context: &Context) -> Result<Response, Failure> {
    let origin = url.origin().ascii_serialization();
    let request = context.backend(&origin).get_encoded(&url[url::Position::BeforePath..url::Position::AfterQuery]);
    let request = request.header("user-agent", USER_AGENT).header("accept", accept).header("accept-encoding", "identity");
    request.max_body_bytes(MAX_PAGE).send().map_err(|error| match error {
        // Where it may go instead, the host adds.
        HttpError::Refused { .. } => Failure::new(code::PERMISSION_DENIED, format!("nothing was fetched from `{origin}`")),
        HttpError::TooLarge { limit_bytes, .. } => {
            Failure::failed(format!("`{url}` is larger than {limit_bytes} bytes; ask for a smaller page"))
        }
        other => other.into(),
    })
}

fn parse(text: &str) -> Result<Url, Failure> {
    let wrong =
        |problem: &str| Failure::invalid_arguments(format!("`url` {problem}; write for example https://example.com/page"));
    let url = Url::parse(text.trim()).map_err(|error| wrong(&format!("is no URL ({error})")))?;
    match url.scheme() {
        "http" | "https" => {}
        other => return Err(wrong(&format!("starts with `{other}:`, and only https: and http: can be fetched"))),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("holds a user name or a password, which are not sent"));
    }
    Ok(url)
}

fn follow(from: &Url, response: &Response) -> Result<Url, Failure> {
    let lost = || Failure::failed(format!("`{from}` redirects, but does not say where to"));
    let location = response.header("location").ok_or_else(lost)?;
    let next = from.join(location).map_err(|_| lost())?;
    parse(next.as_str()).map_err(|_| Failure::failed(format!("`{from}` redirects to what can't be fetched")))
}

fn read(url: Url, is_redirected: bool, response: &Response) -> Result<Page, Failure> {
    let content_type = response.header("content-type").unwrap_or_default().to_owned();
    let body = response.bytes();
    if let Some(encoding) = response.header("content-encoding").filter(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Err(Failure::failed(format!("`{url}` answered in the encoding `{encoding}`, which was not asked for")));
    }
    if is_binary(&content_type, body) {
        let kind = if content_type.is_empty() { "no text" } else { &content_type };
        return Err(Failure::failed(format!("`{url}` is {kind} ({} bytes), and only text can be returned", body.len())));
    }
    let is_html = is_html(&content_type, body);
    let text = charset::decode(body, &content_type, is_html);
    Ok(Page { url, is_redirected, content_type, kind: if is_html { Kind::Html } else { Kind::Text }, text })
}

fn is_html(content_type: &str, body: &[u8]) -> bool {
    let start = String::from_utf8_lossy(&body[..body.len().min(SNIFFED)]).to_ascii_lowercase();
    let media = media(content_type);
    matches!(media.as_str(), "" | "text/html" | "application/xhtml+xml") && (!media.is_empty() || start.contains('<'))
        || start.trim_start_matches('\u{feff}').trim_start().starts_with("<!doctype html")
        || start.contains("<html")
}

/// The type itself, without its parameters.
fn media(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_binary(content_type: &str, body: &[u8]) -> bool {
    let media = media(content_type);
    let is_picture = ["image/", "audio/", "video/", "font/"].iter().any(|kind| media.starts_with(kind));
    // In UTF-16 every other byte of plain text is zero.
    let is_wide =
        body.starts_with(b"\xff\xfe") || body.starts_with(b"\xfe\xff") || content_type.to_ascii_lowercase().contains("utf-16");
    let holds_zero = body[..body.len().min(SNIFFED)].contains(&0);
    (is_picture && media != "image/svg+xml") || media == "application/pdf" || (holds_zero && !is_wide)
}
