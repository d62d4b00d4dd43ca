"""The requests of this plugin to the backend `billing`."""

from typing import TypeVar

from tidegate import Failure, code
from tidegate.http import Response, Unexpected

T = TypeVar("T")


def answer(response: Response, kind: type[T]) -> T:
    """The answer of billing, or a failure that tells the agent in billing's words why there is none.

    What billing says of its own troubles (5xx) stays unsaid: it is no use to an agent, and may tell too much. When to try again is
    the host's to say where billing does not: it knows how billing fares with everybody.
    """
    try:
        return response.success().json(kind)
    except Unexpected:
        raise
    except Failure as failure:
        if response.status >= 500:
            message = f"billing is in trouble: it answered {response.status}"
            raise Failure(code.BACKEND_UNAVAILABLE, message, failure.retry_after_seconds) from None
        raise Failure(failure.code, _problem(response) or failure.message, failure.retry_after_seconds) from None


def _problem(response: Response) -> str | None:
    """What billing says was wrong."""
    try:
        return response.json(dict[str, str]).get("message")
    except Unexpected:
        return None
