"""The tools against a stand-in for the host, with a scripted billing."""

import unittest

import app
from tidegate import Failure, code, http
from tidegate.testing import Host, definition, reply


def invoice(id: str, status: str) -> dict:
    return {
        "id": id,
        "user_id": "u1",
        "status": status,
        "amount_cents": 1250,
        "created_at": "2026-01-01T00:00:00Z",
        "description": "Dues",
    }


class Invoices(unittest.TestCase):
    def refused(self, host: Host, tool, **arguments) -> Failure:
        with self.assertRaises(Failure) as caught:
            host.call(tool, **arguments)
        return caught.exception

    def test_a_listing_asks_only_for_what_was_asked(self):
        answer = {"invoices": [invoice("inv_0001", "open")], "truncated": False}
        host = Host().backend("billing", lambda request: reply(200, answer))
        self.assertEqual(host.call(app.list_invoices), answer)
        self.assertEqual(host.call(app.list_invoices, user_id="u&1", status="open"), answer)
        paths = [request.path for request in host.requests]
        self.assertEqual(paths, ["/invoices", "/invoices?user_id=u%261&status=open"])

    def test_an_invoice_is_read_created_and_paid_on_its_own_route(self):
        def billing(request: http.Request) -> http.Response:
            return reply(200, invoice("inv_0001", "paid" if request.path.endswith("/pay") else "open"))

        host = Host(permits=lambda resource, row: row["user_id"] == "u1").backend("billing", billing)
        new = {"user_id": "u1", "amount_cents": 1250, "description": "Dues"}
        self.assertEqual(host.call(app.get_invoice, invoice_id="inv_0001"), invoice("inv_0001", "open"))
        self.assertEqual(host.call(app.create_invoice, **new), invoice("inv_0001", "open"))
        self.assertEqual(host.call(app.pay_invoice, invoice_id="inv_0001"), invoice("inv_0001", "paid"))
        self.assertEqual(
            [(request.method, request.path) for request in host.requests],
            [
                ("GET", "/invoices/inv_0001"),
                ("POST", "/invoices"),
                ("GET", "/invoices/inv_0001"),
                ("POST", "/invoices/inv_0001/pay"),
            ],
        )
        self.assertEqual(host.requests[1].body, b'{"user_id":"u1","amount_cents":1250,"description":"Dues"}')
        self.assertEqual(host.requests[3].headers, (), "the idempotency key is the host's business")

    def test_what_the_host_does_not_permit_is_neither_created_nor_paid_nor_told_apart_from_what_is_not_there(self):
        def billing(request: http.Request) -> http.Response:
            there = request.path == "/invoices/inv_0001"
            return reply(200, invoice("inv_0001", "open")) if there else reply(404, {"message": "no inv_0002"})

        host = Host(permits=lambda resource, row: row["user_id"] == "u2").backend("billing", billing)
        created = self.refused(host, app.create_invoice, user_id="u1", amount_cents=1250)
        self.assertEqual(created.code, code.PERMISSION_DENIED)
        hidden = self.refused(host, app.pay_invoice, invoice_id="inv_0001")
        absent = self.refused(host, app.pay_invoice, invoice_id="inv_0002")
        self.assertEqual((hidden.code, hidden.message), (absent.code, absent.message))
        self.assertEqual(hidden.code, code.NOT_FOUND)
        self.assertEqual({request.method for request in host.requests}, {"GET"})

    def test_a_listing_asks_only_for_what_the_caller_may_see(self):
        filter = {"and": [{"eq": ["user_id", "u1"]}, {"ne": ["status", "void"]}]}
        host = Host(row_filter=filter).backend("billing", lambda request: reply(200, {"invoices": [], "truncated": False}))
        host.call(app.list_invoices)
        host.call(app.list_invoices, user_id="u2")
        paths = [request.path for request in host.requests]
        self.assertEqual(paths, ["/invoices?user_id=u1", "/invoices?user_id=u2"], "what was asked for goes first")

    def test_an_invoice_id_can_not_name_another_route(self):
        host = Host().backend("billing", lambda request: reply(404, {"message": "no"}))
        self.assertEqual(self.refused(host, app.get_invoice, invoice_id="inv_0001/pay?x=").code, code.NOT_FOUND)
        self.assertEqual(host.requests[0].path, "/invoices/inv_0001%2Fpay%3Fx%3D")
        self.assertEqual(self.refused(host, app.pay_invoice, invoice_id="..").code, code.INVALID_ARGUMENTS)
        self.assertEqual(len(host.requests), 1)

    def test_what_billing_refuses_is_told_in_its_words(self):
        for status, expected in [(404, code.NOT_FOUND), (409, code.CONFLICT), (422, code.INVALID_ARGUMENTS)]:
            host = Host().backend("billing", lambda request: reply(status, {"error": "x", "message": "the invoice is paid"}))
            failure = self.refused(host, app.get_invoice, invoice_id="inv_0001")
            self.assertEqual((failure.code, failure.message), (expected, "the invoice is paid"))

    def test_a_billing_in_trouble_is_unavailable_says_when_to_try_again_and_keeps_its_secrets(self):
        for headers, seconds in [({}, None), ({"Retry-After": "3"}, 3)]:
            host = Host().backend("billing", lambda request: reply(500, b"panicked at password=hunter2", headers))
            failure = self.refused(host, app.get_invoice, invoice_id="inv_0001")
            self.assertEqual((failure.code, failure.retry_after_seconds), (code.BACKEND_UNAVAILABLE, seconds))
            self.assertNotIn("hunter2", failure.message)

    def test_a_billing_that_does_not_answer_never_becomes_an_empty_answer(self):
        for error, expected in [
            (http.Unavailable("billing", "refused"), code.BACKEND_UNAVAILABLE),
            (http.Timeout("billing", "first byte"), code.BACKEND_TIMEOUT),
        ]:

            def billing(request: http.Request) -> http.Response:
                raise error

            failure = self.refused(Host().backend("billing", billing), app.list_invoices)
            self.assertEqual((failure.code, failure.retry_after_seconds), (expected, None))
        for body in [b"", b"{}", b"<html>", b'{"invoices":[{"id":1}]}']:
            host = Host().backend("billing", lambda request: reply(200, body))
            self.assertEqual(self.refused(host, app.list_invoices).code, code.FAILED, body)

    def test_the_schemas_say_what_billing_will_accept(self):
        listing, creating = definition(app.list_invoices).input_schema, definition(app.create_invoice).input_schema
        self.assertEqual(listing["properties"]["status"]["enum"], ["open", "paid", "void", None])
        self.assertEqual(creating["properties"]["amount_cents"]["minimum"], 1)
        self.assertEqual(creating["required"], ["user_id", "amount_cents"])
        self.assertEqual(definition(app.pay_invoice).input_schema["required"], ["invoice_id"])
        for tool in (app.list_invoices, app.get_invoice, app.create_invoice, app.pay_invoice):
            self.assertIs(definition(tool).input_schema["additionalProperties"], False)


if __name__ == "__main__":
    unittest.main()
