//! The demo backend: invoices and payments in SQLite, behind a small HTTP API.
//!
//! | route | does |
//! |---|---|
//! | `GET /invoices?user_id&status` | lists invoices, at most [`LIST_LIMIT`] |
//! | `POST /invoices` | creates one; not idempotent |
//! | `GET /invoices/{id}` | reads one |
//! | `POST /invoices/{id}/pay` | pays one; honours `Idempotency-Key` |
//! | `GET /effects` | every payment performed, so that anybody can count |
//! | `GET /counts` | how many invoices and payments there are |
//! | `GET /healthz` | 200 |
//! | `PUT /fault` | sets the [`Fault`] that the body names; an empty one for none |
//!
//! An error is `{"error", "message"}` with a fitting status. [`Faults`] makes the invoice routes slow or broken on
//! purpose; the others always tell the truth.

mod book;
mod faults;
mod routes;
mod spans;

pub use book::{Book, BookError, Counts, Effect, Invoice, LIST_LIMIT, NewInvoice, Status};
pub use faults::{Fault, FaultKind, Faults};
pub use routes::{logged, router};
pub use spans::traced;
