//! One span per call, under the caller's, named as OpenTelemetry's conventions for MCP servers want it.

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::Answer;
use crate::model::{CallId, TraceContext};

/// The span of one call, and the position in the trace that everything below it gets.
///
/// Without a collector the span costs nothing and the position is a random child of the caller's.
pub fn open(parent: &TraceContext, call: CallId, tool: &str) -> (Span, TraceContext) {
    let span = tracing::debug_span!(
        "tools/call",
        otel.name = %format_args!("tools/call {tool}"),
        otel.kind = "server",
        mcp.method.name = "tools/call",
        gen_ai.operation.name = "execute_tool",
        gen_ai.tool.name = tool,
        tidegate.call.id = %call,
        error.type = tracing::field::Empty,
    );
    if span.is_disabled() {
        return (span, parent.child());
    }
    let context = opentelemetry::Context::new().with_remote_span_context(remote(parent));
    // Fails only where no collector is configured; the span is then a local one.
    let position = span.set_parent(context).ok().and_then(|()| {
        let context = span.context();
        let own = context.span().span_context().clone();
        own.is_valid().then(|| parent.at(own.span_id().to_bytes(), own.is_sampled()))
    });
    (span, position.unwrap_or_else(|| parent.child()))
}

/// Notes on the span how the call was answered.
pub fn close(span: &Span, answer: &Answer) {
    match answer {
        Answer::Output(_) | Answer::Pending(_) => {}
        Answer::Error { envelope, .. } => {
            span.record("error.type", envelope.error.as_str());
        }
        Answer::Refused(rejection) => {
            span.record("error.type", rejection.as_str());
        }
    }
}

fn remote(parent: &TraceContext) -> SpanContext {
    let flags = if parent.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let state = parent.state.as_deref().and_then(|state| state.parse().ok()).unwrap_or(TraceState::NONE);
    SpanContext::new(TraceId::from_bytes(parent.trace_id_bytes()), SpanId::from_bytes(parent.span_id_bytes()), flags, true, state)
}
