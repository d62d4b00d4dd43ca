//! The outbound ledger of a call: every attempt at a request to a backend, and how it went.

use std::time::Duration;

/// One attempt at a request to a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The logical backend.
    pub backend: String,
    /// The HTTP method.
    pub method: String,
    /// The path, without the query: queries carry values that may be personal. With it for directories, where it says what is asked
    /// for.
    pub path: String,
    /// The request's number in the call, from 1. Attempts at the same request share it, and the `Idempotency-Key`.
    pub request: u32,
    /// Which attempt at the request it is, from 1.
    pub attempt: u32,
    /// Whether it carried an `Idempotency-Key` that the backend honours, so that it can be asked again.
    pub keyed: bool,
    /// Whether it left the host: whether a connection came about and the request may have reached the backend. Not, if
    /// the backend are directories of the host, which did nothing.
    pub left: bool,
    /// The response's status, if one came.
    pub status: Option<u16>,
    /// Why there is no response, or no whole one.
    pub error: Option<SentError>,
    /// From when it left until its response was read, or given up.
    pub latency: Duration,
    /// Request body bytes sent.
    pub bytes_out: u64,
    /// Response body bytes received.
    pub bytes_in: u64,
}

/// Why an attempt has no whole response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SentError {
    /// The backend's breaker was open, so nothing was sent.
    BreakerOpen,
    /// The backend had asked to be left alone for a while, so nothing was sent.
    ToldToWait,
    /// Too many requests of the call, or to the backend, were on their way for too long, so nothing was sent.
    NoTurn,
    /// The request's body was larger than the operator allows, so nothing was sent.
    RequestTooLarge,
    /// The name leads to an address that is not in the public internet, so nothing was sent.
    Forbidden,
    /// No connection came about.
    Unreachable,
    /// The backend did not answer in time, or not to the end.
    TimedOut,
    /// The connection broke, also in the middle of the response.
    BrokenOff,
    /// What came was no HTTP response that the host takes.
    NotHttp,
    /// The response was larger than the operator allows.
    TooLarge,
    /// The guest, or the call, ended before there was a response.
    Abandoned,
}

impl Sent {
    /// Whether the request asks for a change (anything but GET and HEAD: RFC 9110 §9.2.1 safe methods we accept).
    pub fn is_unsafe(&self) -> bool {
        !matches!(self.method.as_str(), "GET" | "HEAD")
    }

    /// Whether the backend failed it: there is no whole response, or it says that the backend is in trouble or asked too often.
    pub fn is_failed(&self) -> bool {
        let is_whole = matches!(self.error, None | Some(SentError::TooLarge));
        !is_whole || self.status.is_none_or(|status| status == 429 || status >= 500)
    }
}

impl SentError {
    /// As records spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BreakerOpen => "breaker_open",
            Self::ToldToWait => "told_to_wait",
            Self::NoTurn => "no_turn",
            Self::RequestTooLarge => "request_too_large",
            Self::Forbidden => "forbidden",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::BrokenOff => "broken_off",
            Self::NotHttp => "not_http",
            Self::TooLarge => "too_large",
            Self::Abandoned => "abandoned",
        }
    }
}
