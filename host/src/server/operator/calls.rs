//! The operator's questions about calls: which are remembered, how one stands, what became of one that is unknown.
//!
//! The same on a live host, over the admin socket, and on the ledger of a stopped one.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::ledger::{CallsQuery, Ledger, LedgerError, Resolution, Verdict};
use crate::model::CallId;
use crate::model::spans::{EndedSpan, SpanValue};
use crate::pipeline::{Answer, Pipeline};

/// A page of calls: [`list`].
pub const LIST: &str = "tidegate/calls/list";
/// All about one call: [`show`].
pub const SHOW: &str = "tidegate/calls/show";
/// Settles one call: [`resolve`].
pub const RESOLVE: &str = "tidegate/calls/resolve";

/// What the parts of a call took, as far as this host keeps that: [`stages`].
pub const STAGES: &str = "tidegate/calls/stages";

/// How deep parts lie within parts, at most.
const MAX_DEPTH: usize = 16;

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

/// The parts of a call and what they took, in the order they began: `{stages}`, or `{why_not}`.
pub fn stages(pipeline: &Pipeline, Show { call }: Show) -> Value {
    let Some(spans) = pipeline.noted(call) else {
        return json!({ "why_not": "only `tidegate dev` keeps what the stages of a call took; elsewhere a collector does" });
    };
    let Some(first) = spans.first() else {
        return json!({ "why_not": "they are no longer remembered, or were not noted: the trace was not sampled" });
    };
    let micros = |from: SystemTime, to: SystemTime| to.duration_since(from).unwrap_or_default().as_micros() as u64;
    let depth = |span: &EndedSpan| {
        let above = |id: [u8; 8]| spans.iter().find(|span| span.id == id);
        std::iter::successors(above(span.parent), |span| above(span.parent)).take(MAX_DEPTH).count()
    };
    let stages: Vec<Value> = spans
        .iter()
        .map(|span| {
            let attributes: serde_json::Map<String, Value> =
                span.attributes.iter().map(|(key, value)| ((*key).to_owned(), attribute(value))).collect();
            json!({
                "name": span.name, "depth": depth(span), "at_us": micros(first.began, span.began),
                "took_us": micros(span.began, span.ended), "failed": span.failed, "attributes": attributes,
            })
        })
        .collect();
    json!({ "stages": stages })
}

fn attribute(value: &SpanValue) -> Value {
    match value {
        SpanValue::Text(text) => json!(text),
        SpanValue::Int(number) => json!(number),
        SpanValue::Bool(yes) => json!(yes),
    }
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
