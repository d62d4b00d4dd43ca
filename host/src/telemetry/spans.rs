//! Spans as OpenTelemetry's exporters want them.

use std::sync::Arc;

use opentelemetry::trace::{Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::queue::Queue;
use crate::model::spans::{EndedSpan, SpanEvent, SpanKind as Kind, SpanValue, Told};
use crate::model::{TraceContext, Watcher};

/// What a span takes up beside its texts, in bytes, about.
const SPAN_OVERHEAD: usize = 512;

/// Whoever wants spans: a share of those that begin here, those of sampled callers, and all that failed, into the queue.
pub fn watcher(sample: f64, queue: Queue<Arc<Told>>) -> Watcher {
    let queue = Arc::new(queue);
    let (asked, told) = (Arc::clone(&queue), Arc::clone(&queue));
    Watcher {
        sample,
        has_room: Box::new(move || asked.has_room()),
        take: Box::new(move |operation| {
            // Each span repeats it.
            let state = operation.trace.state.as_ref().map_or(0, String::len);
            let bytes = operation.spans.iter().map(|span| state + size(span)).sum();
            let count = operation.spans.len() as u64;
            told.offer(Arc::new(operation), bytes, count);
        }),
        dropped: Box::new(move |count| queue.drop_uncounted(count)),
        recent: None,
        only_recorded: false,
    }
}

/// How many spans a batch holds.
pub fn count(batch: &[Arc<Told>]) -> u64 {
    batch.iter().map(|told| told.spans.len() as u64).sum()
}

/// The spans of these operations.
pub fn exported(batch: &[Arc<Told>], scope: &InstrumentationScope) -> Vec<SpanData> {
    let spans = batch.iter().flat_map(|told| told.spans.iter().map(|span| (&told.trace, span)));
    spans.map(|(trace, span)| span_data(trace, span, scope)).collect()
}

fn size(span: &EndedSpan) -> usize {
    let text = |attributes: &[(&str, SpanValue)]| -> usize {
        let length = |value: &SpanValue| if let SpanValue::Text(text) = value { text.len() } else { 8 };
        attributes.iter().map(|(key, value)| key.len() + length(value)).sum()
    };
    let events = span.events.iter().map(|event| SPAN_OVERHEAD / 4 + text(&event.attributes));
    let link = span.link.as_ref().and_then(|link| link.state.as_ref()).map_or(0, String::len);
    SPAN_OVERHEAD + link + span.name.len() + text(&span.attributes) + events.sum::<usize>()
}

fn span_data(trace: &TraceContext, span: &EndedSpan, scope: &InstrumentationScope) -> SpanData {
    let mut links = SpanLinks::default();
    links.links.extend(span.link.as_ref().map(|link| Link::with_context(context(link, link.span_id_bytes()))));
    let mut events = SpanEvents::default();
    events.events.extend(span.events.iter().map(event));
    events.dropped_count = span.dropped_events;
    SpanData {
        span_context: context(trace, span.id),
        parent_span_id: SpanId::from_bytes(span.parent),
        parent_span_is_remote: span.parent_is_remote,
        span_kind: match span.kind {
            Kind::Server => SpanKind::Server,
            Kind::Internal => SpanKind::Internal,
            Kind::Client => SpanKind::Client,
        },
        name: span.name.clone(),
        start_time: span.began,
        end_time: span.ended,
        attributes: attributes(&span.attributes),
        dropped_attributes_count: 0,
        events,
        links,
        // What went wrong stands in `error.type`; more could tell what is for nobody to know.
        status: if span.failed { Status::error("") } else { Status::Unset },
        instrumentation_scope: scope.clone(),
    }
}

fn context(trace: &TraceContext, span: [u8; 8]) -> SpanContext {
    let flags = if trace.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let state = trace.state.as_deref().and_then(|state| state.parse().ok()).unwrap_or(TraceState::NONE);
    SpanContext::new(TraceId::from_bytes(trace.trace_id_bytes()), SpanId::from_bytes(span), flags, false, state)
}

fn event(event: &SpanEvent) -> Event {
    Event::new(event.name, event.at, attributes(&event.attributes), 0)
}

fn attributes(attributes: &[(&'static str, SpanValue)]) -> Vec<KeyValue> {
    let value = |value: &SpanValue| match value {
        SpanValue::Text(text) => Value::String(text.clone().into()),
        SpanValue::Int(number) => Value::I64(*number),
        SpanValue::Bool(yes) => Value::Bool(*yes),
    };
    attributes.iter().map(|(key, text)| KeyValue::new(*key, value(text))).collect()
}
