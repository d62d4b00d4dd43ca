"""Write a Tidegate plugin in Python: decorate functions, and their type hints become the schemas.

    from typing import Annotated

    from tidegate import Failure, tool

    @tool
    def divide(dividend: Annotated[int, "What to divide."], divisor: int) -> dict[str, float]:
        \"\"\"Divides one number by another.\"\"\"
        if divisor == 0:
            raise Failure.invalid_arguments("nothing can be divided by zero")
        return {"quotient": dividend / divisor}
"""

from . import code, http
from .ask import Elicited, Question, Root, Sampled
from .content import Content
from .context import Context, Level
from .failure import Failure
from .hints import Length, Pattern, Range
from .row_filter import RowFilter
from .tool import Hints, tool

__all__ = [
    "Content",
    "Context",
    "Elicited",
    "Failure",
    "Hints",
    "Length",
    "Level",
    "Pattern",
    "Question",
    "Range",
    "Root",
    "RowFilter",
    "Sampled",
    "code",
    "http",
    "tool",
]
