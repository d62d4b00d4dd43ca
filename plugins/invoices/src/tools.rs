//! The four tools.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tidegate_plugin_sdk::{Context, Failure, Hints, Tool, code};

use crate::billing::{ask, billing, found};
use crate::invoice::{Invoice, Status};

/// Lists invoices.
pub(crate) struct ListInvoices;

/// Which invoices to list.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    /// Only invoices of this user, such as `u1`.
    user_id: Option<String>,
    /// Only invoices that stand so.
    status: Option<Status>,
}

/// Some invoices, oldest first.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct Listing {
    /// The invoices.
    invoices: Vec<Invoice>,
    /// Whether there are more than are listed: narrow the search to see them.
    #[serde(default)]
    truncated: bool,
}

impl Tool for ListInvoices {
    const NAME: &'static str = "list_invoices";
    const TITLE: Option<&'static str> = Some("List invoices");
    const DESCRIPTION: &'static str =
        "Lists invoices, oldest first, optionally only those of one user or of one status (open, paid or void).";
    const HINTS: Hints = Hints::READ_ONLY.open_world(false);
    type Input = Filter;
    type Output = Listing;

    fn call(filter: Filter, context: &Context) -> Result<Listing, Failure> {
        let mut request = billing(context).get(&["invoices"]);
        // The host removes what the caller may not see; asking for less saves the way.
        let only = || context.row_filter()?.only("user_id")?.as_str().map(str::to_owned);
        if let Some(user_id) = filter.user_id.or_else(only) {
            request = request.query("user_id", user_id);
        }
        if let Some(status) = filter.status {
            request = request.query("status", status.as_str());
        }
        ask(request)
    }
}

/// Reads one invoice.
pub(crate) struct GetInvoice;

/// Which invoice.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// The id of the invoice, such as `inv_0001`.
    invoice_id: String,
}

impl Tool for GetInvoice {
    const NAME: &'static str = "get_invoice";
    const TITLE: Option<&'static str> = Some("Read an invoice");
    const DESCRIPTION: &'static str = "Reads one invoice by its id.";
    const HINTS: Hints = Hints::READ_ONLY.open_world(false);
    type Input = Which;
    type Output = Invoice;

    fn call(which: Which, context: &Context) -> Result<Invoice, Failure> {
        ask(billing(context).get(&["invoices", &which.invoice_id]))
    }
}

/// Creates an invoice.
pub(crate) struct CreateInvoice;

/// What the new invoice says.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewInvoice {
    /// The user who is to pay, such as `u1`.
    #[schemars(length(min = 1, max = 200))]
    user_id: String,
    /// How much is to be paid, in cents.
    #[schemars(range(min = 1, max = 100_000_000))]
    amount_cents: i64,
    /// What it is for.
    #[serde(default)]
    #[schemars(length(max = 200))]
    description: String,
}

impl Tool for CreateInvoice {
    const NAME: &'static str = "create_invoice";
    const TITLE: Option<&'static str> = Some("Create an invoice");
    const DESCRIPTION: &'static str = "Creates an open invoice for a user, and returns it with its new id.";
    const HINTS: Hints = Hints::WRITES.destructive(false).idempotent(false).open_world(false);
    type Input = NewInvoice;
    type Output = Invoice;

    fn call(new: NewInvoice, context: &Context) -> Result<Invoice, Failure> {
        let row = json!({ "user_id": new.user_id, "status": Status::Open, "amount_cents": new.amount_cents });
        if !context.permits("invoices", &row) {
            return Err(Failure::new(code::PERMISSION_DENIED, "you may not create such an invoice for this user"));
        }
        ask(billing(context).post(&["invoices"]).json(&new))
    }
}

/// Pays an invoice.
pub(crate) struct PayInvoice;

impl Tool for PayInvoice {
    const NAME: &'static str = "pay_invoice";
    const TITLE: Option<&'static str> = Some("Pay an invoice");
    const DESCRIPTION: &'static str =
        "Pays an open invoice in full, and returns it. Money moves: an invoice that is paid or void is a conflict.";
    const HINTS: Hints = Hints::WRITES.destructive(true).idempotent(false).open_world(false);
    type Input = Which;
    type Output = Invoice;

    fn call(which: Which, context: &Context) -> Result<Invoice, Failure> {
        // The host lets the payment through only once it has permitted an invoice; and an invoice that is there, but not for
        // this caller, must not look different from one that is not.
        let invoice: Option<Invoice> = found(ask(billing(context).get(&["invoices", &which.invoice_id])))?;
        if !invoice.is_some_and(|invoice| context.permits("invoices", &invoice)) {
            return Err(Failure::new(code::NOT_FOUND, "there is no such invoice, or none that you may pay"));
        }
        // The host adds the Idempotency-Key: billing pays once however often this request reaches it.
        ask(billing(context).post(&["invoices", &which.invoice_id, "pay"]))
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
