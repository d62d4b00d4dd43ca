//! Where calls stand in their traces: the first span of an operation, and the trace that log lines belong to.

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};

use super::Pipeline;
use crate::ledger::Claim;
use crate::model::spans::EndedSpan;
use crate::model::{CallId, OpenSpan, SpanKind, Spans, TraceContext};

impl Pipeline {
    /// Begins an operation that a request asked for, below `parent` or at the start of a new trace.
    pub fn begin(&self, parent: Option<&TraceContext>, link: Option<TraceContext>) -> OpenSpan {
        match &self.parts.watcher {
            Some(watcher) if watcher.wants(parent) => watcher.begin(SpanKind::Server, parent, link),
            _ => OpenSpan::unwatched(parent),
        }
    }

    /// What was noted of a call, if this host keeps such notes.
    pub fn noted(&self, call: CallId) -> Option<Vec<EndedSpan>> {
        Some(self.parts.watcher.as_ref()?.recent.as_ref()?.of_call(call))
    }

    /// Goes on with an operation whose request an earlier host answered.
    pub(super) fn go_on(&self, request: &TraceContext, call: CallId, tool: &str) -> OpenSpan {
        let wanted = self.parts.watcher.as_ref().filter(|watcher| watcher.wants(Some(request)));
        let Some(watcher) = wanted else { return OpenSpan::unwatched(Some(request)) };
        let mut span = watcher.begin(SpanKind::Internal, Some(request), None);
        span.rename(|| format!("resume {tool}").into());
        span.set("gen_ai.tool.name", tool.to_owned());
        span.set("tidegate.call.id", call.to_string());
        span
    }
}

/// Whatever is logged in this context belongs to the trace.
pub fn log_context(spans: &Spans) -> opentelemetry::Context {
    let trace = spans.position();
    let flags = if trace.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let (trace_id, span_id) = (TraceId::from_bytes(trace.trace_id_bytes()), SpanId::from_bytes(trace.span_id_bytes()));
    let context = SpanContext::new(trace_id, span_id, flags, true, TraceState::NONE);
    opentelemetry::Context::new().with_remote_span_context(context)
}

/// What became of the claim on a key, in a word.
pub fn claim(claim: &Claim) -> &'static str {
    match claim {
        Claim::Fresh(_) => "fresh",
        Claim::Replay(_) => "replay",
        Claim::InFlight { .. } => "in_flight",
        Claim::Unknown { .. } => "unknown",
        Claim::Unreadable { .. } => "unreadable",
        Claim::Reused { .. } => "reused",
    }
}
