//! The operator's limits on the store, `[store]` in `tidegate.toml`.

use serde::Deserialize;

use crate::model::{Bytes, Span};

/// `[store]`: the limits of the embedded store.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// Memory for cached pages. Default 64 MiB.
    pub cache: Bytes,
    /// New work is refused while the disk has less than this left; what already runs is still written down. Default 256 MiB.
    pub min_free: Bytes,
    /// The longest a caller waits for room in the queue, and then again for its commit. Default 5 s.
    pub commit_wait: Span,
    /// The longest a commit nobody waits for stays in memory. Default 50 ms.
    pub linger: Span,
    /// The most commits waiting or reserved. Default 32,768.
    pub max_commits: u32,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            cache: Bytes::mib(64),
            min_free: Bytes::mib(256),
            commit_wait: Span::seconds(5),
            linger: Span::millis(50),
            max_commits: 32_768,
        }
    }
}
