//! Attacks beneath the SDK, straight at WASI and at linear memory.

use core::arch::wasm32::{memory_grow, memory_size};
use std::collections::BTreeMap;

use tidegate_plugin_sdk::{Failure, code};
use wasip2::clocks::monotonic_clock;
use wasip2::filesystem::preopens;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme, http_error_code,
};
use wasip2::io::streams::StreamError;
use wasip2::random::random;

use crate::ambient::Fetched;
use crate::waiting::Kind;

const PAGE_BYTES: usize = 64 * 1024;

/// How much to ask for in one read.
const READ_BYTES: u64 = 64 * 1024;

/// The most that is written at once.
const WRITE_BYTES: usize = 4096;

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
    start(&Scheme::Http, authority, path, Fields::new(), None, "")
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

pub(crate) fn fetch(url: &str, method: Option<&str>, wanted: &BTreeMap<String, String>, body: &str) -> Result<Fetched, Failure> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| Failure::invalid_arguments("the URL has no scheme"))?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    let (headers, mut refused) = (Fields::new(), Vec::new());
    for (name, value) in wanted {
        // A host that refuses a header is asked without it.
        if headers.append(name, value.as_bytes()).is_err() {
            refused.push(name.clone());
        }
    }
    let pending = start(&scheme, authority, path, headers, method, body)?;
    pending.subscribe().block();
    let response = match pending.get() {
        Some(Ok(Ok(response))) => response,
        Some(Ok(Err(ErrorCode::HttpRequestDenied))) => return Err(denied("the host refused the request")),
        Some(Ok(Err(ErrorCode::HttpResponseTimeout))) => return Err(Failure::new(code::BACKEND_TIMEOUT, "no response in time")),
        Some(Ok(Err(error))) => return Err(Failure::new(code::BACKEND_UNAVAILABLE, error.to_string())),
        Some(Err(())) | None => return Err(Failure::failed("the host gave no response")),
    };
    let headers = response.headers().entries();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Fetched {
        status: response.status(),
        headers: headers.into_iter().map(|(name, value)| (name, text(value))).collect(),
        body: text(read(&response)?),
        refused,
    })
}

fn read(response: &IncomingResponse) -> Result<Vec<u8>, Failure> {
    let broken = |()| Failure::failed("the body can't be read");
    let body = response.consume().map_err(broken)?;
    let stream = body.stream().map_err(broken)?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(READ_BYTES) {
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(StreamError::LastOperationFailed(error)) => {
                let message = format!("the body broke off after {} bytes", bytes.len());
                return Err(match http_error_code(&error) {
                    Some(ErrorCode::HttpResponseTimeout) => Failure::new(code::BACKEND_TIMEOUT, message),
                    Some(ErrorCode::HttpResponseBodySize(_)) => Failure::failed("the body is too large"),
                    _ => Failure::new(code::BACKEND_UNAVAILABLE, message),
                });
            }
        }
    }
}

fn start(
    scheme: &Scheme,
    authority: &str,
    path: &str,
    headers: Fields,
    method: Option<&str>,
    body: &str,
) -> Result<FutureIncomingResponse, Failure> {
    let impossible = |()| Failure::invalid_arguments("the URL is not possible");
    let request = OutgoingRequest::new(headers);
    if let Some(method) = method {
        request.set_method(&Method::Other(method.to_owned())).map_err(impossible)?;
    }
    request.set_scheme(Some(scheme)).map_err(impossible)?;
    request.set_authority(Some(authority)).map_err(impossible)?;
    request.set_path_with_query(Some(path)).map_err(impossible)?;
    let sink = if body.is_empty() { None } else { Some(request.body().map_err(impossible)?) };
    let pending = outgoing_handler::handle(request, None).map_err(|error| denied(&error.to_string()))?;
    if let Some(sink) = sink {
        if let Ok(stream) = sink.write() {
            // Whoever does not take it answers all the same.
            let _ = body.as_bytes().chunks(WRITE_BYTES).try_for_each(|chunk| stream.blocking_write_and_flush(chunk));
        }
        let _ = OutgoingBody::finish(sink, None);
    }
    Ok(pending)
}

fn denied(reason: &str) -> Failure {
    Failure::new(code::PERMISSION_DENIED, reason)
}
