//! Records as CloudEvents 1.0 in their JSON format, for event buses.
//!
//! `source` and `id` together name a record for good, so whoever gets one twice can tell. The data is what a line of an export
//! has of the record, but for the salt: proofs are what exports are for.

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::audit::Record;
use super::reading::{GONE, Reading, uid};

/// The event that a record of the log `log` is. `intent` is the intent that an outcome ends: without it the event does not say who
/// called.
pub fn event(log: &str, record: &Record, intent: Option<&Record>) -> Value {
    let (told, head) = (Reading::of(record, intent), &record.head);
    let at = UNIX_EPOCH + Duration::from_millis(head.at.as_millis());
    let mut event = json!({
        "specversion": "1.0",
        "id": uid(log, record),
        "source": log,
        "type": format!("dev.tidegate.audit.{}.v1", head.kind.as_str()),
        "subject": told.operation(),
        "time": humantime::format_rfc3339_millis(at).to_string(),
        "datacontenttype": "application/json",
        "data": data(&told),
    });
    if let Some(call) = head.call {
        // The records of a call stay in order also where others do not.
        event["partitionkey"] = json!(call);
    }
    if let Some(parent) = told.text("trace_id").and_then(|trace| traceparent(trace, record)) {
        event["traceparent"] = json!(parent);
    }
    event
}

fn data(told: &Reading<'_>) -> Value {
    let (record, head) = (told.record, &told.record.head);
    let mut data = Map::new();
    data.insert("seq".into(), json!(head.seq));
    data.insert("at_ms".into(), json!(head.at.as_millis()));
    data.insert("kind".into(), json!(head.kind.as_str()));
    if let Some(call) = head.call {
        data.insert("call".into(), json!(call));
    }
    data.insert("hash".into(), json!(record.hash));
    data.insert("head".into(), json!(STANDARD.encode(head.encode())));
    if told.is_gone() {
        data.insert("gone".into(), json!(GONE));
    } else {
        data.insert("body".into(), told.body().clone().into());
    }
    data.into()
}

/// The trace that a call belongs to, as the extension for distributed tracing wants it. The log keeps no spans, so the record stands
/// for one: the start of its hash.
fn traceparent(trace: &str, record: &Record) -> Option<String> {
    let is_trace =
        trace.len() == 32 && trace.bytes().all(|digit| digit.is_ascii_hexdigit()) && trace.bytes().any(|digit| digit != b'0');
    let span = record.hash.to_string();
    is_trace.then(|| format!("00-{trace}-{}-00", &span[..16]))
}
