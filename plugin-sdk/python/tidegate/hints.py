"""What `Annotated` can say of a value beside its type: bounds, which become part of the schema. The host enforces them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """The least and the greatest number: `Annotated[int, Range(1, 100)]`."""

    min: float | None = None
    max: float | None = None


@dataclass(frozen=True)
class Length:
    """The fewest and the most characters of a text, or items of a list: `Annotated[str, Length(1, 200)]`."""

    min: int | None = None
    max: int | None = None


@dataclass(frozen=True)
class Pattern:
    """A regular expression that a text matches: `Annotated[str, Pattern("^inv_")]`. Of the dialect of JSON Schema (ECMA-262), and
    not anchored by itself."""

    regex: str
