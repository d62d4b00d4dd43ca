"""Invoices of the demo backend as tools: list, read, create and pay. The twin of `plugins/invoices`, in Python."""

from dataclasses import dataclass
from enum import Enum
from typing import Annotated

from billing import answer
from tidegate import Context, Failure, Hints, Length, Range, http, tool

INVOICES = "http://billing/invoices"
READS = Hints(read_only=True, open_world=False)


class Status(Enum):
    """Where an invoice stands: to be paid, paid, or never to be paid."""

    OPEN = "open"
    PAID = "paid"
    VOID = "void"


@dataclass
class Invoice:
    """One invoice."""

    id: Annotated[str, "Such as `inv_0001`."]
    user_id: Annotated[str, "The user whose invoice it is."]
    status: Status
    amount_cents: Annotated[int, "How much it is, in cents."]
    created_at: Annotated[str, "When it was created (RFC 3339)."]
    description: Annotated[str, "What it is for."] = ""
    paid_at: Annotated[str | None, "When it was paid (RFC 3339), if it was."] = None


@dataclass
class Listing:
    """Some invoices, oldest first."""

    invoices: Annotated[list[Invoice], "The invoices."]
    truncated: Annotated[bool, "Whether there are more than are listed: narrow the search to see them."] = False


InvoiceId = Annotated[str, "The id of the invoice, such as `inv_0001`."]


@tool(title="List invoices", hints=READS)
def list_invoices(
    context: Context,
    user_id: Annotated[str | None, "Only invoices of this user, such as `u1`."] = None,
    status: Annotated[Status | None, "Only invoices that stand so."] = None,
) -> Listing:
    """Lists invoices, oldest first, optionally only those of one user or of one status (open, paid or void)."""
    # The host removes what the caller may not see; asking for less saves the way.
    if user_id is None and context.row_filter is not None:
        user_id = context.row_filter.only("user_id")
    return answer(http.get(INVOICES, query={"user_id": user_id, "status": status}), Listing)


@tool(title="Read an invoice", hints=READS)
def get_invoice(invoice_id: InvoiceId) -> Invoice:
    """Reads one invoice by its id."""
    return answer(http.get(INVOICES, invoice_id), Invoice)


@tool(title="Create an invoice", hints=Hints(read_only=False, destructive=False, idempotent=False, open_world=False))
def create_invoice(
    context: Context,
    user_id: Annotated[str, "The user who is to pay, such as `u1`.", Length(1, 200)],
    amount_cents: Annotated[int, "How much is to be paid, in cents.", Range(1, 100_000_000)],
    description: Annotated[str, "What it is for.", Length(max=200)] = "",
) -> Invoice:
    """Creates an open invoice for a user, and returns it with its new id."""
    if not context.permits("invoices", {"user_id": user_id, "status": Status.OPEN, "amount_cents": amount_cents}):
        raise Failure.permission_denied("you may not create such an invoice for this user")
    new = {"user_id": user_id, "amount_cents": amount_cents, "description": description}
    return answer(http.post(INVOICES, json=new), Invoice)


@tool(title="Pay an invoice", hints=Hints(read_only=False, destructive=True, idempotent=False, open_world=False))
def pay_invoice(context: Context, invoice_id: InvoiceId) -> Invoice:
    """Pays an open invoice in full, and returns it. Money moves: an invoice that is paid or void is a conflict."""
    # The host lets the payment through only once it has permitted an invoice; and an invoice that is there, but not for this caller,
    # must not look different from one that is not.
    response = http.get(INVOICES, invoice_id)
    if response.status == 404 or not context.permits("invoices", answer(response, Invoice)):
        raise Failure.not_found("there is no such invoice, or none that you may pay")
    # The host adds the Idempotency-Key: billing pays once however often this request reaches it.
    return answer(http.post(INVOICES, invoice_id, "pay"), Invoice)
