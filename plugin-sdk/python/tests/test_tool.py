"""Decorated functions as the host sees them."""

import json
import unittest
from dataclasses import dataclass
from enum import Enum

from tidegate import Content, Context, Failure, Hints, Level, code, tool
from tidegate.testing import Host, Progress, definition
from tidegate.tool import run


@dataclass
class Doubled:
    value: int
    note: str | None = None


@tool(title="Double", hints=Hints(read_only=True, open_world=False))
def double(value: int) -> Doubled:
    """Doubles a number."""
    if value > 1 << 62:
        raise Failure.failed("the number is too large")
    return Doubled(value * 2)


@tool(name="show.picture")
def picture() -> Content:
    """Shows a picture."""
    return (
        Content()
        .text("one")
        .image("image/png", b"two")
        .audio("audio/wav", b"three")
        .resource_text("test://four", "text/plain", "four")
        .resource_bytes("test://five", "application/octet-stream", b"five")
    )


@tool
def say(context: Context, words: list[str]) -> str:
    """Says what it was told to."""
    for done, word in enumerate(words, 1):
        if context.is_cancelled:
            raise Failure(code.CANCELLED, "nobody listens")
        context.progress(done, len(words), word)
        context.log(Level.DEBUG, word)
    return " ".join(words)


@tool
def whoami(context: Context) -> dict[str, object]:
    """Tells what it knows of its call."""
    return {
        "subject": context.subject,
        "trace": context.trace_id,
        "attempt": context.attempt,
        "key": context.idempotency_key,
        "only": context.row_filter and context.row_filter.only("user_id"),
        "permitted": context.permits("invoices", {"user_id": "u1"}),
        "nonsense": context.permits("invoices", {1: object()}),
    }


@tool
def infinite() -> dict[str, float]:
    """Has an answer that JSON has no word for."""
    return {"value": float("inf")}


@tool
def circle() -> dict[str, object]:
    """Has an answer without an end."""
    answer: dict[str, object] = {}
    answer["self"] = answer
    return answer


class Number(Enum):
    """A number that is not a truth."""

    ONE = 1


@tool
def count(level: Number) -> str:
    """Takes a number."""
    return str(level.value)


@tool
def liar() -> Content:
    """Answers with something else than it says."""
    return {"not": "content"}  # type: ignore[return-value]


class Tools(unittest.TestCase):
    def refused(self, tool, arguments="{}", host=None):
        with self.assertRaises(Failure) as caught:
            (host or Host()).call_text(tool, arguments)
        return caught.exception

    def test_a_typed_answer_is_structured_and_leaves_out_what_is_not_there(self):
        self.assertEqual(Host().call(double, value=21), {"value": 42})
        self.assertEqual(Host().call_text("double", '{"value":21.0}').content, "[]")
        self.assertEqual(double(4), Doubled(8), "it is still a function")

    def test_arguments_that_do_not_fit_are_the_callers_mistake_and_say_where(self):
        for arguments, said in [
            ("{}", "missing field `value`"),
            ('{"value":"x"}', "value: expected an integer, found a text"),
            ('{"value":true}', "value: expected an integer, found a boolean"),
            ('{"value":1,"extra":2}', "unknown field `extra`; there are `value`"),
            ("[]", "expected an object, found a list"),
            ("nonsense", "Expecting value"),
        ]:
            failure = self.refused("double", arguments)
            self.assertEqual(failure.code, code.INVALID_ARGUMENTS, arguments)
            self.assertTrue(failure.message.startswith("the arguments of `double` do not fit: "), failure.message)
            self.assertIn(said, failure.message)
        self.assertEqual(self.refused("double", "[" * 100_000).code, code.INVALID_ARGUMENTS)
        self.assertIn("level: expected one of `1`", self.refused("count", '{"level":true}').message)
        self.assertIn("words[1]: expected a text, found null", self.refused("say", '{"words":["a",null]}').message)

    def test_a_tools_own_failure_reaches_the_caller_unchanged(self):
        failure = self.refused("double", json.dumps({"value": 1 << 63}))
        self.assertEqual((failure.code, failure.message), (code.FAILED, "the number is too large"))

    def test_an_unknown_tool_is_not_found(self):
        self.assertEqual(self.refused("triple").code, code.NOT_FOUND)

    def test_an_answer_without_a_json_form_is_a_failure_and_one_of_another_kind_a_crash(self):
        self.assertEqual(self.refused("infinite").code, code.FAILED)
        self.assertEqual(self.refused("circle").code, code.FAILED)
        with self.assertRaisesRegex(TypeError, "`liar` answered with a `dict`"):
            Host().call(liar)

    def test_only_a_structured_answer_has_a_schema(self):
        self.assertEqual(definition(double).description, "Doubles a number.")
        self.assertEqual(definition(double).hints.annotations(), {"readOnlyHint": True, "openWorldHint": False})
        self.assertIsNotNone(definition(double).output_schema)
        self.assertIsNone(definition("show.picture").output_schema)
        self.assertIsNone(definition(say).output_schema)
        self.assertEqual(definition(say).input_schema["required"], ["words"], "the context is no argument")

    def test_blocks_have_the_shape_of_the_protocol(self):
        self.assertEqual(
            Host().call(picture),
            [
                {"type": "text", "text": "one"},
                {"type": "image", "data": "dHdv", "mimeType": "image/png"},
                {"type": "audio", "data": "dGhyZWU=", "mimeType": "audio/wav"},
                {"type": "resource", "resource": {"uri": "test://four", "mimeType": "text/plain", "text": "four"}},
                {"type": "resource", "resource": {"uri": "test://five", "mimeType": "application/octet-stream", "blob": "Zml2ZQ=="}},
            ],
        )

    def test_the_host_remembers_what_a_call_reported(self):
        host = Host()
        self.assertEqual(host.call(say, words=["a", "ü"]), [{"type": "text", "text": "a ü"}])
        self.assertEqual(host.progress, [Progress(1, 2, "a"), Progress(2, 2, "ü")])
        self.assertEqual(host.logs, [(Level.DEBUG, "a"), (Level.DEBUG, "ü")])
        host.cancel()
        self.assertEqual(self.refused("say", '{"words":["a"]}', host).code, code.CANCELLED)

    def test_the_host_tells_a_call_what_it_was_told_and_untold_permits_nothing(self):
        host = Host(subject="u7", attempt=2, idempotency_key="k", row_filter={"eq": ["user_id", "u7"]}, permits=lambda *_: True)
        told = {"subject": "u7", "trace": "4bf92f3577b34da6a3ce929d0e0e4736", "attempt": 2, "key": "k", "only": "u7"}
        self.assertEqual(host.call(whoami), {**told, "permitted": True, "nonsense": False})
        untold = Host().call(whoami)
        self.assertEqual((untold["key"], untold["only"], untold["permitted"]), (None, None, False))

    def test_a_function_that_can_be_no_tool_is_refused_where_it_stands(self):
        def untyped(x) -> str:
            """Doc."""

        def undocumented() -> str: ...

        def silent():
            """Doc."""

        def starred(*x: int) -> str:
            """Doc."""

        def unreadable(x: set[int]) -> str:
            """Doc."""

        def shapeless() -> list[int]:
            """Doc."""

        def double() -> str:
            """Doc."""

        def greedy(one: Context, other: Context) -> str:
            """Doc."""

        for function, said in [
            (untyped, "`x`.*has no type"),
            (undocumented, "has no docstring"),
            (silent, "does not say what it answers with"),
            (starred, "each a parameter of its own"),
            (unreadable, "has no JSON form"),
            (shapeless, "an answer is a JSON object"),
            (double, "the same name, `double`"),
            (greedy, "context twice"),
        ]:
            with self.assertRaisesRegex(TypeError, said):
                tool(function)
        for name in ["has space", "", "é", "x" * 129]:
            with self.assertRaises(TypeError):
                tool(name=name or " ")(picture)


class Filters(unittest.TestCase):
    def test_a_value_that_every_row_has_is_found_wherever_it_stands_and_no_other(self):
        own = {"eq": ["user_id", "u1"]}
        for filter, value in [
            (own, "u1"),
            ({"and": [{"ne": ["status", "void"]}, own]}, "u1"),
            ({"or": [own, {"and": [own]}]}, "u1"),
            ({"or": [own, {"eq": ["status", "paid"]}]}, None),
            ({"or": [own, {"eq": ["user_id", "u2"]}]}, None),
            ({"not": own}, None),
            ({"or": []}, None),
            ({"in": ["user_id", ["u1"]]}, None),
            ({"novel": ["user_id", "u1"]}, None),
        ]:
            self.assertEqual(Host(row_filter=filter).call(whoami)["only"], value, filter)


if __name__ == "__main__":
    unittest.main()
