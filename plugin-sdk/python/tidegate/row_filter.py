"""The host's hint which rows the caller may see."""

from __future__ import annotations

import json
from typing import Any


class RowFilter:
    """Which rows of the tool's resource the caller may see, as far as the host can say it in general.

    A tool may use it to ask its backend for less. It is a hint: the host decides about every row all the same.

    In JSON a filter is one of `{"and": [filter, …]}`, `{"or": [filter, …]}`, `{"not": filter}`, and, for an attribute of the row,
    `{"eq": ["status", "open"]}`, likewise `ne`, `lt`, `le`, `gt`, `ge`, and `{"in": ["status", ["open", "paid"]]}`.
    """

    def __init__(self, filter: dict[str, Any]) -> None:
        self.filter = filter
        """The filter as JSON."""

    @staticmethod
    def parse(text: str | None) -> RowFilter | None:
        """Reads the host's text; nothing if it is none that this version understands."""
        try:
            filter = json.loads(text) if text else None
        except (ValueError, RecursionError):
            return None
        return RowFilter(filter) if isinstance(filter, dict) else None

    def only(self, attribute: str) -> Any:
        """The one value that `attribute` has in every row the caller may see: what to ask a backend for. None if there is no such."""
        return _only(self.filter, attribute)


def _only(filter: Any, attribute: str) -> Any:
    if not isinstance(filter, dict) or len(filter) != 1:
        return None
    [(operator, operands)] = filter.items()
    if not isinstance(operands, list):
        return None
    if operator == "eq" and len(operands) == 2 and operands[0] == attribute:
        return operands[1]
    if operator == "and":
        return next((value for part in operands if (value := _only(part, attribute)) is not None), None)
    if operator == "or" and operands:
        values = [_only(part, attribute) for part in operands]
        return values[0] if all(value == values[0] for value in values) else None
    return None
