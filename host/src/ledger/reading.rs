//! A record as other formats retell it: its members at hand, whichever of them are still there.

use serde_json::{Map, Value};

use super::audit::Record;
use super::chain::Kind;

/// What readers are told in place of a body that is gone.
pub(super) const GONE: &str = "what this record said was erased or pruned; its head and its hash are left";

/// A record, and the intent it ends, parsed.
pub(super) struct Reading<'r> {
    pub record: &'r Record,
    /// The record of the intent that an outcome ends, if it is at hand.
    pub intent: Option<&'r Record>,
    /// What the record says; empty if that is gone.
    body: Map<String, Value>,
    /// What the intent says; empty if that is gone or there is none.
    begun: Map<String, Value>,
}

impl<'r> Reading<'r> {
    pub fn of(record: &'r Record, intent: Option<&'r Record>) -> Self {
        let parse = |record: &Record| match record.body.as_deref().map(serde_json::from_slice) {
            Some(Ok(Value::Object(members))) => members,
            _ => Map::new(),
        };
        Self { record, intent, body: parse(record), begun: intent.map(parse).unwrap_or_default() }
    }

    pub fn kind(&self) -> Kind {
        self.record.head.kind
    }

    /// Whether what the record said is gone.
    pub fn is_gone(&self) -> bool {
        self.record.body.is_none()
    }

    /// All that the record itself says.
    pub fn body(&self) -> &Map<String, Value> {
        &self.body
    }

    /// A member of the record, or else of its intent.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.body.get(name).or_else(|| self.begun.get(name))
    }

    /// The same as text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }

    /// The same as a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name).and_then(Value::as_u64)
    }

    /// The texts in a list of the record, or else of its intent.
    pub fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    /// How a call ended, in one word: the error it was answered with, or how it came to its end.
    pub fn outcome(&self) -> Option<&str> {
        ["code", "error", "ended"].into_iter().find_map(|name| self.body.get(name)?.as_str())
    }

    /// What was done, in one word: the tool that was called, the action of an admin, or else the kind of the record.
    pub fn operation(&self) -> &str {
        self.text("tool").or_else(|| self.text("action")).filter(|word| !word.is_empty()).unwrap_or(self.kind().as_str())
    }
}

/// The uid of a record, unique among the records of all logs.
pub(super) fn uid(log: &str, record: &Record) -> String {
    format!("{log}/{}", record.head.seq)
}
