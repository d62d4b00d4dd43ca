//! JSON from strangers, read once and bounded: how deep, how much, no member twice, no number that would silently change.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Number, Value};

/// How much JSON one message may hold, besides its size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JsonLimits {
    /// How deep arrays and objects may nest, the message itself included: 1 to 100.
    pub depth: usize,
    /// How many values (members and elements, at any depth) a message may hold.
    pub values: usize,
}

impl Default for JsonLimits {
    fn default() -> Self {
        Self { depth: 64, values: 100_000 }
    }
}

impl JsonLimits {
    /// The deepest nesting that can be configured: the parser's own stack guard sits at 128.
    pub const MAX_DEPTH: usize = 100;
}

/// A parsed message, and what is wrong with it although it is JSON.
#[derive(Debug, PartialEq)]
pub struct Document {
    /// The value; incomplete if there is a flaw, except that the outermost object's `id` is always read.
    pub value: Value,
    /// The first thing that makes the message unfit.
    pub flaw: Option<Flaw>,
}

/// What makes well-formed JSON unfit: each would let two readers of the same bytes see different messages, or costs more
/// than a message is worth.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// A member stands twice in one object (RFC 8259 §4: what that means is unpredictable).
    #[error("the member `{}` stands twice in one object; send it once", shortened(.0))]
    Repeated(String),
    /// Arrays and objects nest too deep.
    #[error("arrays and objects nest deeper than {0} levels; flatten the message")]
    TooDeep(usize),
    /// There are too many values.
    #[error("the message holds more than {0} values; send less at once")]
    TooMany(usize),
    /// An integer that no 64-bit integer holds would be rounded.
    #[error("the number {} cannot be carried exactly; send it as a string", shortened(.0))]
    Inexact(String),
}

/// Reads one JSON document and nothing after it.
///
/// # Errors
/// The bytes are not UTF-8 JSON, or hold a number beyond what a double reaches (RFC 8259).
pub fn read(bytes: &[u8], limits: JsonLimits) -> Result<Document, serde_json::Error> {
    let mut reader = Reader { limits, values: 0, flaw: None, rounded: false };
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = Node { reader: &mut reader, depth: 0 }.deserialize(&mut json)?;
    json.end()?;
    if reader.rounded && reader.flaw.is_none() {
        reader.flaw = oversized_integer(bytes).map(|literal| Flaw::Inexact(String::from_utf8_lossy(literal).into_owned()));
    }
    Ok(Document { value, flaw: reader.flaw })
}

/// What is known while reading.
struct Reader {
    limits: JsonLimits,
    values: usize,
    flaw: Option<Flaw>,
    /// Some number came out as a large whole double: it may have been an integer that does not fit 64 bits.
    rounded: bool,
}

impl Reader {
    /// Whether the value about to be read is worth keeping.
    fn takes(&mut self, depth: usize) -> bool {
        self.values += 1;
        if self.flaw.is_none() && self.values > self.limits.values {
            self.flaw = Some(Flaw::TooMany(self.limits.values));
        }
        // After a flaw only the outermost members still matter: the error must name the request's id.
        self.flaw.is_none() || depth == 1
    }

    /// Whether an array or object at this depth may be entered.
    fn enters(&mut self, depth: usize) -> bool {
        if self.flaw.is_none() && depth >= self.limits.depth {
            self.flaw = Some(Flaw::TooDeep(self.limits.depth));
        }
        self.flaw.is_none()
    }
}

/// The value at hand: a seed that builds it, and the visitor that does.
struct Node<'a> {
    reader: &'a mut Reader,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.reader.takes(self.depth) {
            deserializer.deserialize_any(self)
        } else {
            // Skipping is iterative in serde_json, so a bomb costs neither stack nor memory.
            deserializer.deserialize_ignored_any(IgnoredAny).map(|_| Value::Null)
        }
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        self.reader.rounded |= value.abs() >= i64::MAX as f64;
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let Self { reader, depth } = self;
        let mut array = Vec::new();
        // An outermost array is a batch, which is refused whatever it holds.
        if depth > 0 && reader.enters(depth) {
            while let Some(element) = elements.next_element_seed(Node { reader: &mut *reader, depth: depth + 1 })? {
                if reader.flaw.is_some() {
                    break;
                }
                array.push(element);
            }
        }
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let Self { reader, depth } = self;
        let mut object = Map::new();
        if !reader.enters(depth) {
            while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Value::Object(object));
        }
        while let Some(name) = members.next_key::<String>()? {
            if reader.flaw.is_some() && (depth > 0 || name != "id") {
                members.next_value::<IgnoredAny>()?;
                continue;
            }
            match object.entry(name) {
                Entry::Vacant(member) => {
                    let value = members.next_value_seed(Node { reader: &mut *reader, depth: depth + 1 })?;
                    member.insert(value);
                }
                Entry::Occupied(member) => {
                    reader.flaw.get_or_insert_with(|| Flaw::Repeated(member.key().clone()));
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Object(object))
    }
}

/// The first integer literal of valid JSON that fits neither `i64` nor `u64`.
fn oversized_integer(json: &[u8]) -> Option<&[u8]> {
    let mut rest = json;
    while let Some(&byte) = rest.first() {
        let length = match byte {
            b'"' => string_length(rest),
            b'-' | b'0'..=b'9' => {
                let length =
                    rest.iter().take_while(|byte| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')).count();
                let literal = std::str::from_utf8(&rest[..length]).unwrap_or_default();
                let is_integer = !literal.contains(['.', 'e', 'E']);
                if is_integer && literal.parse::<i64>().is_err() && literal.parse::<u64>().is_err() {
                    return Some(&rest[..length]);
                }
                length
            }
            _ => 1,
        };
        rest = &rest[length..];
    }
    None
}

/// The length of the string literal that `json` starts with, quotes included.
fn string_length(json: &[u8]) -> usize {
    let mut escaped = false;
    let inner = json[1..].iter().position(|&byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    inner.map_or(json.len(), |at| at + 2)
}

/// Error messages quote what a stranger sent, but not all of it.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 64;
    if text.chars().count() <= LONGEST { text.to_owned() } else { text.chars().take(LONGEST).chain(['…']).collect() }
}

#[cfg(test)]
mod tests;
