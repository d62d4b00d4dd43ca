"""Requests to the systems behind a tool.

A tool names a logical backend, `http://billing`; the host knows where it is, authenticates to it, adds the trace headers and, for a
write tool, an idempotency key, and keeps to the operator's time and size limits. A literal origin of the manifest, such as
`https://api.example.com`, goes by itself; there the host does all of that but authenticate.
"""

from __future__ import annotations

import json as _json
from dataclasses import dataclass, field
from typing import Any, Mapping, TypeVar, overload
from urllib.parse import quote

from . import code
from .context import current
from .data import encode, reader
from .failure import Failure

DEFAULT_MAX_BODY_BYTES = 1024 * 1024
"""How large a response body may be, in bytes, unless the request says otherwise."""

_QUOTED_CHARS = 200
"""How much of an unexpected body an error message quotes."""

T = TypeVar("T")


class HttpError(Failure):
    """There is no usable response. As the `Failure` it is, it has the word of the error envelope that fits.

    After one, whether the backend acted on the request is not known, except for `Refused` and `Invalid`: nothing was sent.
    """

    word = code.FAILED

    def __init__(self, backend: str, message: str) -> None:
        super().__init__(self.word, message)
        self.backend = backend


class Unavailable(HttpError):
    """The backend can't be reached, or broke off."""

    word = code.BACKEND_UNAVAILABLE

    def __init__(self, backend: str, reason: str) -> None:
        super().__init__(backend, f"the backend `{backend}` can't be reached: {reason}")


class Timeout(HttpError):
    """The backend took too long; what it did with the request is not known."""

    word = code.BACKEND_TIMEOUT

    def __init__(self, backend: str, reason: str) -> None:
        super().__init__(backend, f"the backend `{backend}` took too long: {reason}")


class Refused(HttpError):
    """The host does not let this request out."""

    word = code.PERMISSION_DENIED

    def __init__(self, backend: str) -> None:
        super().__init__(
            backend, f"the host refused a request to `{backend}`: is it among the `backends` or `origins` of the plugin's manifest?"
        )


class TooLarge(HttpError):
    """The response body is larger than the request allowed."""

    def __init__(self, backend: str, limit_bytes: int) -> None:
        super().__init__(backend, f"the backend `{backend}` answered with more than {limit_bytes} bytes; ask for less at a time")


class Unexpected(HttpError):
    """The response is not what the tool expected."""

    def __init__(self, backend: str, reason: str) -> None:
        super().__init__(backend, f"the backend `{backend}` answered with something unexpected: {reason}")


class Invalid(HttpError):
    """The request can't be expressed in HTTP; nothing was sent."""

    word = code.INVALID_ARGUMENTS

    def __init__(self, backend: str, reason: str) -> None:
        super().__init__(backend, f"a request to `{backend}` can't be sent: {reason}")


@dataclass(frozen=True)
class Request:
    """A request, as it leaves the tool."""

    method: str
    """The method, such as `GET`."""
    backend: str
    """The logical backend, or the literal origin."""
    path: str
    """The path, percent-encoded, with its query if there is one: `/invoices?status=open`."""
    headers: tuple[tuple[str, str], ...] = ()
    """The headers the tool set."""
    body: bytes = b""
    """The body; empty for none."""
    timeout: float | None = None
    """How many seconds the tool waits for a connection, for the first byte, and between bytes. The host's own limits hold too."""
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES
    """How large a response body may be, in bytes."""


@dataclass(frozen=True)
class Response:
    """A response, read whole. Any status: ask for it, or let `success` turn the bad ones into failures."""

    backend: str
    status: int
    headers: tuple[tuple[str, bytes], ...] = ()
    body: bytes = field(default=b"", repr=False)

    def header(self, name: str) -> str | None:
        """The first header of this name, if it is text."""
        for key, value in self.headers:
            if key.lower() == name.lower():
                try:
                    return value.decode()
                except UnicodeDecodeError:
                    return None
        return None

    @overload
    def json(self) -> Any: ...

    @overload
    def json(self, kind: type[T]) -> T: ...

    def json(self, kind: Any = Any) -> Any:
        """The body as JSON, read as `kind`: a dataclass, or any other type a tool's parameter may have. Raises `Unexpected` if it is
        not JSON or does not fit."""
        try:
            return reader(kind)(_json.loads(self.body), "")
        except (ValueError, RecursionError) as error:
            raise Unexpected(self.backend, f"status {self.status}, {error}") from None

    def success(self) -> Response:
        """The response, if its status is 2xx.

        Any other status is raised as a `Failure`, with the `Retry-After` of the backend where it gave one in seconds: 400 and 422
        `invalid_arguments`, 404 and 410 `not_found`, 409 and 412 `conflict`, 408 and 504 `backend_timeout`, 429 `rate_limited`, other
        5xx `backend_unavailable`, and the rest (such as 401 and 403: what a backend refuses to the operator's credentials is no matter
        of the caller's permissions) `failed`.
        """
        match self.status:
            case status if 200 <= status < 300:
                return self
            case 400 | 422:
                word = code.INVALID_ARGUMENTS
            case 404 | 410:
                word = code.NOT_FOUND
            case 408 | 504:
                word = code.BACKEND_TIMEOUT
            case 409 | 412:
                word = code.CONFLICT
            case 429:
                word = code.RATE_LIMITED
            case status if 500 <= status < 600:
                word = code.BACKEND_UNAVAILABLE
            case _:
                word = code.FAILED
        raise Failure(word, str(self), self._retry_after())

    def __str__(self) -> str:
        """One line for an error message: who answered, with what status, and the beginning of the body."""
        line = f"the backend `{self.backend}` answered {self.status}"
        try:
            body = self.body.decode().strip()
        except UnicodeDecodeError:
            return line
        quoted = "".join(char for char in body if char.isprintable())[:_QUOTED_CHARS]
        return f"{line}: {quoted}" if quoted else line

    def _retry_after(self) -> int | None:
        seconds = (self.header("retry-after") or "").strip()
        is_number = seconds.isascii() and seconds.isdigit() and len(seconds) < 10
        return int(seconds) if is_number else None


def get(url: str, *segments: str, **options: Any) -> Response:
    """Reads: `get("http://billing/invoices", invoice_id, query={"full": True})`. See `request`."""
    return request("GET", url, *segments, **options)


def post(url: str, *segments: str, **options: Any) -> Response:
    """Creates or does: `post("http://billing/invoices", json=new)`. See `request`."""
    return request("POST", url, *segments, **options)


def put(url: str, *segments: str, **options: Any) -> Response:
    """Replaces. See `request`."""
    return request("PUT", url, *segments, **options)


def patch(url: str, *segments: str, **options: Any) -> Response:
    """Changes. See `request`."""
    return request("PATCH", url, *segments, **options)


def delete(url: str, *segments: str, **options: Any) -> Response:
    """Removes. See `request`."""
    return request("DELETE", url, *segments, **options)


def request(
    method: str,
    url: str,
    *segments: str,
    query: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    json: Any = None,
    body: bytes | None = None,
    timeout: float | None = None,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
) -> Response:
    """Sends a request and reads the response whole. A status such as 404 or 500 is a response, not an error. Raises `HttpError`.

    `url` is `http://` and a logical backend of the manifest, or a literal origin of it, and the part of the path that the tool itself
    knows. What comes from arguments goes into `segments`, each one step of the path and percent-encoded, so that none can name
    another route, and into `query`, of which members that are None are left out.

    `json` is a body of anything with a JSON form; `body` one of bytes, whose type `headers` say. Credentials, trace context and
    idempotency key are the host's business. `timeout` is in seconds, for a connection, for the first byte, and between bytes.
    """
    backend, path = _target(url, segments)
    fields = list((headers or {}).items())
    if json is not None:
        try:
            body = _json.dumps(encode(json), allow_nan=False, separators=(",", ":")).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise Invalid(backend, f"its body has no JSON form: {error}") from None
        fields.append(("content-type", "application/json"))
    parts = [f"{_escape(name)}={_escape(_plain(value))}" for name, value in (query or {}).items() if value is not None]
    if parts:
        path += ("&" if "?" in path else "?") + "&".join(parts)
    return current().send(Request(method, backend, path, tuple(fields), body or b"", timeout, max_body_bytes))


def _target(url: str, segments: tuple[str, ...]) -> tuple[str, str]:
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    if not separator or scheme not in ("http", "https") or not authority:
        raise Invalid(url, "an address starts with `http://` and a backend of the manifest, such as `http://billing/`")
    # Behind either of these a segment would be none.
    if segments and ("?" in path or "#" in path):
        raise Invalid(authority, "a URL with a query takes no further segments; pass `query={…}`")
    # A backend is one word; what has a dot or a port, or asks for TLS, is an address of its own.
    is_origin = scheme == "https" or "." in authority or ":" in authority
    backend = f"{scheme}://{authority}" if is_origin else authority
    path = slash + path
    for segment in segments:
        if segment in ("", ".", ".."):
            raise Invalid(backend, f"`{segment}` can't be part of a path")
        path = path.removesuffix("/") + "/" + _escape(segment)
    return backend, path or "/"


def _plain(value: Any) -> str:
    value = encode(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _escape(text: str) -> str:
    # All but the unreserved characters of RFC 3986 §2.3.
    return quote(str(text), safe="")
