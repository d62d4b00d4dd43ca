//! Requests to the systems behind a tool.
//!
//! A tool names a logical backend; the host knows where it is, authenticates to it, adds the trace headers and, for a
//! write tool, an idempotency key, and keeps to the operator's time and size limits. A literal origin of the manifest, such as
//! `https://api.example.com`, goes by itself; there the host does all of that but authenticate.

use std::fmt::{self, Display};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::{Context, Failure, code};

/// How large a response body may be, in bytes, unless the request says otherwise.
pub const DEFAULT_MAX_BODY_BYTES: usize = 1024 * 1024;

/// How much of an unexpected body an error message quotes, in characters.
const QUOTED_CHARS: usize = 200;

/// A logical backend or a literal origin of the manifest. Made by [`Context::backend`].
#[derive(Clone, Copy)]
pub struct Backend<'a> {
    context: &'a Context,
    name: &'a str,
}

/// A request being put together.
#[must_use = "a request does nothing until it is sent"]
pub struct Builder<'a> {
    context: &'a Context,
    request: Request,
    /// The first thing that could not be expressed; reported when the request is sent.
    invalid: Option<String>,
}

/// A request, as it leaves the tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The logical backend.
    pub backend: String,
    /// The path, percent-encoded, with its query if there is one: `/invoices?status=open`.
    pub path: String,
    /// The headers the tool set.
    pub headers: Vec<(String, String)>,
    /// The body; empty for none.
    pub body: Vec<u8>,
    /// How long the tool waits for a connection, for the first byte, and between bytes. The host's own limits hold too.
    pub timeout: Option<Duration>,
    /// How large a response body may be, in bytes.
    pub max_body_bytes: usize,
}

/// A method of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Reads.
    Get,
    /// Reads, without a body.
    Head,
    /// Creates or does.
    Post,
    /// Replaces.
    Put,
    /// Changes.
    Patch,
    /// Removes.
    Delete,
}

/// A response, read whole. Any status: ask for it, or let [`Response::success`] turn the bad ones into failures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    backend: String,
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

/// Why there is no usable response. As a [`Failure`] it takes the word of the error envelope that fits.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpError {
    /// The backend can't be reached, or broke off. Failure `backend_unavailable`.
    #[error("the backend `{backend}` can't be reached: {reason}")]
    Unavailable {
        /// The logical backend.
        backend: String,
        /// What the host reported.
        reason: String,
    },
    /// The backend took too long; what it did with the request is not known. Failure `backend_timeout`.
    #[error("the backend `{backend}` took too long: {reason}")]
    Timeout {
        /// The logical backend.
        backend: String,
        /// Which wait it was.
        reason: String,
    },
    /// The host does not let this request out. Failure `permission_denied`.
    #[error("the host refused a request to `{backend}`: is it among the `backends` or `origins` of the plugin's manifest?")]
    Refused {
        /// The logical backend.
        backend: String,
    },
    /// The response body is larger than the request allowed. Failure `failed`.
    #[error("the backend `{backend}` answered with more than {limit_bytes} bytes; ask for less at a time")]
    TooLarge {
        /// The logical backend.
        backend: String,
        /// The limit, in bytes.
        limit_bytes: usize,
    },
    /// The response body is not what the tool expected. Failure `failed`.
    #[error("the backend `{backend}` answered with something unexpected: {reason}")]
    Unexpected {
        /// The logical backend.
        backend: String,
        /// What was wrong with it.
        reason: String,
    },
    /// The request can't be expressed in HTTP; nothing was sent. Failure `invalid_arguments`.
    #[error("a request to `{backend}` can't be sent: {reason}")]
    Invalid {
        /// The logical backend.
        backend: String,
        /// What was wrong with it.
        reason: String,
    },
}

impl<'a> Backend<'a> {
    pub(crate) fn new(context: &'a Context, name: &'a str) -> Backend<'a> {
        Backend { context, name }
    }

    /// A GET request to the path of these segments: `&["invoices", id]` is `/invoices/<id>`.
    ///
    /// Each segment is percent-encoded, so that no argument can reach another path than the one meant; an empty
    /// segment, `.` and `..` are refused when the request is sent.
    pub fn get(self, segments: &[&str]) -> Builder<'a> {
        self.request(Method::Get, segments)
    }

    /// A GET request to a path that is percent-encoded already, with its query if there is one: `/wiki/Tide?action=raw`. Only for
    /// paths that come from a URL: whatever is in it, is sent.
    pub fn get_encoded(self, path: &str) -> Builder<'a> {
        let mut builder = self.request(Method::Get, &[]);
        if path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()) {
            path.clone_into(&mut builder.request.path);
        } else {
            builder.invalid = Some("its path is not percent-encoded".to_owned());
        }
        builder
    }

    /// A POST request; path as in [`Backend::get`].
    pub fn post(self, segments: &[&str]) -> Builder<'a> {
        self.request(Method::Post, segments)
    }

    /// A request of any method; path as in [`Backend::get`].
    pub fn request(self, method: Method, segments: &[&str]) -> Builder<'a> {
        let mut path = String::new();
        let mut invalid = None;
        for segment in segments {
            if matches!(*segment, "" | "." | "..") {
                invalid = Some(format!("`{segment}` can't be part of a path"));
            }
            path.push('/');
            percent_encode(segment, &mut path);
        }
        if path.is_empty() {
            path.push('/');
        }
        Builder {
            context: self.context,
            request: Request {
                method,
                backend: self.name.to_owned(),
                path,
                headers: Vec::new(),
                body: Vec::new(),
                timeout: None,
                max_body_bytes: DEFAULT_MAX_BODY_BYTES,
            },
            invalid,
        }
    }
}

impl Builder<'_> {
    /// Adds `name=value` to the query, percent-encoded.
    pub fn query(mut self, name: &str, value: impl Display) -> Self {
        let path = &mut self.request.path;
        path.push(if path.contains('?') { '&' } else { '?' });
        percent_encode(name, path);
        path.push('=');
        percent_encode(&value.to_string(), path);
        self
    }

    /// Adds a header. Credentials, trace context and idempotency key are the host's business.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends a body of JSON.
    pub fn json(mut self, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(body) => self.body("application/json", body),
            Err(error) => {
                self.invalid = Some(format!("its body has no JSON form: {error}"));
                self
            }
        }
    }

    /// Sends a body of the given MIME type.
    pub fn body(mut self, mime_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.request.body = body.into();
        self.header("content-type", mime_type)
    }

    /// Waits this long for a connection, for the first byte, and between bytes. The host's own limits hold too.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.request.timeout = Some(timeout);
        self
    }

    /// Accepts a response body of up to so many bytes, instead of [`DEFAULT_MAX_BODY_BYTES`].
    pub fn max_body_bytes(mut self, limit: usize) -> Self {
        self.request.max_body_bytes = limit;
        self
    }

    /// Sends the request and reads the response whole. A status such as 404 or 500 is a response, not an error.
    ///
    /// # Errors
    ///
    /// Any [`HttpError`]. After one, whether the backend acted on the request is not known, except for `Refused` and
    /// `Invalid`: nothing was sent.
    pub fn send(self) -> Result<Response, HttpError> {
        match self.invalid {
            Some(reason) => Err(HttpError::Invalid { backend: self.request.backend, reason }),
            None => self.context.link.send(&self.request),
        }
    }
}

impl Response {
    /// A response as this backend would give it.
    pub fn new(backend: &str, status: u16, headers: Vec<(String, Vec<u8>)>, body: Vec<u8>) -> Response {
        Response { backend: backend.to_owned(), status, headers, body }
    }

    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn answered_by(self, backend: &str) -> Response {
        Response { backend: backend.to_owned(), ..self }
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The first header of this name, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }

    /// The body.
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// The body as JSON.
    ///
    /// # Errors
    ///
    /// [`HttpError::Unexpected`] if the body is not JSON or does not fit `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, HttpError> {
        serde_json::from_slice(&self.body).map_err(|error| HttpError::Unexpected {
            backend: self.backend.clone(),
            reason: format!("status {}, {error}", self.status),
        })
    }

    /// The response, if its status is 2xx.
    ///
    /// # Errors
    ///
    /// Any other status is a failure, with the `Retry-After` of the backend where it gave one in seconds: 400 and 422
    /// `invalid_arguments`, 404 and 410 `not_found`, 409 and 412 `conflict`, 408 and 504 `backend_timeout`, 429
    /// `rate_limited`, other 5xx `backend_unavailable`, and the rest (such as 401 and 403: what a backend refuses to the
    /// operator's credentials is no matter of the caller's permissions) `failed`.
    pub fn success(self) -> Result<Response, Failure> {
        let code = match self.status {
            200..=299 => return Ok(self),
            400 | 422 => code::INVALID_ARGUMENTS,
            404 | 410 => code::NOT_FOUND,
            408 | 504 => code::BACKEND_TIMEOUT,
            409 | 412 => code::CONFLICT,
            429 => code::RATE_LIMITED,
            500..=599 => code::BACKEND_UNAVAILABLE,
            _ => code::FAILED,
        };
        let retry_after_seconds = self.header("retry-after").and_then(|seconds| seconds.trim().parse().ok());
        Err(Failure { retry_after_seconds, ..Failure::new(code, self.to_string()) })
    }
}

impl Display for Response {
    /// One line for an error message: who answered, with what status, and the beginning of the body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the backend `{}` answered {}", self.backend, self.status)?;
        match std::str::from_utf8(&self.body).map(str::trim) {
            Ok("") | Err(_) => Ok(()),
            Ok(body) => {
                let quoted: String = body.chars().filter(|c| !c.is_control()).take(QUOTED_CHARS).collect();
                write!(f, ": {quoted}")
            }
        }
    }
}

impl Method {
    /// The method as HTTP writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
        }
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Failure {
        let code = match error {
            HttpError::Unavailable { .. } => code::BACKEND_UNAVAILABLE,
            HttpError::Timeout { .. } => code::BACKEND_TIMEOUT,
            HttpError::Refused { .. } => code::PERMISSION_DENIED,
            HttpError::TooLarge { .. } | HttpError::Unexpected { .. } => code::FAILED,
            HttpError::Invalid { .. } => code::INVALID_ARGUMENTS,
        };
        Failure::new(code, error.to_string())
    }
}

/// Appends `text` with everything but the unreserved characters of RFC 3986 §2.3 percent-encoded.
fn percent_encode(text: &str, into: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            into.push(char::from(byte));
        } else {
            into.push('%');
            into.push(char::from(HEX[usize::from(byte >> 4)]));
            into.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
