//! Attacks beneath the SDK, straight at WASI and at linear memory.

use core::arch::wasm32::{memory_grow, memory_size};

use tidegate_plugin_sdk::{Failure, code};
use wasip2::clocks::monotonic_clock;
use wasip2::filesystem::preopens;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{ErrorCode, Fields, FutureIncomingResponse, OutgoingRequest, Scheme};
use wasip2::random::random;

use crate::waiting::Kind;

const PAGE_BYTES: usize = 64 * 1024;

/// How much memory to add before searching it, in pages: what is new to this instance may be old to its slot.
const GROWN_PAGES: usize = 64;

pub(crate) fn memory_bytes() -> Result<usize, Failure> {
    Ok(memory_size::<0>() * PAGE_BYTES)
}

pub(crate) fn count_in_memory(length: usize, byte: impl Fn(usize) -> u8) -> Result<usize, Failure> {
    memory_grow::<0>(GROWN_PAGES);
    let end = memory_bytes()?;
    let first = byte(0);
    let mut found = 0;
    // From 1: address 0 is no place Rust lets anybody read.
    for start in 1..=end - length {
        // SAFETY: everything below the end of linear memory can be read, and only this thread writes it.
        let at = |offset: usize| unsafe { ((start + offset) as *const u8).read_volatile() };
        if at(0) == first && (1..length).all(|offset| at(offset) == byte(offset)) {
            found += 1;
        }
    }
    Ok(found)
}

pub(crate) fn random_bytes(count: u64) -> Result<usize, Failure> {
    Ok(random::get_random_bytes(count).len())
}

pub(crate) fn sleep_nanoseconds(nanoseconds: u64) -> Result<(), Failure> {
    monotonic_clock::subscribe_duration(nanoseconds).block();
    Ok(())
}

pub(crate) fn start_request(authority: &str, path: &str) -> Result<FutureIncomingResponse, Failure> {
    start(&Scheme::Http, authority, path, None)
}

pub(crate) fn hold_handles(kind: Kind, count: u64) -> Result<u64, Failure> {
    for _ in 0..count {
        match kind {
            Kind::Pollables => std::mem::forget(monotonic_clock::subscribe_duration(u64::MAX)),
            Kind::Fields => std::mem::forget(Fields::new()),
            Kind::Requests => std::mem::forget(start_request("billing", "/invoices")?),
        }
    }
    Ok(count)
}

pub(crate) fn folders() -> Result<Vec<String>, Failure> {
    Ok(preopens::get_directories().into_iter().map(|(_, name)| name).collect())
}

pub(crate) fn fetch(url: &str, host: Option<&str>) -> Result<u16, Failure> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| Failure::invalid_arguments("the URL has no scheme"))?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    let pending = start(&scheme, authority, path, host)?;
    pending.subscribe().block();
    match pending.get() {
        Some(Ok(Ok(response))) => Ok(response.status()),
        Some(Ok(Err(ErrorCode::HttpRequestDenied))) => Err(denied("the host refused the request")),
        Some(Ok(Err(error))) => Err(Failure::new(code::BACKEND_UNAVAILABLE, error.to_string())),
        Some(Err(())) | None => Err(Failure::failed("the host gave no response")),
    }
}

fn start(scheme: &Scheme, authority: &str, path: &str, host: Option<&str>) -> Result<FutureIncomingResponse, Failure> {
    let impossible = |()| Failure::invalid_arguments("the URL is not possible");
    let headers = Fields::new();
    if let Some(host) = host {
        // A host that refuses the header is asked without it.
        let _ = headers.append("host", host.as_bytes());
    }
    let request = OutgoingRequest::new(headers);
    request.set_scheme(Some(scheme)).map_err(impossible)?;
    request.set_authority(Some(authority)).map_err(impossible)?;
    request.set_path_with_query(Some(path)).map_err(impossible)?;
    outgoing_handler::handle(request, None).map_err(|error| denied(&error.to_string()))
}

fn denied(reason: &str) -> Failure {
    Failure::new(code::PERMISSION_DENIED, reason)
}
