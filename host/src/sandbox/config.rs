//! The operator's limits on guests, `[sandbox]` in `tidegate.toml`.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde::Deserialize;

use crate::model::{Bytes, Span};

/// `[sandbox]`: what all guests together and each guest alone may take from the host.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SandboxConfig {
    /// Guests alive at once; further calls wait for a place, at most until their deadline.
    pub max_instances: u32,
    /// Guests computing at once; the others alive wait for I/O or for their next slice. Absent: one per core.
    pub max_running: Option<NonZeroUsize>,
    /// Fuel after which a computing guest lets others run. Smaller is fairer, larger is cheaper.
    pub slice_fuel: u64,
    /// Time after which a guest that keeps calling the host lets others run.
    pub slice_time: Span,
    /// The most memory any manifest may ask for; reserved as address space for every instance.
    pub max_memory: Bytes,
    /// Memory of an ended guest that is wiped in place instead of given back to the system, per instance.
    pub keep_resident: Bytes,
    /// The largest component file.
    pub max_component: Bytes,
    /// The most bytes a guest may hand to the host at once, and so the largest answer.
    pub max_output: Bytes,
    /// What is kept of one call's log, stdout and stderr together.
    pub max_log: Bytes,
    /// Handles (streams, requests, timers) one guest may hold.
    pub max_handles: usize,
    /// The most one set of HTTP headers may take.
    pub max_headers: Bytes,
    /// The most random bytes one request may ask for.
    pub max_random: Bytes,
    /// The most that compiled components take up in the data folder, so that the next start and a return to an earlier version
    /// need not compile them again. What was not used for longest goes first; `"0B"` keeps none.
    pub cache: Bytes,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            max_instances: 128,
            max_running: None,
            slice_fuel: 100_000,
            slice_time: Span(Duration::from_micros(100)),
            max_memory: Bytes::mib(256),
            keep_resident: Bytes::mib(1),
            max_component: Bytes::mib(32),
            max_output: Bytes::mib(4),
            max_log: Bytes::kib(64),
            max_handles: 1024,
            max_headers: Bytes::kib(32),
            max_random: Bytes::kib(64),
            cache: Bytes::mib(512),
        }
    }
}

impl SandboxConfig {
    /// Guests computing at once.
    pub(super) fn running(&self) -> usize {
        self.max_running.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get)
    }
}
