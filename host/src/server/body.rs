//! Request bodies, read whole within bounds: each in size and time, all together in memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::Semaphore;

use super::config::HttpConfig;
use super::rpc::RpcError;

/// Bodies up to this size are not counted: connections already bound them.
const SMALL: usize = 64 << 10;

/// The unit in which the memory of large bodies is counted: semaphores count to 2^32 at most at once.
const BLOCK: usize = 1 << 10;

/// The limits on bodies, and the memory that large ones share.
pub struct Bodies {
    max: usize,
    timeout: Duration,
    blocks: Arc<Semaphore>,
}

impl Bodies {
    /// The limits that `config` sets.
    pub fn new(config: &HttpConfig) -> Self {
        let blocks = Arc::new(Semaphore::new(config.max_bodies.as_usize().div_ceil(BLOCK)));
        Self { max: config.max_body.as_usize(), timeout: config.body_timeout.duration(), blocks }
    }

    /// Reads a whole body.
    ///
    /// # Errors
    /// It is too large (413), takes too long (408) or breaks off (400).
    pub async fn read(&self, headers: &HeaderMap, body: Incoming) -> Result<Bytes, RpcError> {
        let announced = body.size_hint().exact().and_then(|size| usize::try_from(size).ok());
        if announced.is_some_and(|size| size > self.max) {
            return Err(self.too_large());
        }
        let reading = async {
            // A body of unknown length may become as large as any.
            let most = announced.unwrap_or(self.max);
            let _held = match u32::try_from(most.div_ceil(BLOCK)) {
                Ok(blocks) if most > SMALL => {
                    Some(self.blocks.acquire_many(blocks).await.expect("the semaphore is never closed"))
                }
                _ => None,
            };
            self.collect(body, announced).await
        };
        match tokio::time::timeout(self.timeout, reading).await {
            Ok(read) => read,
            Err(_) => {
                let sent = if headers.contains_key(CONTENT_LENGTH) { "announced" } else { "begun" };
                let problem = format!("the request body was {sent} but did not arrive within {:?}", self.timeout);
                Err(RpcError::http(StatusCode::REQUEST_TIMEOUT, problem))
            }
        }
    }

    async fn collect(&self, mut body: Incoming, announced: Option<usize>) -> Result<Bytes, RpcError> {
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| RpcError::invalid_request("the request body broke off"))?;
            let Ok(data) = frame.into_data() else { continue };
            if announced == Some(data.len()) {
                // It came in one piece, as small bodies do: no copy.
                return Ok(data);
            }
            if data.len() > self.max - whole.len() {
                return Err(self.too_large());
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    }

    fn too_large(&self) -> RpcError {
        let problem = format!("the request body is larger than the {} bytes this server takes", self.max);
        RpcError::http(StatusCode::PAYLOAD_TOO_LARGE, problem)
    }
}
