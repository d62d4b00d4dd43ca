"""A stand-in for the host, so that tools run in native unit tests.

    from tidegate.testing import Host, reply

    host = Host(permits=lambda resource, row: row["user_id"] == "u1")
    host.backend("billing", lambda request: reply(200, {"invoices": []}))
    assert host.call(list_invoices, user_id="u1") == {"invoices": []}
    assert [request.path for request in host.requests] == ["/invoices?user_id=u1"]
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from typing import Any, Callable, NamedTuple

from . import http
from .context import Context, Facts, Level, running
from .data import encode
from .http import Request, Response
from .tool import TOOLS, Output, Tool, run

Answer = Callable[[Request], Response]
"""Plays a backend."""


class Progress(NamedTuple):
    """A report of progress that a tool made."""

    done: int
    total: int | None
    message: str


def reply(status: int, body: Any = None, headers: dict[str, str] | None = None) -> Response:
    """A response; `body` is anything with a JSON form, or bytes as they are."""
    data = body if isinstance(body, bytes) else json.dumps(encode(body)).encode()
    fields = {"content-type": "application/json", **(headers or {})}
    return Response("test", status, tuple((name, value.encode()) for name, value in fields.items()), data)


class Host:
    """A host for tests: it answers as it was told to, and remembers what it was asked.

    Untold, the caller is `u1`, no row is permitted, and no backend exists. It does not know the manifest: that a tool which reads sends
    nothing that changes something, that one which writes rows asks `permits` before it does, and that arguments keep to their bounds,
    the real host sees to.
    """

    def __init__(
        self,
        *,
        subject: str = "u1",
        trace_id: str = "4bf92f3577b34da6a3ce929d0e0e4736",
        attempt: int = 1,
        idempotency_key: str | None = None,
        row_filter: dict[str, Any] | None = None,
        permits: Callable[[str, Any], bool] = lambda resource, row: False,
    ) -> None:
        filter = None if row_filter is None else json.dumps(row_filter)
        self._facts = Facts(subject, trace_id, attempt, idempotency_key, filter)
        self._permits = permits
        self._backends: dict[str, Answer] = {}
        self._is_cancelled = False
        self.requests: list[Request] = []
        """The requests sent so far, over all calls, refused ones included."""
        self.progress: list[Progress] = []
        """The progress reported so far, over all calls."""
        self.logs: list[tuple[Level, str]] = []
        """The lines logged so far, over all calls."""

    def backend(self, name: str, answer: Answer) -> Host:
        """The backend of this name is played by this function; `reply` makes responses, and raising an `HttpError` fails."""
        self._backends[name] = answer
        return self

    def cancel(self) -> None:
        """The caller gives up, from now on."""
        self._is_cancelled = True

    def call(self, tool: Callable[..., Any] | str, /, **arguments: Any) -> Any:
        """Calls a tool the way the host does, through JSON; returns its structured answer, or the list of its content blocks. Raises
        its `Failure`."""
        output = self.call_text(_name(tool), json.dumps(encode(arguments)))
        return json.loads(output.content if output.structured is None else output.structured)

    def call_text(self, tool: str, arguments: str) -> Output:
        """`call` with arguments and answer as the JSON texts that cross to the host and back."""
        with self.running() as context:
            return run(tool, arguments, context)

    def running(self) -> AbstractContextManager[Context]:
        """A call that runs, to test what is not a tool itself: `with host.running() as context: …`."""
        return running(_Link(self))


def definition(tool: Callable[..., Any] | str) -> Tool:
    """A tool as the host sees it: its schemas, description and hints."""
    return TOOLS[_name(tool)]


def _name(tool: Callable[..., Any] | str) -> str:
    if isinstance(tool, str):
        return tool
    name = next((name for name, known in TOOLS.items() if known.function is tool), None)
    if name is None:
        raise TypeError(f"`{getattr(tool, '__name__', tool)}` is not a tool; decorate it with `@tool`")
    return name


class _Link:
    """The native end of a `Context`."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def facts(self) -> Facts:
        return self._host._facts

    def progress(self, done: int, total: int | None, message: str) -> None:
        self._host.progress.append(Progress(done, total, message))

    def is_cancelled(self) -> bool:
        return self._host._is_cancelled

    def permits(self, resource: str, row: str) -> bool:
        return self._host._permits(resource, json.loads(row))

    def log(self, level: int, message: str) -> None:
        self._host.logs.append((Level(level), message))

    def send(self, request: Request) -> Response:
        self._host.requests.append(request)
        answer = self._host._backends.get(request.backend)
        if answer is None:
            raise http.Refused(request.backend)
        given = answer(request)
        if len(given.body) > request.max_body_bytes:
            raise http.TooLarge(request.backend, request.max_body_bytes)
        return Response(request.backend, given.status, given.headers, given.body)
