"""The component side: what the host calls, and the way to what it offers. `wit_world` is generated when a component is built, and is
nowhere else."""

from __future__ import annotations

# A component holds the modules that were imported when it was built, and no others. These are the ones that the standard library
# imports only when it first needs them.
import _strptime  # noqa: F401
import encodings.ascii  # noqa: F401
import encodings.cp1252  # noqa: F401
import encodings.idna  # noqa: F401
import encodings.latin_1  # noqa: F401
import encodings.utf_8_sig  # noqa: F401
import encodings.utf_16  # noqa: F401
import json
import sys
from typing import Sequence

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import tools as wit
from wit_world.imports import host

from . import http_wasi
from .ask import Question
from .context import Facts, running
from .failure import Failure
from .http import Request, Response
from .tool import TOOLS, Tool, run


class Tools(exports.Tools):
    """The exported interface."""

    def describe(self) -> list[wit.Definition]:
        return [_definition(tool) for tool in TOOLS.values()]

    def call(self, r: wit.Request) -> wit.Output:
        # The state of `random` is part of what was built: without this, every call would draw the same numbers.
        if "random" in sys.modules:
            sys.modules["random"].seed()
        try:
            with running(_Link()) as context:
                output = run(r.tool, r.arguments, context)
        except Failure as failure:
            raise Err(wit.Failure(failure.code, failure.message, failure.retry_after_seconds)) from None
        finally:
            # The instance ends with the call, and nobody else flushes them.
            sys.stdout.flush()
            sys.stderr.flush()
        return wit.Output(output.structured, output.content)


def _definition(tool: Tool) -> wit.Definition:
    annotations = tool.hints.annotations()
    return wit.Definition(
        tool.name,
        tool.title,
        tool.description,
        json.dumps(tool.input_schema),
        None if tool.output_schema is None else json.dumps(tool.output_schema),
        json.dumps(annotations) if annotations else None,
    )


class _Link:
    """The component's end of a `Context`."""

    def facts(self) -> Facts:
        found = host.get_context()
        return Facts(found.subject, found.trace_id, found.attempt, found.idempotency_key, found.row_filter)

    def progress(self, done: int, total: int | None, message: str) -> None:
        host.progress(done, total, message)

    def is_cancelled(self) -> bool:
        return host.is_cancelled()

    def permits(self, resource: str, row: str) -> bool:
        return host.permits(resource, row)

    def log(self, level: int, message: str) -> None:
        host.log(level, message)

    def ask(self, questions: Sequence[Question]) -> list[str | None]:
        # Where an answer is not there yet, the run ends inside: nothing is raised, and no `finally` runs.
        asked = [host.Question(question.key, question.method, json.dumps(question.params)) for question in questions]
        return host.ask(asked)

    def send(self, request: Request) -> Response:
        return http_wasi.send(request)
