//! One try of a request to a backend, as traces tell it, and what tells the backend where it stands in the trace.

use http::uri::Scheme;
use http::{HeaderValue, StatusCode, request};

use crate::model::{OpenSpan, SentError, SpanKind, Spans};

/// A try under way, named by OpenTelemetry's conventions for HTTP clients.
pub(super) struct RequestSpan(OpenSpan);

impl RequestSpan {
    /// Tells the backend `name` its place in the trace. `resent` is how often the request was sent before.
    pub(super) fn begin(above: &Spans, name: &str, head: &mut request::Parts, resent: u32) -> Self {
        let span = Self::of(above, name, head, resent);
        let position = span.0.position_below(above);
        if let Ok(value) = HeaderValue::from_str(&position.to_string()) {
            head.headers.insert("traceparent", value);
        }
        if let Some(state) = position.state.as_deref().and_then(|state| HeaderValue::from_str(state).ok()) {
            head.headers.insert("tracestate", state);
        }
        span
    }

    /// One that the host itself kept back.
    pub(super) fn kept_back(above: &Spans, name: &str, head: &request::Parts, resent: u32, error: SentError) {
        Self::of(above, name, head, resent).failed(error);
    }

    fn of(above: &Spans, name: &str, head: &request::Parts, resent: u32) -> Self {
        let mut span = above.child(SpanKind::Client, "");
        if span.is_noted() {
            let method = head.method.to_string();
            span.rename(|| method.clone().into());
            span.set("http.request.method", method);
            span.set("server.address", head.uri.host().unwrap_or_default().to_owned());
            let usual = if head.uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
            span.set("server.port", u64::from(head.uri.port_u16().unwrap_or(usual)));
            span.set("url.scheme", head.uri.scheme_str().unwrap_or_default().to_owned());
            // Neither path nor query: they may hold what must not be kept, and the audit log has the path.
            span.set("tidegate.backend.name", name.to_owned());
            if resent > 0 {
                span.set("http.request.resend_count", u64::from(resent));
            }
        }
        Self(span)
    }

    /// The backend answered.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.0.set("http.response.status_code", u64::from(status.as_u16()));
        if (status.is_client_error() || status.is_server_error()) && self.0.is_noted() {
            self.0.set("error.type", status.as_u16().to_string());
            // A backend that does not have what a tool looks for is no failure of anybody's.
            if status.is_server_error() { self.0.fail() } else { self.0.fail_quietly() }
        }
    }

    /// There is no whole answer.
    pub(super) fn failed(&mut self, error: SentError) {
        self.0.set("error.type", error.as_str());
        self.0.fail();
    }
}
