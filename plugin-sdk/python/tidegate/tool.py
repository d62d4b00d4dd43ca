"""What an author writes: a function, decorated. Its hints become the schemas, its docstring the description."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import MISSING, dataclass
from typing import Any, Callable, TypeVar, get_type_hints, overload

from . import schema
from .content import Content
from .context import Context
from .data import Member, Mismatch, bare, encode, read_members
from .failure import Failure

Function = TypeVar("Function", bound=Callable[..., Any])

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")


@dataclass(frozen=True)
class Hints:
    """MCP tool annotations: hints for clients and people about what a tool does. The host decides nothing by them; what a tool may do
    stands in its manifest. (MCP 2026-07-28, `ToolAnnotations`.)"""

    read_only: bool | None = None
    """Changes nothing, anywhere."""
    destructive: bool | None = None
    """May destroy something, rather than only add."""
    idempotent: bool | None = None
    """Calling it again with the same arguments has no further effect."""
    open_world: bool | None = None
    """Deals with an open world (such as the web) rather than a closed one (such as one database)."""

    def annotations(self) -> dict[str, bool]:
        """The hints as MCP writes them."""
        hints = {
            "readOnlyHint": self.read_only,
            "destructiveHint": self.destructive,
            "idempotentHint": self.idempotent,
            "openWorldHint": self.open_world,
        }
        return {name: hint for name, hint in hints.items() if hint is not None}


@dataclass(frozen=True)
class Output:
    """The answer of a call as it crosses to the host: JSON texts."""

    structured: str | None
    """The structured answer; present exactly if the tool has an output schema."""
    content: str
    """An array of MCP content blocks. `[]` beside a structured answer leaves the text to the host."""


class Tool:
    """A decorated function, as the host sees it."""

    def __init__(self, function: Callable[..., Any], name: str | None, title: str | None, hints: Hints) -> None:
        self.name = name or function.__name__
        self.title = title
        self.description = inspect.getdoc(function) or ""
        self.hints = hints
        self.function = function
        if not _NAME.fullmatch(self.name):
            raise TypeError(f"`{self.name}` is no name of a tool; that is 1 to 128 characters of `A-Z a-z 0-9 _ . -`")
        if not self.description:
            raise TypeError(f"the tool `{self.name}` has no docstring; a model reads it to know what the tool does and when to use it")
        types = get_type_hints(function, include_extras=True)
        parameters = [self._parameter(parameter, types) for parameter in inspect.signature(function).parameters.values()]
        contexts = [member.name for member in parameters if member.hint is Context]
        if len(contexts) > 1:
            raise TypeError(f"the tool `{self.name}` asks for its context twice, as `{contexts[0]}` and `{contexts[1]}`")
        self._context = contexts[0] if contexts else None
        members = tuple(member for member in parameters if member.hint is not Context)
        answer = types.get("return")
        if answer is None:
            raise TypeError(f"the tool `{self.name}` does not say what it answers with; write `-> …`, a dataclass, a dict or `Content`")
        self._is_content = bare(answer) in (Content, str)
        try:
            self._read = read_members(members, is_closed=True)
            self.input_schema = schema.of_parameters(members)
            self.output_schema = None if self._is_content else schema.of_answer(answer)
        except TypeError as error:
            raise TypeError(f"the tool `{self.name}`: {error}") from None

    def run(self, arguments: str, context: Context) -> Output:
        """Runs the tool on a JSON text. Raises the tool's own `Failure`, or one of `invalid_arguments` if the text does not fit."""
        try:
            values = self._read(json.loads(arguments), "")
        except (ValueError, RecursionError) as error:
            raise Failure.invalid_arguments(f"the arguments of `{self.name}` do not fit: {error}") from None
        if self._context is not None:
            values[self._context] = context
        return self._output(self.function(**values))

    def _output(self, answer: Any) -> Output:
        if isinstance(answer, str):
            answer = Content().text(answer)
        if isinstance(answer, Content) != self._is_content:
            raise TypeError(f"the tool `{self.name}` answered with a `{type(answer).__name__}`, which is not what it says")
        if self._is_content:
            return Output(None, _text(answer.blocks))
        try:
            return Output(_text(encode(answer)), "[]")
        except (TypeError, ValueError, RecursionError) as error:
            raise Failure.failed(f"the answer has no JSON form: {error}") from None

    def _parameter(self, parameter: inspect.Parameter, types: dict[str, Any]) -> Member:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise TypeError(f"the tool `{self.name}` takes `{parameter}`; arguments come by their names, each a parameter of its own")
        if parameter.name not in types:
            raise TypeError(f"the parameter `{parameter.name}` of the tool `{self.name}` has no type; write `{parameter.name}: str`")
        has_default = parameter.default is not parameter.empty
        default = parameter.default if has_default else MISSING
        return Member(parameter.name, types[parameter.name], default, has_default)


TOOLS: dict[str, Tool] = {}
"""The tools of this plugin, by their names."""


@overload
def tool(function: Function) -> Function: ...


@overload
def tool(*, name: str | None = None, title: str | None = None, hints: Hints = Hints()) -> Callable[[Function], Function]: ...


def tool(
    function: Function | None = None, *, name: str | None = None, title: str | None = None, hints: Hints = Hints()
) -> Function | Callable[[Function], Function]:
    """Makes a tool of a function: `@tool`, or `@tool(title="Pay an invoice", hints=Hints(read_only=False))`.

    Parameters are the arguments; `Annotated[str, "what it is", Length(1, 200)]` describes and bounds them, a default makes them
    optional. A parameter of type `Context` gets the running call. The function's answer is a dataclass or a dict (a *structured*
    answer, of which the host also writes the text), or `Content` or a text. It can still be called like any function.
    """

    def decorate(function: Function) -> Function:
        made = Tool(function, name, title, hints)
        if made.name in TOOLS:
            raise TypeError(f"two tools of one plugin have the same name, `{made.name}`")
        TOOLS[made.name] = made
        return function

    return decorate if function is None else decorate(function)


def run(name: str, arguments: str, context: Context) -> Output:
    """Runs a tool on a JSON text, as the host would."""
    found = TOOLS.get(name)
    if found is None:
        raise Failure.not_found(f"this plugin has no tool `{name}`")
    return found.run(arguments, context)


def _text(value: Any) -> str:
    # In ASCII, so that half a surrogate pair is an answer the host refuses and not one that can't cross to it.
    return json.dumps(value, allow_nan=False, separators=(",", ":"))
