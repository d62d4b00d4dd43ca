//! Request bodies, read whole within bounds: each in size and time, all together in memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::rpc::RpcError;
use crate::model::{self, Span};

/// Bodies up to this size are not counted: connections already bound them.
const SMALL: usize = 64 << 10;

/// How long to wait for a small body that nobody will look at.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

/// The unit in which the memory of large bodies is counted: semaphores count to 2^32 at most at once.
const BLOCK: usize = 1 << 10;

/// A share of the memory for large bodies.
type Memory = OwnedSemaphorePermit;

/// A body that was read whole.
pub struct RequestBody {
    /// The body.
    pub bytes: Bytes,
    /// What it takes up while it, or what was parsed from it, is around. Small bodies take up nothing that counts.
    pub memory: Option<Memory>,
}

/// The limits on bodies, and the memory that large ones share.
pub struct Bodies {
    max: usize,
    timeout: Duration,
    blocks: Arc<Semaphore>,
}

impl Bodies {
    /// Bodies of at most `max`, of which the large ones take up `memory` together, each within `timeout`.
    pub fn new(max: model::Bytes, memory: model::Bytes, timeout: Span) -> Self {
        let blocks = Arc::new(Semaphore::new(memory.as_usize().div_ceil(BLOCK)));
        Self { max: max.as_usize(), timeout: timeout.duration(), blocks }
    }

    /// Reads a whole body.
    ///
    /// # Errors
    /// It is too large (413), takes too long (408), breaks off (400), or other large ones take up all memory there is for
    /// them (503).
    pub async fn read(&self, body: Incoming) -> Result<RequestBody, RpcError> {
        let announced = body.size_hint().exact().and_then(|size| usize::try_from(size).ok());
        if announced.is_some_and(|size| size > self.max) {
            return Err(self.too_large());
        }
        let memory = match announced {
            Some(size) if size > SMALL => Some(self.hold(size).await?),
            _ => None,
        };
        match tokio::time::timeout(self.timeout, self.collect(body, announced, memory)).await {
            Ok(read) => read,
            Err(_) => {
                let problem = format!("the request body did not arrive within {:?}", self.timeout);
                Err(RpcError::http(StatusCode::REQUEST_TIMEOUT, problem))
            }
        }
    }

    /// Reads a body of a request that is refused already, if it is small: a connection whose client is still sending can't be
    /// answered and kept, and one that is closed may lose the answer on its way.
    pub async fn discard(&self, mut body: Incoming) {
        let mut left = SMALL.min(self.max);
        let all = async {
            while let Some(Ok(frame)) = body.frame().await {
                let length = frame.data_ref().map_or(0, Bytes::len);
                match left.checked_sub(length) {
                    Some(rest) => left = rest,
                    None => return,
                }
            }
        };
        // Whoever takes longer is answered and let go.
        let _ = tokio::time::timeout(DISCARD_TIMEOUT, all).await;
    }

    async fn collect(
        &self,
        mut body: Incoming,
        announced: Option<usize>,
        mut memory: Option<Memory>,
    ) -> Result<RequestBody, RpcError> {
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| RpcError::invalid_request("the request body broke off"))?;
            let Ok(data) = frame.into_data() else { continue };
            if announced == Some(data.len()) {
                // It came in one piece, as small bodies do: no copy.
                return Ok(RequestBody { bytes: data, memory });
            }
            if data.len() > self.max - whole.len() {
                return Err(self.too_large());
            }
            if memory.is_none() && whole.len() + data.len() > SMALL {
                // Of unknown length, and no longer small: it may become as large as any.
                memory = Some(self.hold(self.max).await?);
            }
            whole.extend_from_slice(&data);
        }
        Ok(RequestBody { bytes: whole.freeze(), memory })
    }

    /// Waits until there is memory for a large body.
    async fn hold(&self, size: usize) -> Result<Memory, RpcError> {
        let blocks = u32::try_from(size.div_ceil(BLOCK)).unwrap_or(u32::MAX);
        match tokio::time::timeout(self.timeout, self.blocks.clone().acquire_many_owned(blocks)).await {
            Ok(memory) => Ok(memory.expect("the semaphore is never closed")),
            Err(_) => {
                let problem = "too many large requests are under way; try again later";
                Err(RpcError::http(StatusCode::SERVICE_UNAVAILABLE, problem))
            }
        }
    }

    fn too_large(&self) -> RpcError {
        let problem = format!("the request body is larger than the {} bytes this server takes", self.max);
        RpcError::http(StatusCode::PAYLOAD_TOO_LARGE, problem)
    }
}
