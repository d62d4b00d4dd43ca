//! The guest's part of a call, as traces tell it: what it said, what it took, how it ended.

use std::sync::{Arc, Mutex, PoisonError};

use crate::model::{Ended, OpenSpan, SpanKind, Spans, Trap};
use crate::registry::Tool;
use crate::sandbox::Execution;

/// The syslog severities (RFC 5424 §6.2.1) in words.
const SEVERITIES: [&str; 8] = ["emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"];

/// The span of a running guest, shared with whoever hears what it says.
#[derive(Clone)]
pub struct Guest {
    /// None once the guest has ended, or if nobody notes spans.
    span: Option<Arc<Mutex<Option<OpenSpan>>>>,
    spans: Spans,
}

impl Guest {
    /// A guest that runs this tool, below `above`.
    pub fn begin(above: &Spans, tool: &Tool) -> Self {
        let mut span = above.child(SpanKind::Internal, "guest");
        if !span.is_noted() {
            return Self { span: None, spans: above.clone() };
        }
        let plugin = &tool.plugin.manifest;
        span.set("tidegate.plugin.name", plugin.name.to_string());
        span.set("tidegate.plugin.version", plugin.version.to_string());
        let spans = span.below(above);
        Self { span: Some(Arc::new(Mutex::new(Some(span)))), spans }
    }

    /// The position of the guest, for the requests it makes.
    pub fn spans(&self) -> &Spans {
        &self.spans
    }

    /// The guest logged a line.
    pub fn say(&self, level: u8, line: &str) {
        self.with(|span| span.say("tidegate.guest.log", SEVERITIES[usize::from(level.min(7))], line));
    }

    /// The guest ended.
    pub fn end(&self, execution: &Execution) {
        self.with(|span| {
            for line in &execution.log.lines {
                // What it logged was heard when it was said.
                for stream in ["stdout", "stderr"] {
                    if let Some(text) = line.strip_prefix(stream).and_then(|rest| rest.strip_prefix(": ")) {
                        span.say("tidegate.guest.log", stream, text);
                    }
                }
            }
            span.set("tidegate.guest.fuel", execution.fuel);
            span.set("tidegate.guest.memory_peak", execution.memory_peak);
            let (ended, error) = match &execution.ended {
                Ended::Completed(_) => ("completed", None),
                Ended::Failed(failure) => ("failed", Some(failure.code.as_str())),
                Ended::Trapped(trap) => ("trapped", Some(trapped(trap))),
                Ended::Cancelled => ("cancelled", Some("cancelled")),
            };
            span.set("tidegate.guest.ended", ended);
            if let Some(error) = error {
                span.set("error.type", error);
                span.fail();
            }
        });
        if let Some(span) = &self.span {
            *span.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    fn with(&self, note: impl FnOnce(&mut OpenSpan)) {
        let Some(span) = &self.span else { return };
        if let Some(span) = &mut *span.lock().unwrap_or_else(PoisonError::into_inner) {
            note(span);
        }
    }
}

/// A trap in a word.
fn trapped(trap: &Trap) -> &'static str {
    match trap {
        Trap::OutOfFuel => "out_of_fuel",
        Trap::OutOfMemory => "out_of_memory",
        Trap::DeadlineExceeded => "deadline_exceeded",
        Trap::Guest(_) => "crashed",
    }
}
