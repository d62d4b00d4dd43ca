//! An invoice, as billing gives it and as callers see it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Invoice {
    /// Such as `inv_0001`.
    pub(crate) id: String,
    /// The user whose invoice it is.
    pub(crate) user_id: String,
    /// Where it stands.
    pub(crate) status: Status,
    /// How much it is, in cents.
    pub(crate) amount_cents: i64,
    /// What it is for.
    #[serde(default)]
    pub(crate) description: String,
    /// When it was created (RFC 3339).
    pub(crate) created_at: String,
    /// When it was paid (RFC 3339), if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) paid_at: Option<String>,
}

/// Where an invoice stands: to be paid, paid, or never to be paid.
//
// The variants have no doc comments of their own, so that the schema is a plain `enum`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum Status {
    Open,
    Paid,
    Void,
}

impl Status {
    /// The status as billing writes it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Status::Open => "open",
            Status::Paid => "paid",
            Status::Void => "void",
        }
    }
}
