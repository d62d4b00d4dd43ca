"""Questions of a running tool to whoever called: to a person, to a language model, or to the client itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, Literal, TypeVar

from . import schema
from .data import Mismatch, Reader, reader
from .failure import Failure

T = TypeVar("T")


@dataclass(frozen=True)
class Question:
    """A question to whoever called: to the person in front of the client, to its language model, or to the client itself. Made by
    `form`, `url`, `sampling` and `roots`, and asked by `Context.ask`; a single one is easier asked by `Context.elicit` and its kin.

    An answer counts only for the question it was given to, word for word: a message with the time of day in it is never answered.
    """

    key: str
    """Its name among the questions of the call: 1 to 64 characters of `A-Z a-z 0-9 _ . -`."""
    method: str
    """The MCP request that asks it: `elicitation/create`, `sampling/createMessage` or `roots/list`."""
    params: dict[str, Any]
    """The parameters of that request."""

    @staticmethod
    def form(key: str, message: str, cls: type) -> Question:
        """Asks the person to fill in a form, with a field for each field of a dataclass. `Elicited.read` reads the answer.

        Fields are texts, numbers, booleans, `Literal`s and enums of texts, each perhaps `… | None`; of the bounds forms know `Range`
        and `Length`. Another dataclass raises `TypeError`. Whatever is typed into a form passes through the client and its model: ask
        for no secrets; `url` leads to where they can be given.
        """
        return Question(key, "elicitation/create", {"message": message, "requestedSchema": _form(cls)})

    @staticmethod
    def url(key: str, message: str, url: str) -> Question:
        """Asks the person to open a page: to sign in, to pay, to enter a secret. `Elicited.read` reads the answer."""
        return Question(key, "elicitation/create", {"mode": "url", "message": message, "url": url})

    @staticmethod
    def sampling(key: str, prompt: str, max_tokens: int, **params: Any) -> Question:
        """Asks the client's language model to go on from this prompt, in at most so many tokens. `params` are further parameters of the
        MCP request, such as `systemPrompt`, or stand in the place of those, such as `messages`. `Sampled.read` reads the answer."""
        messages = [{"role": "user", "content": {"type": "text", "text": prompt}}]
        return Question(key, "sampling/createMessage", {"messages": messages, "maxTokens": max_tokens, **params})

    @staticmethod
    def roots(key: str) -> Question:
        """Asks the client which folders the person works in. `Root.read` reads the answer."""
        return Question(key, "roots/list", {})

    @property
    def kind(self) -> str:
        """Its kind, as a tool's `asks` names it in the manifest: `elicitation`, `elicitation/url`, `sampling` or `roots`."""
        if self.method == "elicitation/create":
            return "elicitation/url" if self.params.get("mode") == "url" else "elicitation"
        return "sampling" if self.method == "sampling/createMessage" else "roots"

    def not_asked(self) -> Failure:
        """What the caller is told if this can't be asked and the tool can't do without."""
        whom, capability = {
            "elicitation": ("the person in front of the client", "elicitation"),
            "elicitation/url": ("the person in front of the client", "elicitation.url"),
            "sampling": ("the client's language model", "sampling"),
        }.get(self.kind, ("the client", "roots"))
        return Failure.failed(
            f"the tool needs an answer from {whom} (`{self.key}`), and can't ask in this call; the same call will work no better: make "
            f"it through a client that speaks MCP 2026-07-28 and declares the capability `{capability}`, or do without this tool"
        )


@dataclass(frozen=True)
class Elicited(Generic[T]):
    """What a person did with a form or a page that was put before them."""

    action: Literal["accept", "decline", "cancel"]
    """They filled in the form, or agreed to open the page; or they said no; or they closed it without a choice."""
    value: T | None = None
    """What they filled in, if they did."""

    @staticmethod
    def read(answer: Any, cls: type[T]) -> Elicited[T]:
        """Reads an answer to `Question.form`; one to `Question.url` has no content, so its `cls` is `dict`. Raises a `Failure` if it is
        none, or does not fit."""
        action = answer.get("action") if isinstance(answer, dict) else None
        if action not in ("accept", "decline", "cancel"):
            raise Failure.failed("the client says neither that the person accepted nor that they declined or cancelled")
        if action != "accept":
            return Elicited(action)
        try:
            # A form of which nothing was filled in may come back without any.
            return Elicited(action, _reader(cls)(answer.get("content", {}), ""))
        except Mismatch as mismatch:
            raise Failure.failed(f"what the person filled in does not fit the form: {mismatch}") from None


@dataclass(frozen=True)
class Sampled:
    """What a language model answered."""

    text: str
    """Its text."""
    model: str
    """The name of the model, as the client calls it."""
    stop_reason: str | None = None
    """Why it ended, such as `endTurn` or `maxTokens`, if the client says so."""

    @staticmethod
    def read(answer: Any) -> Sampled:
        """Reads an answer to `Question.sampling`. Raises a `Failure` if there is no text in it."""
        found = answer if isinstance(answer, dict) else {}
        content = found.get("content")
        blocks = [block for block in (content if isinstance(content, list) else [content]) if isinstance(block, dict)]
        texts = [block["text"] for block in blocks if isinstance(block.get("text"), str)]
        if not texts:
            raise Failure.failed("the client's language model answered without a text")
        return Sampled("".join(texts), str(found.get("model", "")), found.get("stopReason"))


@dataclass(frozen=True)
class Root:
    """A folder, or a file, that the person works in."""

    uri: str
    """Where it is on their machine: a `file://` address. No tool can read it; it tells what they work on."""
    name: str | None = None
    """What they call it."""

    @staticmethod
    def read(answer: Any) -> list[Root]:
        """Reads an answer to `Question.roots`. Raises a `Failure` if it is no list of roots."""
        try:
            return _reader(list[Root])(answer.get("roots") if isinstance(answer, dict) else None, "roots")
        except Mismatch as mismatch:
            raise Failure.failed(f"what the client answered is no list of roots: {mismatch}") from None


@dataclass(frozen=True)
class Confirmation:
    """The form of `Context.confirm`."""

    confirm: bool


@cache
def _form(cls: type) -> schema.Schema:
    return schema.of_form(cls)


@cache
def _reader(cls: Any) -> Reader:
    return reader(cls)
