//! Keeping what must not be stored out of what is stored.

use std::borrow::Cow;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::secret::{KEY_ARGUMENT, Secret};
use crate::model::Arguments;

/// What stands where a redacted value was repeated in a text.
const PLACEHOLDER: &str = "[redacted]";

/// The shortest value that is looked for in other texts; shorter ones would hit everywhere by chance.
const SHORTEST_SEARCHED: usize = 4;

/// Arguments that are fit to be stored.
pub(super) struct Redacted<'a> {
    arguments: Cow<'a, Arguments>,
    /// The values that were taken out, for [`Secrets::scrub`].
    pub secrets: Secrets,
}

impl<'a> Redacted<'a> {
    /// Replaces what `pointers` point at by commitments under `salt`. The idempotency key is left out when it is written.
    pub fn new(secret: &Secret, salt: &[u8; 32], arguments: &'a Arguments, pointers: &[String]) -> Self {
        let mut secrets = Secrets::default();
        if pointers.is_empty() {
            return Self { arguments: Cow::Borrowed(arguments), secrets };
        }
        let mut root = Value::Object(arguments.clone());
        for pointer in pointers {
            // A pointer without its slash is a slip in the manifest; taken literally it would redact nothing.
            let pointer = if pointer.starts_with('/') { Cow::Borrowed(pointer) } else { Cow::Owned(format!("/{pointer}")) };
            if let Some(value) = root.pointer_mut(&pointer) {
                let commitment = secret.redact(salt, &pointer, value);
                secrets.collect(value);
                *value = json!({ "redacted": commitment.to_string() });
            }
        }
        let Value::Object(arguments) = root else { unreachable!("no pointer that starts with a slash points at the root") };
        Self { arguments: Cow::Owned(arguments), secrets }
    }
}

impl Serialize for Redacted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.arguments.iter().filter(|(name, _)| *name != KEY_ARGUMENT) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Values that were redacted from a call's arguments and must not come back in through its answer or its log.
#[derive(Clone, Default)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    /// The text without the redacted values.
    pub fn scrub<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        for secret in &self.0 {
            if text.contains(secret.as_str()) {
                text = Cow::Owned(text.replace(secret.as_str(), PLACEHOLDER));
            }
        }
        text
    }

    /// The value without the redacted values.
    pub fn scrub_value<'v>(&self, value: &'v Value) -> Cow<'v, Value> {
        if self.0.is_empty() { Cow::Borrowed(value) } else { Cow::Owned(self.scrubbed(value)) }
    }

    fn scrubbed(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.scrub(text).into_owned()),
            Value::Number(number) if self.0.iter().any(|secret| *secret == number.to_string()) => PLACEHOLDER.into(),
            Value::Array(values) => values.iter().map(|value| self.scrubbed(value)).collect(),
            Value::Object(members) => {
                members.iter().map(|(name, value)| (self.scrub(name).into_owned(), self.scrubbed(value))).collect()
            }
            plain => plain.clone(),
        }
    }

    fn collect(&mut self, value: &Value) {
        match value {
            Value::String(text) if text.len() >= SHORTEST_SEARCHED => {
                // Inside a text that is JSON itself it stands in its escaped form.
                let quoted = value.to_string();
                let escaped = &quoted[1..quoted.len() - 1];
                if escaped != text {
                    self.0.push(escaped.to_owned());
                }
                self.0.push(text.clone());
            }
            Value::Number(number) if number.to_string().len() >= SHORTEST_SEARCHED => self.0.push(number.to_string()),
            Value::Array(values) => values.iter().for_each(|value| self.collect(value)),
            Value::Object(members) => members.values().for_each(|value| self.collect(value)),
            _ => {}
        }
    }
}
