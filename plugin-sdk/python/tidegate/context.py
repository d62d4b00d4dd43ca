"""What a running call may use of its host."""

from __future__ import annotations

import json
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Iterator, Protocol, Sequence, TypeVar

from .ask import Confirmation, Elicited, Question, Root, Sampled
from .data import encode
from .row_filter import RowFilter

if TYPE_CHECKING:
    from .http import Request, Response

T = TypeVar("T")


class Level(IntEnum):
    """How grave a line of the log is: the syslog severities (RFC 5424), which are MCP's log levels too."""

    EMERGENCY = 0
    ALERT = 1
    CRITICAL = 2
    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6
    DEBUG = 7


@dataclass(frozen=True)
class Facts:
    """What the host knows of the call."""

    subject: str
    trace_id: str
    attempt: int = 1
    idempotency_key: str | None = None
    row_filter: str | None = None


class Link(Protocol):
    """The way to the host: of a component the generated bindings, of a test `tidegate.testing.Host`."""

    def facts(self) -> Facts: ...
    def progress(self, done: int, total: int | None, message: str) -> None: ...
    def is_cancelled(self) -> bool: ...
    def permits(self, resource: str, row: str) -> bool: ...
    def log(self, level: int, message: str) -> None: ...
    def ask(self, questions: Sequence[Question]) -> list[str | None]: ...
    def send(self, request: Request) -> Response: ...


class Context:
    """The running call: who it is for, and what the host offers to it. A tool gets it by asking for a parameter of this type."""

    def __init__(self, link: Link) -> None:
        self._link = link

    @property
    def subject(self) -> str:
        """The authenticated principal on whose behalf the call runs."""
        return self._facts.subject

    @property
    def trace_id(self) -> str:
        """The W3C trace id of the call: 32 lowercase hexadecimal digits. Outbound requests carry it by themselves."""
        return self._facts.trace_id

    @property
    def attempt(self) -> int:
        """Which run of this call this is, from 1. More than 1 means that the outcome of an earlier run was lost."""
        return self._facts.attempt

    @property
    def idempotency_key(self) -> str | None:
        """The caller's idempotency key, if the tool writes. Requests to backends carry a key of their own, derived from it, without
        the tool's doing."""
        return self._facts.idempotency_key

    @property
    def row_filter(self) -> RowFilter | None:
        """A hint which rows of the tool's resource the caller may see, if the host can say. A tool may use it to ask its backend for
        less."""
        return RowFilter.parse(self._facts.row_filter)

    def progress(self, done: int, total: int | None = None, message: str = "") -> None:
        """Reports progress to the caller: `done` of `total`, in the tool's own unit. `done` must grow with every report."""
        self._link.progress(done, total, message)

    @property
    def is_cancelled(self) -> bool:
        """Whether the caller has given up. A tool that works in steps asks between them and stops."""
        return self._link.is_cancelled()

    def permits(self, resource: str, row: Any) -> bool:
        """Whether the policies let the caller act on this row. `resource` is a `[[resource]]` name of the manifest, `row` a dataclass
        or a dict with its declared attributes. A row without a JSON form is not permitted."""
        try:
            text = json.dumps(encode(row), allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            return False
        return self._link.permits(resource, text)

    def log(self, level: Level, message: str) -> None:
        """Writes a line to the plugin's log and, if the caller asked for it, to the caller: no secrets."""
        self._link.log(int(level), message)

    def ask(self, *questions: Question) -> list[Any]:
        """Asks several questions at once, and returns an answer for each, in the same order: the result of the MCP request. At most 8 at
        a time, 32 in a call.

        None is the answer to a question that can't be asked: the manifest does not name its kind among the tool's `asks`, the client
        does not take such questions, or the call may have changed something already.

        A run that asks what has not been answered yet ends here: this does not return, and raises nothing. Whoever is asked may take
        minutes; once they have answered, the tool is run again from its beginning, with the same arguments, and this returns at once. So
        ask before anything is changed, and ask the same in every run. In a test it raises a `Failure` instead.
        """
        return [None if answer is None else json.loads(answer) for answer in self._link.ask(questions)]

    def elicit(self, key: str, message: str, cls: type[T]) -> Elicited[T]:
        """Asks the person to fill in a form: `Question.form`. Ends the run as `ask` does; raises a `Failure` if it can't be asked."""
        return Elicited.read(self._ask_one(Question.form(key, message, cls)), cls)

    def confirm(self, key: str, message: str) -> bool:
        """Asks the person for a yes or a no: a form with one box to tick. To decline, or to close the form, is a no too. Ends the run as
        `ask` does; raises a `Failure` if it can't be asked."""
        found = self.elicit(key, message, Confirmation).value
        return found is not None and found.confirm

    def open_url(self, key: str, message: str, url: str) -> bool:
        """Asks the person to open a page: `Question.url`. Yes means that they agreed to open it, not that they did there what they were
        to do: only whoever serves the page knows that. Ends the run as `ask` does; raises a `Failure` if it can't be asked."""
        return Elicited.read(self._ask_one(Question.url(key, message, url)), object).action == "accept"

    def sample(self, key: str, prompt: str, max_tokens: int, **params: Any) -> Sampled:
        """Asks the client's language model: `Question.sampling`. What it answers is no more to be trusted than any caller's words. Ends
        the run as `ask` does; raises a `Failure` if it can't be asked."""
        return Sampled.read(self._ask_one(Question.sampling(key, prompt, max_tokens, **params)))

    def roots(self, key: str) -> list[Root]:
        """Asks the client which folders the person works in: `Question.roots`. Ends the run as `ask` does; raises a `Failure` if it can't
        be asked."""
        return Root.read(self._ask_one(Question.roots(key)))

    def _ask_one(self, question: Question) -> Any:
        [answer] = self.ask(question)
        if answer is None:
            raise question.not_asked()
        return answer

    # Fetched at first use: many tools never ask.
    @cached_property
    def _facts(self) -> Facts:
        return self._link.facts()


_running: ContextVar[Link] = ContextVar("tidegate_running")


@contextmanager
def running(link: Link) -> Iterator[Context]:
    """The call that `link` belongs to, for as long as it runs: its requests go out through it."""
    token = _running.set(link)
    try:
        yield Context(link)
    finally:
        _running.reset(token)


def current() -> Link:
    """The way to the host of the call that runs."""
    link = _running.get(None)
    if link is None:
        raise RuntimeError("no call is running; in a test, call tools with `tidegate.testing.Host().call(…)`")
    return link
