//! Invoices of the demo backend as tools: list, read, create and pay.

mod billing;
mod invoice;
mod tools;

use tools::{CreateInvoice, GetInvoice, ListInvoices, PayInvoice};

tidegate_plugin_sdk::export!(ListInvoices, GetInvoice, CreateInvoice, PayInvoice);
