//! A client for what the host has to say to others in whatever form they want it: whole requests, whole answers.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};

use super::connect::{self, Client};

/// The most bytes of an answer that are taken.
const MAX_ANSWER: usize = 64 << 10;

/// The client. How long it may take is for whoever waits.
#[derive(Clone)]
pub struct Poster(Client);

impl Poster {
    /// A client without connections.
    pub fn new() -> Self {
        Self(connect::client())
    }

    /// Sends a request and takes in the whole answer.
    ///
    /// # Errors
    /// There was no answer, or it is too long: why.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let response = self.0.request(request.map(Full::new)).await.map_err(|error| connect::explain(&error))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| error.to_string())?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}
