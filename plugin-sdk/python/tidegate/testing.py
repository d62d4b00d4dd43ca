"""A stand-in for the host, so that tools run in native unit tests.

    from tidegate.testing import Host, reply

    host = Host(permits=lambda resource, row: row["user_id"] == "u1")
    host.backend("billing", lambda request: reply(200, {"invoices": []}))
    assert host.call(list_invoices, user_id="u1") == {"invoices": []}
    assert [request.path for request in host.requests] == ["/invoices?user_id=u1"]

Whoever called answers questions by their keys: `Host(answers={"sure": accepted({"confirm": True})})`. At the real host a run that asks
what has no answer yet ends inside `Context.ask`; here that raises a `Failure` of code `INPUT_REQUIRED`, and a test begins the next run
itself.
"""

from __future__ import annotations

import json
import re
from contextlib import AbstractContextManager
from typing import Any, Callable, Collection, Mapping, NamedTuple, Sequence

from . import http
from .ask import Question
from .context import Context, Facts, Level, running
from .data import encode
from .failure import Failure
from .http import Request, Response
from .tool import TOOLS, Output, Tool, run

Answer = Callable[[Request], Response]
"""Plays a backend."""


INPUT_REQUIRED = "input_required"
"""The code of the failure with which a run ends in a test that asks what has no answer. At the real host no failure is seen."""

_KINDS = ("elicitation", "elicitation/url", "sampling", "roots")
_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}")

# What the real host bounds: questions at a time, questions in a call, and bytes of their parameters in a call.
_AT_A_TIME, _IN_A_CALL, _PARAMS_BYTES = 8, 32, 64 << 10


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


def accepted(content: Any) -> dict[str, Any]:
    """The answer to a form that a person filled in so: a dataclass or a dict."""
    return {"action": "accept", "content": encode(content)}


class Host:
    """A host for tests: it answers as it was told to, and remembers what it was asked.

    Untold, the caller is `u1`, no row is permitted, and no backend exists. It does not know the manifest: that a tool which reads sends
    nothing that changes something, that one which writes rows asks `permits` before it does, and that arguments keep to their bounds,
    the real host sees to.

    `answers` are the answers to questions, by key: results of MCP requests, such as `accepted(…)` or `{"action": "decline"}`. Whether a
    question is the same word for word in every run, only the real host looks. `cannot_ask` are kinds of questions that can't be asked,
    in the words of a manifest's `asks`; nor can any, untold, once a call has sent a request that changes something.
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
        answers: Mapping[str, Any] | None = None,
        cannot_ask: Collection[str] = (),
    ) -> None:
        if unknown := [kind for kind in cannot_ask if kind not in _KINDS]:
            raise ValueError(f"`{unknown[0]}` is no kind of question; there are {', '.join(f'`{kind}`' for kind in _KINDS)}")
        filter = None if row_filter is None else json.dumps(row_filter)
        self._facts = Facts(subject, trace_id, attempt, idempotency_key, filter)
        self._permits = permits
        self._backends: dict[str, Answer] = {}
        self._is_cancelled = False
        self._cannot_ask = frozenset(cannot_ask)
        self.answers: dict[str, Any] = dict(answers or {})
        """The answers to questions, by key. A test adds to them between two runs."""
        self.asked: list[Question] = []
        """The questions asked so far, over all calls, those that can't be asked included."""
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
        self._asked: dict[str, Question] = {}
        """What this call has asked, by key."""
        self._has_changed = False
        """Whether this call may have changed something."""

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

    def ask(self, questions: Sequence[Question]) -> list[str | None]:
        before = set(self._asked)
        self._check(questions)
        self._host.asked.extend(questions)
        askable = [question for question in questions if question.kind not in self._host._cannot_ask]
        # To ask is to be run again, and what was changed would be changed twice. What was answered before stays answered.
        if self._has_changed:
            askable = [question for question in askable if question.key in before and question.key in self._host.answers]
        open = [f"`{question.key}` ({question.kind})" for question in askable if question.key not in self._host.answers]
        if open:
            raise Failure(INPUT_REQUIRED, f"the run ends here until there is an answer to {', '.join(open)}")
        return [json.dumps(encode(self._host.answers[question.key])) if question in askable else None for question in questions]

    def send(self, request: Request) -> Response:
        self._host.requests.append(request)
        answer = self._host._backends.get(request.backend)
        if answer is None:
            raise http.Refused(request.backend)
        if request.method not in ("GET", "HEAD"):
            self._has_changed = True
        given = answer(request)
        if len(given.body) > request.max_body_bytes:
            raise http.TooLarge(request.backend, request.max_body_bytes)
        return Response(request.backend, given.status, given.headers, given.body)

    def _check(self, questions: Sequence[Question]) -> None:
        """Sees to it that a call asks no more than the real host lets it: such a run ends there as a crash does."""
        if len(questions) > _AT_A_TIME:
            raise ValueError(f"the tool asks {len(questions)} questions at a time; {_AT_A_TIME} is the most")
        keys = [question.key for question in questions]
        for question in questions:
            if not _KEY.fullmatch(question.key):
                raise ValueError(f"`{question.key}` is no key of a question; that is 1 to 64 characters of `A-Z a-z 0-9 _ . -`")
            # To ask again what was answered is to read the answer again.
            if keys.count(question.key) > 1 or self._asked.setdefault(question.key, question) != question:
                raise ValueError(f"the tool asks two questions under the key `{question.key}`")
        if len(self._asked) > _IN_A_CALL:
            raise ValueError(f"the tool asks {len(self._asked)} questions; {_IN_A_CALL} is the most of a call")
        size = sum(len(json.dumps(question.params).encode()) for question in self._asked.values())
        if size > _PARAMS_BYTES:
            raise ValueError(f"the parameters of the tool's questions are {size} bytes; {_PARAMS_BYTES} is the most of a call")
