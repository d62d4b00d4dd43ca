"""Greets people: a tool to start from."""

from dataclasses import dataclass
from typing import Annotated

from tidegate import Context, Failure, Hints, Level, tool


@dataclass
class Greeting:
    """The greeting."""

    greeting: Annotated[str, "What to say."]


@tool(hints=Hints(read_only=True))
def {{tool}}(context: Context, name: Annotated[str, "The person's name."]) -> Greeting:
    """Greets a person by name."""
    name = name.strip()
    if not name:
        raise Failure.invalid_arguments("`name` is empty; say whom to greet")
    context.log(Level.INFO, f"{context.subject} greets {name}")
    return Greeting(f"Hello, {name}!")
