//! Stands in for the raw attacks in a native build, where there is no host to attack.

use std::collections::BTreeMap;

use tidegate_plugin_sdk::Failure;

use crate::ambient::Fetched;
use crate::waiting::Kind;

pub(crate) fn memory_bytes() -> Result<usize, Failure> {
    Err(sandbox_only())
}

pub(crate) fn count_in_memory(_: usize, _: impl Fn(usize) -> u8) -> Result<usize, Failure> {
    Err(sandbox_only())
}

pub(crate) fn random_bytes(_: u64) -> Result<usize, Failure> {
    Err(sandbox_only())
}

pub(crate) fn sleep_nanoseconds(_: u64) -> Result<(), Failure> {
    Err(sandbox_only())
}

/// A request that is never made.
pub(crate) struct Pending;

pub(crate) fn start_request(_: &str, _: &str) -> Result<Pending, Failure> {
    Err(sandbox_only())
}

pub(crate) fn hold_handles(_: Kind, _: u64) -> Result<u64, Failure> {
    Err(sandbox_only())
}

pub(crate) fn folders() -> Result<Vec<String>, Failure> {
    Err(sandbox_only())
}

pub(crate) fn fetch(_: &str, _: Option<&str>, _: &BTreeMap<String, String>, _: &str) -> Result<Fetched, Failure> {
    Err(sandbox_only())
}

fn sandbox_only() -> Failure {
    Failure::failed("this attack needs a sandbox")
}
