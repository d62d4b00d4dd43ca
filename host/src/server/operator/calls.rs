//! The operator's questions about calls: which are remembered, how one stands, what became of one that is unknown.
//!
//! The same on a live host, over the admin socket, and on the ledger of a stopped one.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ledger::{CallsQuery, Ledger, LedgerError, Resolution, Verdict};
use crate::model::CallId;
use crate::pipeline::Answer;

/// A page of calls: [`list`].
pub const LIST: &str = "tidegate/calls/list";
/// All about one call: [`show`].
pub const SHOW: &str = "tidegate/calls/show";
/// Settles one call: [`resolve`].
pub const RESOLVE: &str = "tidegate/calls/resolve";

/// Which call to show.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Show {
    /// The call.
    pub call: CallId,
}

/// What became of a call.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolve {
    /// The call.
    pub call: CallId,
    /// Whether it took effect.
    pub verdict: Verdict,
    /// How the operator knows.
    pub note: Option<String>,
}

/// A page of the calls that the ledger remembers.
///
/// # Errors
/// As [`Ledger::calls`].
pub fn list(ledger: &Ledger, query: CallsQuery) -> Result<Value, LedgerError> {
    Ok(to_json(&ledger.calls(&query)?))
}

/// How a call stands.
///
/// # Errors
/// The ledger does not remember it; or as [`Ledger::report`].
pub fn show(ledger: &Ledger, Show { call }: Show) -> Result<Value, LedgerError> {
    Ok(to_json(&ledger.report(&call)?.ok_or(LedgerError::Forgotten { call })?))
}

/// Settles a call whose outcome is unknown, in the name of `by`, and tells how it stands then.
///
/// # Errors
/// As [`Ledger::resolve`].
pub fn resolve(ledger: &Ledger, by: &str, Resolve { call, verdict, note }: Resolve) -> Result<Value, LedgerError> {
    let report = ledger.report(&call)?.ok_or(LedgerError::Forgotten { call })?;
    let answer = Answer::resolved_as_executed(call, report.summary.intent.trace_id.unwrap_or_default());
    let answer = answer.to_stored().expect("an error is kept like any answer");
    ledger.resolve(Resolution { call, verdict, answer, by: by.to_owned(), note })?;
    show(ledger, Show { call })
}

fn to_json(told: &impl Serialize) -> Value {
    serde_json::to_value(told).expect("it holds only texts, numbers and parsed JSON")
}
