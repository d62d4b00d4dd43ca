//! The guest's part of a call, as traces tell it: what it said, what it took, how it ended.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::Level;

use crate::ledger::Scrub;
use crate::model::{CallId, Ended, OpenSpan, SpanKind, Spans, Trap};
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
    call: CallId,
    /// What keeps secrets out of what it says. None if nobody hears that.
    scrub: Option<Arc<Scrub>>,
}

impl Guest {
    /// A guest that runs this tool for `call`, below `above`.
    pub fn begin(above: &Spans, tool: &Tool, call: CallId, scrub: impl FnOnce() -> Scrub) -> Self {
        let mut span = above.child(SpanKind::Internal, "guest");
        let is_heard = span.is_noted() || tracing::enabled!(Level::DEBUG);
        let scrub = is_heard.then(|| Arc::new(scrub()));
        if !span.is_noted() {
            return Self { span: None, spans: above.clone(), call, scrub };
        }
        let plugin = &tool.plugin.manifest;
        span.set("tidegate.plugin.name", plugin.name.to_string());
        span.set("tidegate.plugin.version", plugin.version.to_string());
        let spans = span.below(above);
        Self { span: Some(Arc::new(Mutex::new(Some(span)))), spans, call, scrub }
    }

    /// The position of the guest, for the requests it makes.
    pub fn spans(&self) -> &Spans {
        &self.spans
    }

    /// The guest logged a line.
    pub fn say(&self, level: u8, line: &str) {
        let Some(scrub) = &self.scrub else { return };
        tracing::debug!(call = %self.call, level, line = &*scrub.text(line), "guest");
        self.with(|span| span.say("tidegate.guest.log", SEVERITIES[usize::from(level.min(7))], || scrub.text(line)));
    }

    /// The guest ended.
    pub fn end(&self, execution: &Execution) {
        self.with(|span| {
            let lines = self.scrub.iter().flat_map(|scrub| execution.log.lines.iter().map(move |line| (scrub, line)));
            for (scrub, line) in lines {
                // What it logged was heard when it was said.
                for stream in ["stdout", "stderr"] {
                    if let Some(text) = line.strip_prefix(stream).and_then(|rest| rest.strip_prefix(": ")) {
                        span.say("tidegate.guest.log", stream, || scrub.text(text));
                    }
                }
            }
            span.set("tidegate.guest.fuel", execution.fuel);
            span.set("tidegate.guest.memory_peak", execution.memory_peak);
            let (ended, error) = match &execution.ended {
                Ended::Completed(_) => ("completed", None),
                Ended::Asked(_) => ("asked", None),
                Ended::Failed(failure) => ("failed", Some((failure.code.as_str(), failure.code.is_callers_doing()))),
                Ended::Trapped(trap) => ("trapped", Some((trapped(trap), false))),
                Ended::Cancelled => ("cancelled", Some(("cancelled", true))),
            };
            span.set("tidegate.guest.ended", ended);
            if let Some((error, is_callers_doing)) = error {
                span.set("error.type", error);
                if is_callers_doing { span.fail_quietly() } else { span.fail() }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ledger::{Ledger, LedgerConfig};
    use crate::model::Watcher;
    use crate::store::{Store, StoreConfig};

    #[test]
    fn what_is_redacted_or_detected_does_not_reach_the_spans() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path(), &StoreConfig { min_free: crate::model::Bytes(0), ..StoreConfig::default() });
        let (ledger, _) =
            Ledger::open(store.expect("a store"), &folder.path().join("keys"), &LedgerConfig::default()).expect("a ledger");
        let told = Arc::<Mutex<Vec<_>>>::default();
        let heard = Arc::clone(&told);
        let watcher = Arc::new(Watcher {
            sample: 1.0,
            has_room: Box::new(|| true),
            take: Box::new(move |operation| heard.lock().expect("whole").push(operation)),
            dropped: Box::new(|_| {}),
            recent: None,
            only_recorded: false,
        });
        let span = watcher.begin(SpanKind::Internal, None, None);
        let arguments = json!({ "patient": "Mrs. Dalloway", "text": "hi" });
        let scrub = ledger.scrub(arguments.as_object().expect("an object"), &["/patient".to_owned()], &Default::default());
        let (spans, scrub) = (span.spans(), Some(Arc::new(scrub)));
        let guest = Guest { span: Some(Arc::new(Mutex::new(Some(span)))), spans, call: CallId::random(), scrub };
        guest.say(6, "hi: seen Mrs. Dalloway with 4111 1111 1111 1111");
        drop(guest);

        let text = format!("{:?}", told.lock().expect("whole")[0].spans[0].events);
        assert!(text.contains("hi: seen [redacted] with [card "), "{text}");
        assert!(!text.contains("Dalloway") && !text.contains("4111"), "{text}");
    }
}
