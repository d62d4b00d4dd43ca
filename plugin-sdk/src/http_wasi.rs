//! Requests over `wasi:http` 0.2, waiting for each step.

use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, IncomingResponse, Method as WasiMethod, OutgoingBody,
    OutgoingRequest, RequestOptions, Scheme, http_error_code,
};
use wasip2::io::streams::StreamError;

use crate::http::{HttpError, Method, Request, Response};

/// The most that `blocking-write-and-flush` takes at once (wasi:io 0.2).
const WRITE_BYTES: usize = 4096;

/// How much to ask for in one read.
const READ_BYTES: u64 = 64 * 1024;

pub(crate) fn send(request: &Request) -> Result<Response, HttpError> {
    let outgoing = outgoing(request)?;
    // The body is written after the request has been handed over: the host reads it while it connects.
    let body = match request.body.is_empty() {
        true => None,
        false => Some(outgoing.body().map_err(|()| invalid(request, "it takes no body"))?),
    };
    let pending = outgoing_handler::handle(outgoing, options(request)).map_err(|code| failed(request, code))?;
    // A backend may answer, or go away, without reading the body to its end: what counts is then its answer.
    let written = body.map_or(Ok(()), |body| write(body, &request.body));
    let response = match response(request, &pending) {
        Ok(response) => response,
        Err(error) => return Err(written.err().flatten().map_or(error, |code| failed(request, code))),
    };
    let status = response.status();
    let headers = response.headers().entries();
    let body = read(request, &response)?;
    Ok(Response::new(&request.backend, status, headers, body))
}

fn outgoing(request: &Request) -> Result<OutgoingRequest, HttpError> {
    let headers = Fields::new();
    for (name, value) in &request.headers {
        headers
            .append(name, value.as_bytes())
            .map_err(|error| invalid(request, &format!("the header `{name}` is not possible: {error:?}")))?;
    }
    let outgoing = OutgoingRequest::new(headers);
    let method = match request.method {
        Method::Get => WasiMethod::Get,
        Method::Head => WasiMethod::Head,
        Method::Post => WasiMethod::Post,
        Method::Put => WasiMethod::Put,
        Method::Patch => WasiMethod::Patch,
        Method::Delete => WasiMethod::Delete,
    };
    let (scheme, authority) = match request.backend.split_once("://") {
        Some(("https", authority)) => (Scheme::Https, authority),
        Some(("http", authority)) => (Scheme::Http, authority),
        Some(_) => return Err(invalid(request, "an origin starts with `https://` or `http://`")),
        None => (Scheme::Http, request.backend.as_str()),
    };
    outgoing
        .set_method(&method)
        .and_then(|()| outgoing.set_scheme(Some(&scheme)))
        .and_then(|()| outgoing.set_authority(Some(authority)))
        .and_then(|()| outgoing.set_path_with_query(Some(&request.path)))
        .map_err(|()| invalid(request, "the name of the backend or the path is not possible in a URL"))?;
    Ok(outgoing)
}

fn options(request: &Request) -> Option<RequestOptions> {
    let timeout = request.timeout?;
    let nanoseconds = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
    let options = RequestOptions::new();
    // A host that does not support one of them has its own limits anyway.
    let _ = options.set_connect_timeout(Some(nanoseconds));
    let _ = options.set_first_byte_timeout(Some(nanoseconds));
    let _ = options.set_between_bytes_timeout(Some(nanoseconds));
    Some(options)
}

/// Writes the body whole. An error is the one the stream reported, or none if it was merely closed.
fn write(body: OutgoingBody, bytes: &[u8]) -> Result<(), Option<ErrorCode>> {
    // INVARIANT: the stream is dropped before the body is finished; finishing a body with a living stream traps.
    {
        let stream = body.write().map_err(|()| None)?;
        for chunk in bytes.chunks(WRITE_BYTES) {
            stream.blocking_write_and_flush(chunk).map_err(|error| stream_error(&error))?;
        }
    }
    OutgoingBody::finish(body, None).map_err(Some)
}

fn response(request: &Request, pending: &FutureIncomingResponse) -> Result<IncomingResponse, HttpError> {
    pending.subscribe().block();
    match pending.get() {
        Some(Ok(Ok(response))) => Ok(response),
        Some(Ok(Err(code))) => Err(failed(request, code)),
        // Neither happens: the future is ready, and it is asked once.
        Some(Err(())) | None => Err(unavailable(request, "the host gave no response")),
    }
}

fn read(request: &Request, response: &IncomingResponse) -> Result<Vec<u8>, HttpError> {
    let body: IncomingBody = response.consume().map_err(|()| unavailable(request, "the response has no body"))?;
    let stream = body.stream().map_err(|()| unavailable(request, "the response body can't be read"))?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(READ_BYTES) {
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(error) => {
                return Err(match stream_error(&error) {
                    Some(code) => failed(request, code),
                    None => unavailable(request, "the response broke off"),
                });
            }
        }
        if bytes.len() > request.max_body_bytes {
            let limit_bytes = request.max_body_bytes;
            return Err(HttpError::TooLarge { backend: request.backend.clone(), limit_bytes });
        }
    }
}

fn stream_error(error: &StreamError) -> Option<ErrorCode> {
    match error {
        StreamError::LastOperationFailed(error) => http_error_code(error),
        StreamError::Closed => None,
    }
}

fn failed(request: &Request, code: ErrorCode) -> HttpError {
    match code {
        ErrorCode::DnsTimeout
        | ErrorCode::ConnectionTimeout
        | ErrorCode::ConnectionReadTimeout
        | ErrorCode::ConnectionWriteTimeout
        | ErrorCode::HttpResponseTimeout => HttpError::Timeout { backend: request.backend.clone(), reason: reason(&code) },
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => {
            HttpError::Refused { backend: request.backend.clone() }
        }
        ErrorCode::HttpRequestUriInvalid
        | ErrorCode::HttpRequestUriTooLong
        | ErrorCode::HttpRequestHeaderSectionSize(_)
        | ErrorCode::HttpRequestHeaderSize(_)
        | ErrorCode::HttpRequestBodySize(_) => invalid(request, "its path, headers or body are more than the host sends"),
        ErrorCode::HttpResponseHeaderSectionSize(_)
        | ErrorCode::HttpResponseHeaderSize(_)
        | ErrorCode::HttpResponseBodySize(_) => HttpError::Unexpected {
            backend: request.backend.clone(),
            reason: "more than the host takes in; ask for less at a time".to_owned(),
        },
        code => unavailable(request, &reason(&code)),
    }
}

/// A `wasi:http` error in words.
fn reason(code: &ErrorCode) -> String {
    match code {
        ErrorCode::DnsTimeout | ErrorCode::DnsError(_) | ErrorCode::DestinationNotFound => "its name has no address",
        ErrorCode::DestinationUnavailable | ErrorCode::ConnectionRefused => "it refuses connections",
        ErrorCode::ConnectionTerminated | ErrorCode::HttpResponseIncomplete => "it closed the connection too early",
        ErrorCode::ConnectionTimeout => "no connection in time",
        ErrorCode::HttpResponseTimeout | ErrorCode::ConnectionReadTimeout => "no response in time",
        ErrorCode::ConnectionWriteTimeout => "it did not read the request in time",
        ErrorCode::ConnectionLimitReached => "there are too many connections",
        ErrorCode::HttpProtocolError => "it does not speak HTTP",
        ErrorCode::InternalError(Some(reason)) => reason,
        code => return format!("{code:?}").trim_start_matches("ErrorCode::").to_owned(),
    }
    .to_owned()
}

fn unavailable(request: &Request, reason: &str) -> HttpError {
    HttpError::Unavailable { backend: request.backend.clone(), reason: reason.to_owned() }
}

fn invalid(request: &Request, reason: &str) -> HttpError {
    HttpError::Invalid { backend: request.backend.clone(), reason: reason.to_owned() }
}
