//! Keeping what must not be stored out of what is stored.

use std::borrow::Cow;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::detect::{self, is_secret_name};
use super::secret::{KEY_ARGUMENT, Secret};
use crate::model::Arguments;

/// What stands where a redacted value was repeated in a text.
const PLACEHOLDER: &str = "[redacted]";

/// The shortest value that is looked for in other texts; shorter ones would hit everywhere by chance.
const SHORTEST_SEARCHED: usize = 4;

/// Arguments that are fit to be stored.
pub(super) struct Redacted<'a> {
    arguments: Cow<'a, Arguments>,
    /// The values that were taken out, for [`Scrubber`].
    pub secrets: Secrets,
}

impl<'a> Redacted<'a> {
    /// Replaces what `pointers` point at, what has the name of a secret and what looks like one by commitments under `salt`. The
    /// idempotency key is left out when it is written.
    pub fn new(secret: &Secret, salt: &[u8; 32], arguments: &'a Arguments, pointers: &[String]) -> Self {
        let mut secrets = Secrets::default();
        if pointers.is_empty() && !arguments.iter().any(|(name, value)| is_suspect(name, value)) {
            return Self { arguments: Cow::Borrowed(arguments), secrets };
        }
        let mut root = Value::Object(arguments.clone());
        for pointer in pointers {
            // A pointer without its slash is a slip in the manifest; taken literally it would redact nothing.
            let pointer = if pointer.starts_with('/') { Cow::Borrowed(pointer) } else { Cow::Owned(format!("/{pointer}")) };
            if let Some(value) = root.pointer_mut(&pointer) {
                let commitment = secret.commit(salt, &pointer, value);
                secrets.collect(value);
                *value = json!({ "redacted": commitment.to_string() });
            }
        }
        let Value::Object(mut arguments) = root else { unreachable!("no pointer that starts with a slash points at the root") };
        let mut detector = Detector { secret, salt, secrets: &mut secrets };
        for (name, value) in arguments.iter_mut().filter(|(name, _)| *name != KEY_ARGUMENT) {
            detector.visit(name, &mut String::new(), value);
        }
        Self { arguments: Cow::Owned(arguments), secrets }
    }
}

/// Whether a member holds what the detectors look for, anywhere in it.
fn is_suspect(name: &str, value: &Value) -> bool {
    match value {
        Value::String(text) => (is_secret_name(name) && !text.is_empty()) || !detect::find(text).is_empty(),
        Value::Number(number) => is_secret_name(name) || !detect::find(&number.to_string()).is_empty(),
        Value::Array(values) => values.iter().any(|value| is_suspect(name, value)),
        Value::Object(members) => members.iter().any(|(name, value)| is_suspect(name, value)),
        Value::Null | Value::Bool(_) => false,
    }
}

/// Replaces what is detected in arguments, remembering it.
struct Detector<'a> {
    secret: &'a Secret,
    salt: &'a [u8; 32],
    secrets: &'a mut Secrets,
}

impl Detector<'_> {
    /// Looks at the value of the member `name` of what `path` points at.
    fn visit(&mut self, name: &str, path: &mut String, value: &mut Value) {
        let length = path.len();
        path.push('/');
        // RFC 6901 §3.
        path.push_str(&name.replace('~', "~0").replace('/', "~1"));
        match value {
            // A commitment that stands here already.
            Value::Object(members) if members.len() == 1 && members.get("redacted").is_some_and(Value::is_string) => {}
            Value::Object(members) => members.iter_mut().for_each(|(name, value)| self.visit(name, path, value)),
            Value::Array(values) => {
                // What a list of secrets is called, each of them is.
                let is_secret = is_secret_name(name);
                values.iter_mut().enumerate().for_each(|(index, value)| match value {
                    Value::String(_) | Value::Number(_) if is_secret => self.replace(&format!("{path}/{index}"), "named", value),
                    value => self.visit(&index.to_string(), path, value),
                });
            }
            Value::String(_) | Value::Number(_) if is_secret_name(name) => self.replace(path, "named", value),
            Value::Number(number) => {
                if let Some(found) = detect::find(&number.to_string()).first() {
                    self.replace(path, found.kind, value);
                }
            }
            Value::String(text) => match detect::find(text).as_slice() {
                [] => {}
                [found] if found.place == (0..text.len()) => self.replace(path, found.kind, value),
                found => {
                    found.iter().for_each(|found| self.secrets.collect(&Value::from(&text[found.place.clone()])));
                    *text = replaced(text, found, self.secret, self.salt, path);
                }
            },
            Value::Null | Value::Bool(_) => {}
        }
        path.truncate(length);
    }

    fn replace(&mut self, path: &str, kind: &str, value: &mut Value) {
        self.secrets.collect(value);
        let commitment = self.secret.commit(self.salt, path, value);
        *value = json!({ "kind": kind, "redacted": commitment.to_string() });
    }
}

/// The text with commitments in place of what was found in it: `[card 3f…]`.
fn replaced(text: &str, found: &[detect::Found], secret: &Secret, salt: &[u8; 32], path: &str) -> String {
    let mut fit = String::with_capacity(text.len() + 80 * found.len());
    let mut done = 0;
    for found in found {
        let value = Value::from(&text[found.place.clone()]);
        fit.push_str(&text[done..found.place.start]);
        fit.push_str(&format!("[{} {}]", found.kind, secret.commit(salt, path, &value)));
        done = found.place.end;
    }
    fit + &text[done..]
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
    /// These, and others.
    pub fn join(&mut self, others: &Self) {
        self.0.extend_from_slice(&others.0);
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

/// Keeps redacted values, and what the detectors find, out of everything else that is written about a call.
pub(super) struct Scrubber<'a> {
    pub secret: &'a Secret,
    pub salt: &'a [u8; 32],
    pub secrets: &'a Secrets,
}

impl Scrubber<'_> {
    /// The text, fit to be stored.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        for secret in &self.secrets.0 {
            if text.contains(secret.as_str()) {
                text = Cow::Owned(text.replace(secret.as_str(), PLACEHOLDER));
            }
        }
        let found = detect::find(&text);
        if !found.is_empty() {
            text = Cow::Owned(replaced(&text, &found, self.secret, self.salt, ""));
        }
        text
    }

    /// The value, fit to be stored; `json` is the same value as text.
    pub fn value<'v>(&self, value: &'v Value, json: &[u8]) -> Cow<'v, Value> {
        let is_clean = self.secrets.0.is_empty()
            && str::from_utf8(json).is_ok_and(|json| detect::find(json).is_empty())
            && !is_suspect("", value);
        if is_clean { Cow::Borrowed(value) } else { Cow::Owned(self.scrubbed("", value)) }
    }

    fn scrubbed(&self, name: &str, value: &Value) -> Value {
        let is_secret = is_secret_name(name);
        match value {
            Value::String(text) if is_secret && !text.is_empty() => PLACEHOLDER.into(),
            Value::Number(_) if is_secret => PLACEHOLDER.into(),
            Value::String(text) => Value::String(self.text(text).into_owned()),
            Value::Number(number) => match self.text(&number.to_string()) {
                Cow::Borrowed(_) => value.clone(),
                Cow::Owned(_) => PLACEHOLDER.into(),
            },
            Value::Array(values) => values.iter().map(|value| self.scrubbed(name, value)).collect(),
            Value::Object(members) => {
                members.iter().map(|(name, value)| (self.text(name).into_owned(), self.scrubbed(name, value))).collect()
            }
            plain => plain.clone(),
        }
    }
}
