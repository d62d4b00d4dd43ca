"""How a tool says that it could not do what it was asked to."""

from __future__ import annotations

from . import code as codes


class Failure(Exception):
    """The answer of a call that did not work, written for the agent that made it. Raise it.

    The message reaches the caller, so it holds no secrets. It says what happened, where, and what to do. Any other exception that
    leaves a tool is a crash: the caller learns nothing but that, and the traceback goes to the plugin's log.
    """

    def __init__(self, code: str, message: str, retry_after_seconds: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        """One of the words in `tidegate.code`; the host turns one it does not know into `failed`."""
        self.message = message
        """What happened and what to do about it."""
        self.retry_after_seconds = retry_after_seconds
        """After how many seconds the same call may work."""

    @classmethod
    def not_found(cls, message: str) -> Failure:
        """What was asked for does not exist."""
        return Failure(codes.NOT_FOUND, message)

    @classmethod
    def conflict(cls, message: str) -> Failure:
        """What was asked for contradicts the state of things."""
        return Failure(codes.CONFLICT, message)

    @classmethod
    def invalid_arguments(cls, message: str) -> Failure:
        """The arguments make no sense."""
        return Failure(codes.INVALID_ARGUMENTS, message)

    @classmethod
    def permission_denied(cls, message: str) -> Failure:
        """The caller may not do this."""
        return Failure(codes.PERMISSION_DENIED, message)

    @classmethod
    def failed(cls, message: str) -> Failure:
        """Anything else."""
        return Failure(codes.FAILED, message)

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"
