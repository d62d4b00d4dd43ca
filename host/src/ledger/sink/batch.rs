//! A batch of records on their way to a sink, each as the text it is sent as.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::audit::Record;
use super::super::chain::Kind;
use super::super::reading::{Reading, uid};
use super::super::{Ledger, LedgerError, cloudevents, ocsf};

/// Records are read so many at a time, until there are enough: bodies can be long.
const STEP: u64 = 16;

/// A batch is full once it has so many bytes.
const BYTES_MAX: usize = 4 << 20;

/// What the lines of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Lines of an export.
    Jsonl,
    /// Events of OCSF.
    Ocsf,
    /// CloudEvents.
    CloudEvents,
}

/// What a record becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Line(Format),
    /// A log record of OTLP/JSON.
    LogRecord,
}

/// Consecutive records, rendered. Never empty.
pub(super) struct Batch {
    pub items: Vec<String>,
    /// The sequence of the last one.
    pub last: u64,
}

impl Batch {
    /// Up to `limit` records from `from` to `until`. Blocks on the disk.
    pub fn read(ledger: &Ledger, shape: Shape, (from, until): (u64, u64), limit: usize) -> Result<Self, LedgerError> {
        let mut render = Render { ledger, log: ledger.public_key().name(), intents: HashMap::new() };
        let mut items = Vec::new();
        let (mut next, mut bytes) = (from, 0);
        while items.len() < limit && bytes < BYTES_MAX && next <= until {
            let count = STEP.min(until - next + 1).min((limit - items.len()) as u64);
            let rendered = render.step(shape, next, count as usize)?;
            if rendered.is_empty() {
                return Err(LedgerError::damaged(format!("record {next}"))("it is missing"));
            }
            next += rendered.len() as u64;
            bytes += rendered.iter().map(String::len).sum::<usize>();
            items.extend(rendered);
        }
        Ok(Self { items, last: next - 1 })
    }
}

struct Render<'l> {
    ledger: &'l Ledger,
    /// The name of the log.
    log: &'l str,
    /// The intents among the batch, for their outcomes.
    intents: HashMap<u64, Record>,
}

impl Render<'_> {
    /// Up to `count` records from `from` on; fewer if they are long, or one is missing.
    fn step(&mut self, shape: Shape, from: u64, count: usize) -> Result<Vec<String>, LedgerError> {
        if shape == Shape::Line(Format::Jsonl) {
            return Ok(self.lines(from, count)?.collect());
        }
        let mut lines = if shape == Shape::LogRecord { Some(self.lines(from, count)?) } else { None };
        let records = self.ledger.records(from, count)?;
        let mut rendered = Vec::with_capacity(records.len());
        for (expected, record) in (from..).zip(records) {
            if record.head.seq != expected {
                break;
            }
            let intent = self.intent_of(&record)?;
            let item = match shape {
                Shape::Line(Format::Ocsf) => ocsf::event(self.log, &record, intent.as_ref()),
                Shape::Line(_) => cloudevents::event(self.log, &record, intent.as_ref()),
                Shape::LogRecord => {
                    let Some(line) = lines.as_mut().and_then(Iterator::next) else { break };
                    log_record(self.log, &record, intent.as_ref(), line)
                }
            };
            rendered.push(item.to_string());
            if record.head.kind == Kind::Intent {
                self.intents.insert(expected, record);
            }
        }
        Ok(rendered)
    }

    fn lines(&self, from: u64, count: usize) -> Result<impl Iterator<Item = String> + use<>, LedgerError> {
        let lines = self.ledger.export(from, count)?;
        let whole = (from..).zip(lines).take_while(|(expected, line)| line.seq == *expected);
        Ok(whole.map(|(_, line)| serde_json::to_string(&line).expect("a line of an export is JSON")))
    }

    /// The intent that an outcome ends, as far as it is still known.
    fn intent_of(&mut self, record: &Record) -> Result<Option<Record>, LedgerError> {
        if record.head.kind != Kind::Outcome {
            return Ok(None);
        }
        let Some(seq) = Reading::of(record, None).number("intent") else { return Ok(None) };
        if let Some(intent) = self.intents.remove(&seq) {
            return Ok(Some(intent));
        }
        Ok(self.ledger.records(seq, 1)?.pop().filter(|intent| intent.head.seq == seq))
    }
}

/// A record as a log record of OTLP/JSON. Its body is `line`, the record's line of an export.
fn log_record(log: &str, record: &Record, intent: Option<&Record>, line: String) -> Value {
    let (told, head) = (Reading::of(record, intent), &record.head);
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    let mut attributes = vec![
        text("log.record.uid", &uid(log, record)),
        text("tidegate.audit.kind", head.kind.as_str()),
        text("tidegate.audit.hash", &record.hash.to_string()),
        json!({ "key": "tidegate.audit.seq", "value": { "intValue": head.seq.to_string() } }),
    ];
    if let Some(call) = head.call {
        attributes.push(text("tidegate.call", &call.to_string()));
    }
    let known = [
        ("user.id", told.text("subject")),
        ("tidegate.issuer", told.text("issuer")),
        ("tidegate.tool", told.text("tool")),
        ("tidegate.action", told.text("action")),
        ("tidegate.outcome", told.outcome()),
    ];
    attributes.extend(known.into_iter().filter_map(|(key, value)| Some(text(key, value?))));
    let (number, severity) = match ocsf::severity_of(record, intent) {
        1 => (9, "INFO"),
        2 => (13, "WARN"),
        3 => (17, "ERROR"),
        _ => (18, "ERROR"),
    };
    let nanos = format!("{}000000", head.at.as_millis());
    let mut entry = json!({
        "timeUnixNano": nanos, "observedTimeUnixNano": nanos, "severityNumber": number, "severityText": severity,
        "eventName": format!("dev.tidegate.audit.{}", head.kind.as_str()),
        "body": { "stringValue": line }, "attributes": attributes,
    });
    if let Some(trace) = told.text("trace_id") {
        entry["traceId"] = json!(trace);
    }
    entry
}
