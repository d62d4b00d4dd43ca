"""JSON Schemas from type hints."""

import unittest
from dataclasses import dataclass, field, make_dataclass
from enum import Enum
from typing import Annotated, Any, Literal

from tidegate import Content, Length, Pattern, Range, schema
from tidegate.data import members


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Inner:
    """What is inside."""

    weight: float


@dataclass
class Tree:
    label: str
    children: list["Tree"] = field(default_factory=list)


@dataclass
class Sample:
    name: Annotated[str, "Its name.", Length(1, 9), Pattern("^x")]
    count: Annotated[int, Range(1, 5)]
    inner: Inner
    colour: Colour = Colour.RED
    limit: Annotated[int | None, "At most."] = None
    tags: Annotated[list[str], Length(max=3)] = field(default_factory=list)
    mode: Literal["fast", "slow"] | None = None
    either: int | str = 1
    extra: dict[str, Any] | None = None


class Schemas(unittest.TestCase):
    def test_a_dataclass_becomes_an_object_with_what_its_hints_say(self):
        self.assertEqual(
            schema.of_parameters(members(Sample)),
            {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "type": "object",
                "properties": {
                    "name": {"type": "string", "description": "Its name.", "minLength": 1, "maxLength": 9, "pattern": "^x"},
                    "count": {"type": "integer", "minimum": 1, "maximum": 5},
                    "inner": {"$ref": "#/$defs/Inner"},
                    "colour": {"type": "string", "enum": ["red", "blue"], "default": "red"},
                    "limit": {"type": ["integer", "null"], "description": "At most."},
                    "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
                    "mode": {"type": ["string", "null"], "enum": ["fast", "slow", None]},
                    "either": {"anyOf": [{"type": "integer"}, {"type": "string"}], "default": 1},
                    "extra": {"type": ["object", "null"]},
                },
                "required": ["name", "count", "inner"],
                "additionalProperties": False,
                "$defs": {
                    "Inner": {
                        "description": "What is inside.",
                        "type": "object",
                        "properties": {"weight": {"type": "number"}},
                        "required": ["weight"],
                    }
                },
            },
        )

    def test_a_dataclass_may_hold_its_own_kind(self):
        answer = schema.of_answer(Tree)
        self.assertEqual(answer["type"], "object")
        self.assertEqual(answer["$defs"]["Tree"]["properties"]["children"]["items"], {"$ref": "#/$defs/Tree"})

    def test_two_dataclasses_of_one_name_are_told_apart(self):
        other = make_dataclass("Inner", [("height", int)])
        answer = schema.of_answer(make_dataclass("Both", [("one", Inner), ("other", other), ("again", Inner)]))
        refs = {name: property["$ref"].rsplit("/")[-1] for name, property in answer["properties"].items()}
        self.assertEqual(refs, {"one": "Inner", "other": "Inner2", "again": "Inner"})
        self.assertEqual(list(answer["$defs"]["Inner2"]["properties"]), ["height"])

    def test_an_enum_of_what_is_no_json_is_refused(self):
        class Strange(Enum):
            PAIR = (1, 2)

        with self.assertRaises(TypeError):
            schema.of_answer(dict[str, Strange])

    def test_an_answer_that_is_no_object_is_refused(self):
        for hint in (list[int], int, Content, set[int], Inner | None):
            with self.assertRaises(TypeError, msg=hint):
                schema.of_answer(hint)


if __name__ == "__main__":
    unittest.main()
