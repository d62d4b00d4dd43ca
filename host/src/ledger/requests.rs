//! The outbound ledger of a call as its outcome tells it: the attempts at requests to backends.

use serde::Serialize;

use super::content::{LIST_MAX, TEXT_MAX, clip, micros};
use super::redact::Scrubber;
use crate::model::Sent;

/// The first attempts that left the host, or the first ones that did not.
pub(super) fn listed<'a>(sent: &'a [Sent], left: bool, fit: &Scrubber<'_>) -> Vec<SentBody<'a>> {
    sent.iter().filter(|sent| sent.left == left).take(LIST_MAX).map(|sent| SentBody::of(sent, fit)).collect()
}

/// How many attempts left the host, or did not.
pub(super) fn count(sent: &[Sent], left: bool) -> usize {
    sent.iter().filter(|sent| sent.left == left).count()
}

/// One attempt.
#[derive(Serialize)]
pub(super) struct SentBody<'a> {
    /// Left out for the first one at a request.
    #[serde(skip_serializing_if = "is_first")]
    attempt: u32,
    backend: &'a str,
    bytes_in: u64,
    bytes_out: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    latency_us: u64,
    method: &'a str,
    path: String,
    request: u32,
    status: Option<u16>,
}

fn is_first(attempt: &u32) -> bool {
    *attempt == 1
}

impl<'a> SentBody<'a> {
    fn of(sent: &'a Sent, fit: &Scrubber<'_>) -> Self {
        Self {
            attempt: sent.attempt,
            backend: clip(&sent.backend, TEXT_MAX),
            bytes_in: sent.bytes_in,
            bytes_out: sent.bytes_out,
            error: sent.error.map(|error| error.as_str()),
            latency_us: micros(sent.latency),
            method: clip(&sent.method, TEXT_MAX),
            path: clip(&fit.text(&sent.path), TEXT_MAX).to_owned(),
            request: sent.request,
            status: sent.status,
        }
    }
}
