//! What rmcp answers over HTTP: everything but tool calls and what is asked about them.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Either, Full};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;

use super::{Body, Front};
use crate::server::operation::Operation;

/// The method whose answer is a stream that lasts.
pub(super) const LISTEN: &str = "subscriptions/listen";

/// As much of an answer as tells whether it is an error.
#[derive(Deserialize)]
struct Answered {
    error: Option<Coded>,
}

#[derive(Deserialize)]
struct Coded {
    code: i32,
}

impl Front {
    /// A request with one answer.
    pub(super) async fn ask(&self, parts: Parts, body: Bytes, mut operation: Operation) -> Response<Body> {
        let (head, body) = Box::pin(self.forward(parts, body)).await.into_parts();
        let whole = body.collect().await.unwrap_or_else(|never| match never {}).to_bytes();
        let answered: Option<Answered> = serde_json::from_slice(&whole).ok();
        operation.answered(answered.and_then(|answered| answered.error).map(|error| error.code));
        Response::from_parts(head, Either::Left(Full::new(whole)))
    }

    /// A subscription, which holds its `place` for as long as it lasts.
    pub(super) async fn listen(&self, parts: Parts, body: Bytes, place: OwnedSemaphorePermit) -> Response<Body> {
        let response = Box::pin(self.forward(parts, body)).await;
        response.map(|body| Either::Right(body.map_frame(move |frame| keep(&place, frame)).boxed_unsync()))
    }

    /// A notification, which has no answer.
    pub(super) async fn notify(&self, parts: Parts, body: Bytes) -> Response<Body> {
        Box::pin(self.forward(parts, body)).await.map(|body| Either::Right(body.boxed_unsync()))
    }

    async fn forward(
        &self,
        mut parts: Parts,
        body: Bytes,
    ) -> Response<impl http_body::Body<Data = Bytes, Error = Infallible> + Send + use<>> {
        // Media types were checked, more leniently than rmcp does.
        parts.headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // The token has done its work and goes no further.
        parts.headers.remove(AUTHORIZATION);
        self.mcp.handle(Request::from_parts(parts, Full::new(body))).await
    }
}

/// `frame`, and as long as frames come, what is held.
fn keep<H>(_held: &H, frame: http_body::Frame<Bytes>) -> http_body::Frame<Bytes> {
    frame
}
