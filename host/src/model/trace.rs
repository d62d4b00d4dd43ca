//! W3C trace context: the ids that join client, host, guest, backend and audit log (W3C Trace Context, level 1).

use std::fmt;
use std::str::FromStr;

use super::id::{read_hex, write_hex};

/// One position in a distributed trace, as `traceparent` carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    sampled: bool,
    /// The vendor list that travels along unread.
    pub state: Option<String>,
}

impl TraceContext {
    /// The longest `traceparent` that is looked at, in bytes: later versions may append something.
    pub const MAX_LENGTH: usize = 256;

    /// The longest `tracestate` carried on, in bytes; the specification asks for at least this much.
    pub const MAX_STATE_LENGTH: usize = 512;

    /// A new trace, for calls that came without one: ours, and so ours to record.
    pub fn random() -> Self {
        let mut bytes = [0; 24];
        getrandom::fill(&mut bytes).expect("the operating system's random source is available");
        let (mut trace_id, mut span_id) = ([0; 16], [0; 8]);
        trace_id.copy_from_slice(&bytes[..16]);
        span_id.copy_from_slice(&bytes[16..]);
        Self { trace_id, span_id, sampled: true, state: None }
    }

    /// The same trace one hop further: a new span under this one.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span_id: Self::random().span_id, ..self.clone() }
    }

    /// The same trace at another span.
    #[must_use]
    pub fn at(&self, span_id: [u8; 8], sampled: bool) -> Self {
        Self { span_id, sampled, ..self.clone() }
    }

    /// The trace id as 32 hex digits.
    pub fn trace_id(&self) -> String {
        struct Hex<'a>(&'a [u8]);
        impl fmt::Display for Hex<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, self.0)
            }
        }
        Hex(&self.trace_id).to_string()
    }

    /// The raw trace id.
    pub fn trace_id_bytes(&self) -> [u8; 16] {
        self.trace_id
    }

    /// The raw id of the span this context points at.
    pub fn span_id_bytes(&self) -> [u8; 8] {
        self.span_id
    }

    /// Whether the caller records this trace.
    pub fn is_sampled(&self) -> bool {
        self.sampled
    }
}

/// Writes a `traceparent` header value.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("00-")?;
        write_hex(f, &self.trace_id)?;
        f.write_str("-")?;
        write_hex(f, &self.span_id)?;
        f.write_str(if self.sampled { "-01" } else { "-00" })
    }
}

/// Reads a `traceparent` header value; all-zero ids and the version `ff` are invalid (W3C Trace Context §3.2.2).
impl FromStr for TraceContext {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > Self::MAX_LENGTH {
            return Err(format!("a traceparent has at most {} characters", Self::MAX_LENGTH));
        }
        let invalid = || format!("`{}` is not a traceparent", text.chars().take(64).collect::<String>());
        let mut fields = text.split('-');
        let mut field = || fields.next().ok_or_else(invalid);
        let version: [u8; 1] = read_hex(field()?).ok_or_else(invalid)?;
        let trace_id = read_hex(field()?).ok_or_else(invalid)?;
        let span_id = read_hex(field()?).ok_or_else(invalid)?;
        let flags: [u8; 1] = read_hex(field()?).ok_or_else(invalid)?;
        // Later versions may append fields; version 00 may not.
        let trailing = fields.next().is_some();
        if version[0] == 0xff || (version[0] == 0 && trailing) || trace_id == [0; 16] || span_id == [0; 8] {
            return Err(invalid());
        }
        Ok(Self { trace_id, span_id, sampled: flags[0] & 1 == 1, state: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_reads_back_what_it_prints() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context: TraceContext = text.parse().expect("the specification's own example");
        assert_eq!(context.to_string(), text);
        assert_eq!(context.child().trace_id(), context.trace_id());
        assert_ne!(context.child(), context);
    }

    #[test]
    fn zero_ids_and_reserved_versions_are_refused() {
        for text in [
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            &("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-".to_owned() + &"x".repeat(TraceContext::MAX_LENGTH)),
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "",
        ] {
            assert!(text.parse::<TraceContext>().is_err(), "{text}");
        }
    }
}
