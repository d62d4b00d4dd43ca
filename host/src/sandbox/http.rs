//! The only way out of the sandbox: `wasi:http` requests, handed to the host's connector.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::uri::Scheme;
use http::{HeaderName, Request, Response};
use http_body_util::BodyExt;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::WasiView as _;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpHooks};

use super::logs::Log;
use super::meter::{Meter, REQUEST};
use super::state::State;
use super::{ReservedHeader, SendRequest};

/// The interface that says what went wrong.
const TYPES: &str = "wasi:http/types@0.2.12";
/// The most bytes a guest may write to a request's body at once.
const BODY_CHUNK: usize = 64 << 10;
/// Such writes that wait at most until the host has taken them.
const BODY_CHUNKS: usize = 1;
/// The longest part of a request's target that is logged.
const MAX_TARGET: usize = 128;

type Worker = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sending = Box<dyn Future<Output = Result<(Response<WasiBody>, Worker), Error>> + Send>;

/// A guest's outgoing requests.
pub(super) struct Outgoing {
    /// Absent while describing: nothing leaves then.
    send: Option<SendRequest>,
    /// Whether `https` is a scheme to this guest.
    https: bool,
    reserved: ReservedHeader,
    meter: Arc<Meter>,
    log: Log,
}

impl Outgoing {
    /// Requests go to `send`; headers for which `reserved` holds belong to the host alone.
    pub(super) fn new(send: Option<SendRequest>, https: bool, reserved: ReservedHeader, meter: Arc<Meter>, log: Log) -> Self {
        Self { send, https, reserved, meter, log }
    }
}

/// Links what tells a guest why a body broke off. The library's own looks for another type than the one that bodies fail with, so
/// that a body that was too large, or too slow, looked to guests like a connection that broke.
pub(super) fn link_body_errors(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance(TYPES)?.func_wrap(
        "http-error-code",
        |mut store: StoreContextMut<'_, State>, (error,): (Resource<wasmtime::Error>,)| {
            let error = store.data_mut().ctx().table.get(&error)?;
            let told = error.downcast_ref::<ErrorCode>().cloned();
            Ok((told.or_else(|| error.downcast_ref::<Error>().map(of_body)),))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

impl WasiHttpHooks for Outgoing {
    /// The whole filter is ours: `is_forbidden_header` is derived from it, in requests and in responses.
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        let reserved = self.reserved;
        Arc::new(move |name: &HeaderName| DEFAULT_FORBIDDEN_HEADERS.contains(name) || reserved(name))
    }

    /// Logical backends have no TLS of their own; the host speaks it to the real one. Literal origins may; which ones, the connector
    /// decides.
    fn is_supported_scheme(&mut self, scheme: &Scheme) -> bool {
        *scheme == Scheme::HTTP || (self.https && *scheme == Scheme::HTTPS)
    }

    fn default_scheme(&mut self) -> Option<Scheme> {
        Some(Scheme::HTTP)
    }

    fn set_host_header(&mut self) -> bool {
        false
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        BODY_CHUNKS
    }

    fn send_request(&mut self, request: Request<WasiBody>, options: Option<RequestOptions>, _done: Worker) -> Sending {
        self.meter.charge(REQUEST);
        let Some(send) = &self.send else {
            return Box::new(async { Err(Error::HttpRequestDenied) });
        };
        let log = self.log.clone();
        let line = line(&request);
        let outgoing = Arc::clone(&self.meter);
        let request = request.map(|body| metered(body, outgoing, |error| io::Error::other(error.to_string())));
        // The connector has its own limits; the guest can only ask for shorter ones. It keeps to them itself, so that it knows how
        // the request ended.
        let patience = options.and_then(|options| options.first_byte_timeout).unwrap_or(Duration::MAX);
        // Called here and not in the future, so that requests are numbered in the order the guest made them.
        let response = send(request, patience);
        let incoming = Arc::clone(&self.meter);
        Box::new(async move {
            let response = response.await.map_err(|error| {
                // Into the guest's log, and so into the record of the call: what it tried to reach is part of what it did.
                log.request(&format!("{line}: {}", error.kind()));
                of_io(&error)
            })?;
            let response = response.map(|body| metered(body, incoming, |error: io::Error| of_io(&error)));
            let worker: Worker = Box::new(async { Ok(()) });
            Ok((response, worker))
        })
    }
}

/// Method and backend, or origin, of a request; the path may hold what should not be kept.
fn line(request: &Request<WasiBody>) -> String {
    let authority = request.uri().authority().map_or("", |authority| authority.as_str());
    let authority = &authority[..authority.floor_char_boundary(MAX_TARGET)];
    let scheme = request.uri().scheme_str().unwrap_or_default();
    format!("{} {scheme}://{authority}", request.method())
}

/// A body whose bytes are charged to the guest as they pass.
fn metered<B, E>(
    body: B,
    meter: Arc<Meter>,
    error: fn(B::Error) -> E,
) -> http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, E>
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    E: 'static,
{
    body.map_frame(move |frame| {
        meter.charge_bytes(frame.data_ref().map_or(0, bytes::Bytes::len));
        frame
    })
    .map_err(error)
    .boxed_unsync()
}

/// What a guest learns of a body that broke off.
fn of_body(error: &Error) -> ErrorCode {
    match error {
        Error::HttpResponseTimeout => ErrorCode::HttpResponseTimeout,
        Error::HttpResponseBodySize(size) => ErrorCode::HttpResponseBodySize(*size),
        Error::ConnectionTerminated => ErrorCode::ConnectionTerminated,
        _ => ErrorCode::HttpProtocolError,
    }
}

/// What a guest learns of an error: its kind, never an address.
fn of_io(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Error::HttpRequestDenied,
        io::ErrorKind::InvalidInput => Error::HttpRequestUriInvalid,
        io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NotFound => Error::DestinationUnavailable,
        io::ErrorKind::TimedOut => Error::HttpResponseTimeout,
        io::ErrorKind::QuotaExceeded => Error::ConnectionLimitReached,
        io::ErrorKind::FileTooLarge => Error::HttpResponseBodySize(None),
        io::ErrorKind::ArgumentListTooLong => Error::HttpRequestBodySize(None),
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::UnexpectedEof => {
            Error::ConnectionTerminated
        }
        _ => Error::HttpProtocolError,
    }
}
