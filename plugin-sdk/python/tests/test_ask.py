"""Questions and answers, against a stand-in for the host."""

import unittest
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal

from tidegate import Context, Elicited, Failure, Length, Pattern, Question, Range, Root, Sampled, code, http, schema, tool
from tidegate.testing import INPUT_REQUIRED, Host, accepted, reply


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Person:
    """Somebody."""

    name: Annotated[str, "What to call them.", Length(1, 9)]
    age: Annotated[int | None, Range(0, 150)] = None


@dataclass
class Everything:
    person: str
    weight: float | None = None
    urgent: bool = False
    colour: Colour = Colour.RED
    other: Colour | None = None
    pace: Literal["fast", "slow"] = "slow"


@tool
def introduce(context: Context) -> str:
    """Asks who is there, and then whether it may say so."""
    person = context.elicit("who", "Who are you?", Person).value
    if person is None:
        raise Failure.failed("nobody is there")
    return f"{person.name} is here." if context.confirm("tell", f"Tell that {person.name} is here?") else "I say nothing."


class Questions(unittest.TestCase):
    def refused(self, ask, host=None):
        with self.assertRaises(Failure) as caught, (host or Host()).running() as context:
            ask(context)
        return caught.exception

    def test_questions_are_the_requests_of_the_protocol(self):
        name = {"type": "string", "description": "What to call them.", "minLength": 1, "maxLength": 9}
        age = {"type": "integer", "minimum": 0, "maximum": 150}
        form = {"type": "object", "properties": {"name": name, "age": age}, "required": ["name"]}
        messages = [{"role": "user", "content": {"type": "text", "text": "A title?"}}]
        url = {"mode": "url", "message": "Pay here.", "url": "https://pay.example/7"}
        for question, kind, method, params in [
            (Question.form("who", "Who?", Person), "elicitation", "elicitation/create", {"message": "Who?", "requestedSchema": form}),
            (Question.url("pay", "Pay here.", "https://pay.example/7"), "elicitation/url", "elicitation/create", url),
            (
                Question.sampling("title", "A title?", 20, systemPrompt="Be brief."),
                "sampling",
                "sampling/createMessage",
                {"messages": messages, "maxTokens": 20, "systemPrompt": "Be brief."},
            ),
            (Question.roots("folders"), "roots", "roots/list", {}),
        ]:
            self.assertEqual((question.kind, question.method, question.params), (kind, method, params))

    def test_a_form_is_flat_and_says_only_what_forms_can(self):
        self.assertEqual(
            schema.of_form(Everything),
            {
                "type": "object",
                "properties": {
                    "person": {"type": "string"},
                    "weight": {"type": "number"},
                    "urgent": {"type": "boolean", "default": False},
                    "colour": {"type": "string", "enum": ["red", "blue"], "default": "red"},
                    "other": {"type": "string", "enum": ["red", "blue"]},
                    "pace": {"type": "string", "enum": ["fast", "slow"], "default": "slow"},
                },
                "required": ["person"],
            },
        )
        neither = "`x` is neither a text nor a number, a boolean or a choice of texts"
        for hint, said in [
            (Person, neither),
            (list[str], neither),
            (int | str, neither),
            (Any, neither),
            (Annotated[str, Pattern("^x")], "`x` says `pattern` in its schema, for which forms have no word"),
            (Literal[1, 2], "`x` says `enum`"),
        ]:
            made = dataclass(type("Made", (), {"__annotations__": {"x": hint}}))
            with self.assertRaisesRegex(TypeError, f"`Made` can't be asked for in a form: its field {said}"):
                schema.of_form(made)
        with self.assertRaisesRegex(TypeError, "a form is a dataclass"):
            schema.of_form(dict)

    def test_a_run_ends_at_the_first_questions_without_answers_and_the_next_goes_on_from_there(self):
        host = Host()
        for key, answer in [("who", accepted(Person("Ada"))), ("tell", accepted({"confirm": True}))]:
            with self.assertRaises(Failure) as caught:
                host.call(introduce)
            ended = f"the run ends here until there is an answer to `{key}` (elicitation)"
            self.assertEqual((caught.exception.code, caught.exception.message), (INPUT_REQUIRED, ended))
            host.answers[key] = answer
        self.assertEqual(host.call(introduce), [{"type": "text", "text": "Ada is here."}])
        self.assertEqual([question.key for question in host.asked], ["who", "who", "tell", "who", "tell"])

    def test_a_person_accepts_declines_or_cancels(self):
        def elicited(answer):
            with Host(answers={"who": answer}).running() as context:
                return context.elicit("who", "Who?", Person)

        self.assertEqual(elicited(accepted({"name": "Ada"})), Elicited("accept", Person("Ada")))
        self.assertEqual(elicited({"action": "decline"}), Elicited("decline"))
        self.assertEqual(elicited({"action": "cancel", "content": {}}), Elicited("cancel"))
        for answer in [accepted({"age": 3}), {"action": "accept"}, {"action": "accept", "content": None}, {"action": "perhaps"}, 7]:
            with self.assertRaises(Failure) as caught:
                elicited(answer)
            self.assertEqual(caught.exception.code, code.FAILED, answer)

    def test_yes_is_only_what_was_said_with_a_tick(self):
        answers = {"yes": accepted({"confirm": True}), "no": accepted({"confirm": False}), "never": {"action": "decline"}}
        with Host(answers={**answers, "page": {"action": "accept"}}).running() as context:
            self.assertEqual([context.confirm(key, "Sure?") for key in answers], [True, False, False])
            self.assertTrue(context.open_url("page", "Open.", "https://a.example"))
        with Host(answers={"page": {"action": "cancel"}}).running() as context:
            self.assertFalse(context.open_url("page", "Open.", "https://a.example"))

    def test_a_model_answers_in_one_block_or_several_and_a_client_names_its_folders(self):
        def text(text):
            return {"type": "text", "text": text}

        for content in [text("Tides"), [text("Ti"), {"type": "image", "data": "", "mimeType": "image/png"}, text("des")]]:
            answer = {"role": "assistant", "model": "m", "stopReason": "endTurn", "content": content}
            with Host(answers={"title": answer, "folders": {"roots": [{"uri": "file:///a"}]}}).running() as context:
                self.assertEqual(context.sample("title", "A title?", 20), Sampled("Tides", "m", "endTurn"))
                self.assertEqual(context.roots("folders"), [Root("file:///a")])
        for answer in [{}, {"content": []}, {"roots": [{}]}, []]:
            self.assertEqual(self.refused(lambda context: context.sample("q", "?", 1), Host(answers={"q": answer})).code, code.FAILED)
            self.assertEqual(self.refused(lambda context: context.roots("q"), Host(answers={"q": answer})).code, code.FAILED)

    def test_what_can_not_be_asked_has_no_answer_and_helpers_say_what_it_takes(self):
        host = Host(cannot_ask=["elicitation"], answers={"title": {"content": {"text": "Tides"}}, "sure": accepted({"confirm": True})})
        with host.running() as context:
            form, title = context.ask(Question.form("who", "Who?", Person), Question.sampling("title", "?", 9))
            self.assertEqual((form, Sampled.read(title).text), (None, "Tides"))
        failure = self.refused(lambda context: context.confirm("sure", "Sure?"), host)
        self.assertEqual(failure.code, code.FAILED)
        self.assertIn("needs an answer from the person in front of the client (`sure`)", failure.message)
        self.assertIn("declares the capability `elicitation`,", failure.message)
        failure = self.refused(lambda context: context.open_url("page", "Open.", "https://a.example"), host)
        self.assertEqual(failure.code, INPUT_REQUIRED)

    def test_nothing_is_asked_once_something_may_have_changed(self):
        answers = {"folders": {"roots": []}, "more": {"roots": []}}
        host = Host(answers=answers).backend("billing", lambda request: reply(200, {}))
        with host.running() as context:
            http.get("http://billing/")
            with self.assertRaises(http.Refused):
                http.post("http://mail/", json={})
            self.assertEqual(context.ask(Question.roots("folders")), [{"roots": []}])
            http.post("http://billing/", json={})
            self.assertEqual(context.ask(Question.roots("more")), [None])
            self.assertEqual(context.ask(Question.roots("folders")), [{"roots": []}], "what was answered before is still answered")
        with host.running() as context:
            self.assertEqual(context.roots("folders"), [], "it is the call that has changed something")

    def test_what_would_end_a_run_as_a_crash_does_fails_the_test(self):
        def many(context):
            for start in range(0, 40, 8):
                context.ask(*(Question.roots(f"q{start + at}") for at in range(8)))

        def other(context):
            context.ask(Question.roots("q"))
            context.ask(Question.sampling("q", "?", 1))

        for ask, said in [
            (lambda context: context.ask(*(Question.roots(f"q{at}") for at in range(9))), "9 questions at a time; 8 is the most"),
            (many, "40 questions; 32 is the most of a call"),
            (lambda context: context.ask(Question.sampling("q", "x" * (64 << 10), 1)), "65536 is the most"),
            (lambda context: context.ask(Question.roots("a b")), "`a b` is no key of a question"),
            (lambda context: context.ask(Question.roots("q"), Question.roots("q")), "two questions under the key `q`"),
            (other, "two questions under the key `q`"),
        ]:
            with self.assertRaisesRegex(ValueError, said), Host(cannot_ask=["roots", "sampling"]).running() as context:
                ask(context)
        with Host(cannot_ask=["roots"]).running() as context:
            self.assertEqual([context.ask(Question.roots("q")) for _ in range(2)], [[None], [None]])
        with self.assertRaisesRegex(ValueError, "`elicit` is no kind of question"):
            Host(cannot_ask=["elicit"])


if __name__ == "__main__":
    unittest.main()
