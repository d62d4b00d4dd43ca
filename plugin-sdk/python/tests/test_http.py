"""Requests and responses, against a stand-in for the host."""

import unittest
from dataclasses import dataclass

from tidegate import Failure, code, http, tool
from tidegate.http import Invalid, Refused, Response, TooLarge, Unexpected
from tidegate.testing import Host, reply


class Requests(unittest.TestCase):
    def setUp(self):
        self.host = Host().backend("billing", lambda request: reply(200, {"id": "i1"}))

    def test_an_argument_can_not_leave_its_place_in_the_path(self):
        with self.host.running():
            http.get("http://billing/invoices/", "../../admin?x#y", query={"a&b": "1=2 ü", "none": None, "yes": True})
            for segment in ("", ".", ".."):
                with self.assertRaises(Invalid) as caught:
                    http.get("http://billing/invoices", segment)
                self.assertEqual(caught.exception.code, code.INVALID_ARGUMENTS)
            for url in ("http://billing/a?x=1", "http://billing/a#x"):
                with self.assertRaises(Invalid):
                    http.get(url, "pay")
        [request] = self.host.requests
        self.assertEqual(request.path, "/invoices/..%2F..%2Fadmin%3Fx%23y?a%26b=1%3D2%20%C3%BC&yes=true")

    def test_an_address_names_a_backend_or_an_origin(self):
        with self.host.running():
            http.get("http://billing")
            http.get("http://billing/a?b=c", query={"d": 1})
            for url in ("billing/invoices", "ftp://billing/", "http:///x", "/x"):
                with self.assertRaises(Invalid):
                    http.get(url)
            for url in ("https://api.example.com/v1", "http://127.0.0.1:1/", "http://other/"):
                with self.assertRaises(Refused) as caught:
                    http.get(url)
                self.assertEqual(caught.exception.code, code.PERMISSION_DENIED)
        sent = [(request.backend, request.path) for request in self.host.requests]
        self.assertEqual(sent[:3], [("billing", "/"), ("billing", "/a?b=c&d=1"), ("https://api.example.com", "/v1")])

    def test_a_json_body_carries_its_type(self):
        @dataclass
        class New:
            a: int
            b: str | None = None

        with self.host.running():
            http.post("http://billing/invoices", json=New(1), timeout=0.5)
            http.put("http://billing/file", body=b"x", headers={"content-type": "text/plain"})
            with self.assertRaises(Invalid):
                http.post("http://billing/invoices", json={"a": object()})
        post, put = self.host.requests
        self.assertEqual((post.method, post.body, post.headers), ("POST", b'{"a":1}', (("content-type", "application/json"),)))
        self.assertEqual(post.timeout, 0.5)
        self.assertEqual((put.method, put.body, put.headers), ("PUT", b"x", (("content-type", "text/plain"),)))

    def test_a_body_larger_than_asked_for_is_not_taken(self):
        with self.host.running(), self.assertRaises(TooLarge):
            http.get("http://billing/", max_body_bytes=4)

    def test_without_a_call_nothing_is_sent(self):
        with self.assertRaisesRegex(RuntimeError, "no call is running"):
            http.get("http://billing/")


class Responses(unittest.TestCase):
    def test_a_bad_status_becomes_the_failure_that_fits(self):
        for status, expected in [
            (400, code.INVALID_ARGUMENTS),
            (403, code.FAILED),
            (404, code.NOT_FOUND),
            (409, code.CONFLICT),
            (429, code.RATE_LIMITED),
            (500, code.BACKEND_UNAVAILABLE),
            (504, code.BACKEND_TIMEOUT),
        ]:
            with self.assertRaises(Failure) as caught:
                Response("billing", status, (), b"because\n").success()
            self.assertEqual(caught.exception.code, expected, status)
            self.assertEqual(caught.exception.message, f"the backend `billing` answered {status}: because")
        self.assertEqual(Response("billing", 204).success().status, 204)

    def test_a_backends_retry_after_reaches_the_agent(self):
        for value, seconds in [(b"7", 7), (b" 7 ", 7), (b"soon", None), (b"-1", None), (b"9" * 30, None), (b"\xff", None)]:
            with self.assertRaises(Failure) as caught:
                Response("billing", 503, (("Retry-After", value),)).success()
            self.assertEqual(caught.exception.retry_after_seconds, seconds, value)

    def test_what_does_not_fit_is_unexpected(self):
        for body in (b"", b"[]", b'{"a":1', b"\xff", b'{"a":"x"}', b"[" * 100_000):
            with self.assertRaises(Unexpected) as caught:
                Response("billing", 200, (), body).json(dict[str, int])
            self.assertEqual(caught.exception.code, code.FAILED)
        self.assertEqual(Response("billing", 200, (), b'{"a":1}').json(), {"a": 1})

    def test_what_a_backend_says_is_quoted_in_part_and_without_control_characters(self):
        said = str(Response("billing", 500, (), b"\x1b[2Ja" + b"x" * 1000))
        self.assertTrue(said.startswith("the backend `billing` answered 500: [2Jaxx") and len(said) < 300, said)


if __name__ == "__main__":
    unittest.main()
