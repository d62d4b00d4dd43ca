//! What a directory answers: a status, headers and a body, or a refusal in words.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use rustix::io::Errno;
use serde_json::json;

use super::place::Place;
use crate::outbound::Body;

/// An answer of a request that was fulfilled.
pub(super) struct Reply {
    pub status: StatusCode,
    pub headers: Vec<(header::HeaderName, String)>,
    pub body: Bytes,
}

/// Why a request was not fulfilled.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
}

impl Reply {
    /// Done; there is nothing to show.
    pub(super) fn done(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    /// An answer in JSON.
    pub(super) fn json(value: &impl serde::Serialize, content_type: &str) -> Self {
        let body = serde_json::to_vec(value).expect("listings are plain data");
        let headers = vec![(header::CONTENT_TYPE, content_type.to_owned())];
        Self { status: StatusCode::OK, headers, body: body.into() }
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Full::new(self.body).map_err(|never| match never {}).boxed_unsync());
        *response.status_mut() = self.status;
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(super) fn invalid(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn not_found(message: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(super) fn not_allowed(message: &str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, message)
    }

    pub(super) fn forbidden(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    pub(super) fn conflict(message: &str) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// It is not, or no longer, as the request says (RFC 9110 §13).
    pub(super) fn changed(message: &str) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, message)
    }

    pub(super) fn too_large(message: &str) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    pub(super) fn out_of_range(message: &str) -> Self {
        Self::new(StatusCode::RANGE_NOT_SATISFIABLE, message)
    }

    /// The directory itself is not there.
    pub(super) fn gone() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the directory can't be opened on this machine")
    }

    /// More is being done than may be.
    pub(super) fn busy() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the directories are busy")
    }

    pub(super) fn broken(message: &str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// There is a symbolic link where a file or folder should be.
    pub(super) fn link(place: &Place) -> Self {
        Self::forbidden(&format!("`{}` is, or leads through, a symbolic link, and those are not followed", place.shown()))
    }

    /// What the system says of a file.
    pub(super) fn of(error: Errno, place: &Place) -> Self {
        let shown = place.shown();
        let (status, what) = match error {
            Errno::NOENT => (StatusCode::NOT_FOUND, "is not there"),
            Errno::NOTDIR => (StatusCode::NOT_FOUND, "is no folder, or lies in what is none"),
            Errno::EXIST | Errno::NOTEMPTY => (StatusCode::CONFLICT, "is there already"),
            Errno::ISDIR => (StatusCode::CONFLICT, "is a folder"),
            Errno::LOOP => (StatusCode::FORBIDDEN, "leads through a symbolic link, and those are not followed"),
            Errno::ACCESS | Errno::PERM => (StatusCode::FORBIDDEN, "is not open to the user that the host runs as"),
            Errno::ROFS => (StatusCode::FORBIDDEN, "is on a disk that is for reading only"),
            Errno::NAMETOOLONG => (StatusCode::BAD_REQUEST, "has a name that is too long"),
            Errno::XDEV => (StatusCode::CONFLICT, "is on another disk; read it and write it there"),
            Errno::INVAL => (StatusCode::CONFLICT, "can't be moved there"),
            Errno::CANCELED => (StatusCode::SERVICE_UNAVAILABLE, "was left as it is: the time for the request was over"),
            Errno::NOSPC | Errno::DQUOT | Errno::FBIG => (StatusCode::INSUFFICIENT_STORAGE, "was not written: the disk is full"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "can't be used: the disk is in trouble"),
        };
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::warn!(path = shown, error = %std::io::Error::from(error), "a file can't be used");
        }
        Self::new(status, format!("`{shown}` {what}"))
    }

    /// What the system says of a file, as the standard library passes it on.
    pub(super) fn of_io(error: &std::io::Error, place: &Place) -> Self {
        Self::of(Errno::from_io_error(error).unwrap_or(Errno::IO), place)
    }

    /// With more words.
    pub(super) fn and(mut self, more: &str) -> Self {
        self.message.push_str(more);
        self
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let mut reply = Reply::json(&json!({ "message": self.message }), "application/json");
        reply.status = self.status;
        reply.into_response()
    }
}
