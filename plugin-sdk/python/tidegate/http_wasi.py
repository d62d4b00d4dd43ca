"""Requests over `wasi:http` 0.2, waiting for each step."""

from __future__ import annotations

from componentize_py_types import Err, Ok
from wit_world.imports import outgoing_handler, streams
from wit_world.imports import types as wasi

from .http import HttpError, Invalid, Refused, Request, Response, Timeout, TooLarge, Unavailable, Unexpected

_WRITE_BYTES = 4096
"""The most that `blocking-write-and-flush` takes at once (wasi:io 0.2)."""

_READ_BYTES = 64 * 1024
"""How much to ask for in one read."""

_METHODS = {
    "GET": wasi.Method_Get(),
    "HEAD": wasi.Method_Head(),
    "POST": wasi.Method_Post(),
    "PUT": wasi.Method_Put(),
    "PATCH": wasi.Method_Patch(),
    "DELETE": wasi.Method_Delete(),
}

_TIMEOUTS = (
    wasi.ErrorCode_DnsTimeout,
    wasi.ErrorCode_ConnectionTimeout,
    wasi.ErrorCode_ConnectionReadTimeout,
    wasi.ErrorCode_ConnectionWriteTimeout,
    wasi.ErrorCode_HttpResponseTimeout,
)
_REFUSALS = (wasi.ErrorCode_HttpRequestDenied, wasi.ErrorCode_DestinationIpProhibited)
_IMPOSSIBLE = (
    wasi.ErrorCode_HttpRequestUriInvalid,
    wasi.ErrorCode_HttpRequestUriTooLong,
    wasi.ErrorCode_HttpRequestHeaderSectionSize,
    wasi.ErrorCode_HttpRequestHeaderSize,
    wasi.ErrorCode_HttpRequestBodySize,
)
_TOO_MUCH = (
    wasi.ErrorCode_HttpResponseHeaderSectionSize,
    wasi.ErrorCode_HttpResponseHeaderSize,
    wasi.ErrorCode_HttpResponseBodySize,
)

_REASONS: dict[type, str] = {
    wasi.ErrorCode_DnsTimeout: "its name has no address",
    wasi.ErrorCode_DnsError: "its name has no address",
    wasi.ErrorCode_DestinationNotFound: "its name has no address",
    wasi.ErrorCode_DestinationUnavailable: "it refuses connections",
    wasi.ErrorCode_ConnectionRefused: "it refuses connections",
    wasi.ErrorCode_ConnectionTerminated: "it closed the connection too early",
    wasi.ErrorCode_HttpResponseIncomplete: "it closed the connection too early",
    wasi.ErrorCode_ConnectionTimeout: "no connection in time",
    wasi.ErrorCode_HttpResponseTimeout: "no response in time",
    wasi.ErrorCode_ConnectionReadTimeout: "no response in time",
    wasi.ErrorCode_ConnectionWriteTimeout: "it did not read the request in time",
    wasi.ErrorCode_ConnectionLimitReached: "there are too many connections",
    wasi.ErrorCode_HttpProtocolError: "it does not speak HTTP",
}


def send(request: Request) -> Response:
    """Sends a request and reads its response whole."""
    outgoing = _outgoing(request)
    # The body is written after the request has been handed over: the host reads it while it connects.
    body = outgoing.body() if request.body else None
    try:
        pending = outgoing_handler.handle(outgoing, _options(request))
    except Err as error:
        raise _failed(request, error.value) from None
    # A backend may answer, or go away, without reading the body to its end: what counts is then its answer.
    written = None if body is None else _write(body, request.body)
    try:
        with pending, _response(request, pending) as response:
            status = response.status()
            with response.headers() as headers:
                entries = tuple((name, bytes(value)) for name, value in headers.entries())
            return Response(request.backend, status, entries, _read(request, response))
    except HttpError:
        if written is not None:
            raise _failed(request, written) from None
        raise


def _outgoing(request: Request) -> wasi.OutgoingRequest:
    method = _METHODS.get(request.method)
    if method is None:
        raise Invalid(request.backend, f"`{request.method}` is none of {', '.join(_METHODS)}")
    headers = wasi.Fields()
    for name, value in request.headers:
        try:
            headers.append(name, value.encode())
        except Err as error:
            problem = type(error.value).__name__.removeprefix("HeaderError_")
            raise Invalid(request.backend, f"the header `{name}` is not possible: {problem}") from None
    outgoing = wasi.OutgoingRequest(headers)
    scheme, separator, authority = request.backend.partition("://")
    is_secure = bool(separator) and scheme == "https"
    try:
        outgoing.set_method(method)
        outgoing.set_scheme(wasi.Scheme_Https() if is_secure else wasi.Scheme_Http())
        outgoing.set_authority(authority if separator else request.backend)
        outgoing.set_path_with_query(request.path)
    except Err:
        raise Invalid(request.backend, "the name of the backend or the path is not possible in a URL") from None
    return outgoing


def _options(request: Request) -> wasi.RequestOptions | None:
    if request.timeout is None:
        return None
    nanoseconds = min(max(int(request.timeout * 1e9), 0), 2**64 - 1)
    options = wasi.RequestOptions()
    for limit in (options.set_connect_timeout, options.set_first_byte_timeout, options.set_between_bytes_timeout):
        try:
            limit(nanoseconds)
        except Err:
            # A host that does not support one of them has its own limits anyway.
            pass
    return options


def _write(body: wasi.OutgoingBody, data: bytes) -> wasi.ErrorCode | None:
    """Writes the body whole; returns the error that the stream reported, if it did."""
    try:
        # INVARIANT: the stream is dropped before the body is finished; finishing a body with a living stream traps.
        with body.write() as stream:
            for start in range(0, len(data), _WRITE_BYTES):
                stream.blocking_write_and_flush(data[start : start + _WRITE_BYTES])
        wasi.OutgoingBody.finish(body, None)
    except Err as error:
        return _reported(error.value)
    return None


def _response(request: Request, pending: wasi.FutureIncomingResponse) -> wasi.IncomingResponse:
    with pending.subscribe() as ready:
        ready.block()
    match pending.get():
        case Ok(Ok(response)):
            return response
        case Ok(Err(error)):
            raise _failed(request, error)
    # Does not happen: the future is ready, and it is asked once.
    raise Unavailable(request.backend, "the host gave no response")


def _read(request: Request, response: wasi.IncomingResponse) -> bytes:
    data = bytearray()
    with response.consume() as body, body.stream() as stream:
        while True:
            try:
                data += stream.blocking_read(_READ_BYTES)
            except Err as error:
                if isinstance(error.value, streams.StreamError_Closed):
                    return bytes(data)
                reported = _reported(error.value)
                if reported is None:
                    raise Unavailable(request.backend, "the response broke off") from None
                raise _failed(request, reported) from None
            if len(data) > request.max_body_bytes:
                raise TooLarge(request.backend, request.max_body_bytes)


def _reported(error: object) -> wasi.ErrorCode | None:
    if isinstance(error, streams.StreamError_LastOperationFailed):
        with error.value as reported:
            return wasi.http_error_code(reported)
    return error if type(error).__name__.startswith("ErrorCode_") else None


def _failed(request: Request, error: wasi.ErrorCode) -> HttpError:
    if isinstance(error, _REFUSALS):
        return Refused(request.backend)
    if isinstance(error, _IMPOSSIBLE):
        return Invalid(request.backend, "its path, headers or body are more than the host sends")
    if isinstance(error, _TOO_MUCH):
        return Unexpected(request.backend, "more than the host takes in; ask for less at a time")
    reason = _REASONS.get(type(error)) or type(error).__name__.removeprefix("ErrorCode_")
    return Timeout(request.backend, reason) if isinstance(error, _TIMEOUTS) else Unavailable(request.backend, reason)
