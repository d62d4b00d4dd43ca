//! Log lines: text for people, JSON for programs, each with the trace it belongs to; and the same lines for the collector.

use std::fmt;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::logs::AnyValue;
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogProcessor, SdkLogRecord};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, FormatEvent, FormatFields, Full, Writer};
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::config::LogFormat;
use super::queue::Queue;

/// What a log record takes up beside its texts, in bytes, about.
const RECORD_OVERHEAD: usize = 512;

/// A log record for the collector.
pub type Record = Arc<(SdkLogRecord, InstrumentationScope)>;

/// How log lines look.
pub enum Lines {
    /// For people.
    Text(Format<Full, SystemTime>),
    /// One JSON object a line.
    Json,
}

impl Lines {
    /// Lines of this format; on a terminal, `auto` means text.
    pub fn of(format: LogFormat) -> Self {
        let on_terminal = std::io::stderr().is_terminal();
        match format {
            LogFormat::Text => Self::Text(Format::default().with_target(false).with_ansi(on_terminal)),
            LogFormat::Auto if on_terminal => Self::Text(Format::default().with_target(false).with_ansi(true)),
            LogFormat::Auto | LogFormat::Json => Self::Json,
        }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let trace = Context::map_current(|context| {
            let span = context.span().span_context().clone();
            span.is_valid().then(|| (span.trace_id().to_string(), span.span_id().to_string()))
        });
        match (self, trace) {
            (Self::Text(format), None) => format.format_event(context, writer, event),
            (Self::Text(format), Some((trace, _))) => {
                let mut line = String::new();
                format.format_event(context, Writer::new(&mut line), event)?;
                writeln!(writer, "{} trace_id={trace}", line.trim_end_matches('\n'))
            }
            (Self::Json, trace) => {
                let mut time = String::new();
                SystemTime.format_time(&mut Writer::new(&mut time))?;
                let mut line = Map::new();
                line.insert("timestamp".into(), time.into());
                line.insert("level".into(), event.metadata().level().as_str().into());
                line.insert("target".into(), event.metadata().target().into());
                if let Some((trace, span)) = trace {
                    line.insert("trace_id".into(), trace.into());
                    line.insert("span_id".into(), span.into());
                }
                event.record(&mut Fields(&mut line));
                // What libraries log in the older way says in fields where it comes from.
                if let Some(target) = line.remove("log.target") {
                    line.insert("target".into(), target);
                    line.retain(|name, _| !name.starts_with("log."));
                }
                // Libraries keep their circumstances in spans of their own.
                for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
                    if let Some(fields) = span.extensions().get::<FormattedFields<N>>().filter(|fields| !fields.is_empty()) {
                        line.entry(span.name()).or_insert_with(|| fields.to_string().into());
                    }
                }
                writeln!(writer, "{}", Value::Object(line))
            }
        }
    }
}

/// The fields of an event, as members of a line.
struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: Value) {
        // What a line says of itself, nobody may say in its place.
        let name = match field.name() {
            taken @ ("timestamp" | "level" | "target" | "trace_id" | "span_id") => format!("field.{taken}"),
            name => name.to_owned(),
        };
        self.0.insert(name, value);
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        self.put(field, text.into());
    }
}

/// What a log record takes up, in bytes, about.
fn size(record: &SdkLogRecord) -> usize {
    let attributes = record.attributes_iter().map(|(key, value)| key.as_str().len() + length(value));
    RECORD_OVERHEAD + record.body().map_or(0, length) + attributes.sum::<usize>()
}

fn length(value: &AnyValue) -> usize {
    match value {
        AnyValue::String(text) => text.as_str().len(),
        AnyValue::Bytes(bytes) => bytes.len(),
        AnyValue::ListAny(values) => values.iter().map(length).sum(),
        AnyValue::Map(members) => members.iter().map(|(key, value)| key.as_str().len() + length(value)).sum(),
        _ => 8,
    }
}

/// Puts log records into the queue.
pub struct Enqueue(pub Queue<Record>);

impl fmt::Debug for Enqueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Enqueue")
    }
}

impl LogProcessor for Enqueue {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        if self.0.has_room() {
            self.0.offer(Arc::new((record.clone(), scope.clone())), size(record), 1);
        } else {
            self.0.drop_uncounted(1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}
