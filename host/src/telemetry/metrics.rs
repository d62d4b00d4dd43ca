//! All metrics: what each means, its unit and its buckets; and where they go.

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusRecorder};
use metrics_opentelemetry::{OpenTelemetryMetrics, OpenTelemetryRecorder};
use opentelemetry::metrics::Meter;

/// One metric.
struct Metric {
    name: &'static str,
    kind: Kind,
    meaning: &'static str,
}

/// What kind of metric, and the bounds of its buckets.
enum Kind {
    Counter,
    Gauge(Unit),
    Histogram(Unit, &'static [f64]),
}

/// From a microsecond stage to a ten-second deadline, in seconds.
const STAGES: &[f64] = &[1e-6, 5e-6, 1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 0.1, 0.5, 1.0, 10.0];
/// From a backend next door to one that times out, in seconds.
const REQUESTS: &[f64] = &[1e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// From a turn that comes at once to one that is waited for, in seconds.
const WAITS: &[f64] = &[1e-3, 1e-2, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0];
/// What OpenTelemetry's conventions for MCP want, in seconds.
const OPERATIONS: &[f64] = &[0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
/// Jobs of one commit.
const BATCHES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

const fn counter(name: &'static str, meaning: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, meaning }
}

const fn gauge(name: &'static str, unit: Unit, meaning: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge(unit), meaning }
}

const fn seconds(name: &'static str, bounds: &'static [f64], meaning: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram(Unit::Seconds, bounds), meaning }
}

/// Every metric of the host. Labels hold names of tools, backends, stages and the like, never those of callers.
const METRICS: &[Metric] = &[
    // What callers see.
    seconds(DURATION, OPERATIONS, "how long MCP operations took, by method, tool and outcome"),
    counter("tidegate_rejections_total", "calls that were not run, by reason"),
    counter("tidegate_unauthenticated_total", "requests without credentials that count, by reason"),
    counter("tidegate_admin_refused_total", "wrong tokens shown to the admin API"),
    counter("tidegate_auth_key_fetches_total", "fetches of the keys that tokens are signed with, by issuer and result"),
    // The call path.
    seconds("tidegate_stage_seconds", STAGES, "wall-clock time of one stage of one call"),
    counter("tidegate_fuel_total", "wasmtime fuel burned by guests"),
    seconds("tidegate_instantiation_seconds", STAGES, "time to make one fresh instance of a plugin"),
    // Admission.
    gauge("tidegate_running_calls", Unit::Count, "calls that hold a slot, by tool"),
    gauge("tidegate_queued_calls", Unit::Count, "calls that wait for a slot, by tool"),
    gauge("tidegate_calls_asking", Unit::Count, "calls that wait for answers of their callers"),
    counter("tidegate_questions_total", "questions that tools asked their callers, by kind"),
    gauge("tidegate_estimated_wait_seconds", Unit::Seconds, "how long the whole backlog takes"),
    seconds("tidegate_queue_wait_seconds", WAITS, "how long calls waited before they started"),
    counter("tidegate_charged_fuel_total", "wasmtime fuel charged to the accounts of callers, by tool"),
    seconds("tidegate_parked_seconds", STAGES, "how long guests waited for fuel, by tool"),
    counter("tidegate_overloaded_total", "calls refused because they would have waited too long, by tool"),
    // The ledger.
    seconds("tidegate_commit_seconds", STAGES, "time to make one group of records durable"),
    Metric {
        name: "tidegate_commit_jobs",
        kind: Kind::Histogram(Unit::Count, BATCHES),
        meaning: "callers whose records one commit made durable together",
    },
    counter("tidegate_store_failures_total", "commits that failed, each of which closes the gate"),
    counter("tidegate_store_reopenings_total", "times the store was opened anew after a failure"),
    gauge("tidegate_sink_backlog", Unit::Count, "audit records that a sink has not got yet, by sink"),
    counter("tidegate_sink_sent_total", "audit records sent, by sink"),
    counter("tidegate_sink_skipped_total", "audit records that a sink will never get, by sink"),
    counter("tidegate_sink_failures_total", "batches of audit records that a sink did not take, by sink"),
    // Generations.
    gauge("tidegate_generation", Unit::Count, "the generation of plugins and policies in force; starts again with every process"),
    gauge("tidegate_generations_in_memory", Unit::Count, "the one in force, and those that calls still run on"),
    counter("tidegate_plugin_reloads_total", "changes of plugins, by result"),
    seconds("tidegate_plugin_reload_seconds", STAGES, "time to load other plugins, and the policies over them"),
    counter("tidegate_policy_reloads_total", "changes of the policy folder, by result"),
    seconds("tidegate_policy_reload_seconds", STAGES, "time to read, check and compile the policy folder"),
    // Backends.
    counter("tidegate_backend_requests_total", "requests to backends, by backend and outcome"),
    seconds("tidegate_backend_request_seconds", REQUESTS, "time until a backend answered or failed, by backend"),
    counter("tidegate_backend_retries_total", "requests that were sent again, by backend"),
    gauge("tidegate_breaker_state", Unit::Count, "0: closed, 1: half-open, 2: open, nothing is sent, by backend"),
    // Telemetry itself.
    counter("tidegate_telemetry_dropped_total", "spans, log records and batches of metrics the collector never got, by signal"),
    gauge("tidegate_build_info", Unit::Count, "always 1; the labels tell the version"),
];

/// Counters that are there from the start, with each value of their one label.
const FROM_ZERO: &[(&str, &str, &[&str])] = &[
    ("tidegate_plugin_reloads_total", "result", &["loaded", "refused"]),
    ("tidegate_policy_reloads_total", "result", &["loaded", "refused"]),
    ("tidegate_telemetry_dropped_total", "signal", &["logs", "metrics", "traces"]),
    ("tidegate_unauthenticated_total", "reason", &["missing"]),
];

/// The duration of operations, whose name is the conventions'.
const DURATION: &str = "mcp.server.operation.duration";

/// The same for Prometheus, where the unit stands in the name.
const DURATION_IN_SECONDS: &str = "mcp_server_operation_duration_seconds";

/// A recorder that renders `/metrics`.
///
/// # Errors
/// A histogram has no buckets, which is a bug.
pub fn prometheus() -> Result<PrometheusRecorder, BuildError> {
    METRICS
        .iter()
        .try_fold(PrometheusBuilder::new(), |builder, metric| match metric.kind {
            Kind::Histogram(_, bounds) => {
                builder.set_buckets_for_metric(Matcher::Full(prometheus_name(metric.name).into()), bounds)
            }
            Kind::Counter | Kind::Gauge(_) => Ok(builder),
        })
        .map(PrometheusBuilder::build_recorder)
}

/// A recorder that feeds OpenTelemetry's instruments.
pub fn opentelemetry(meter: Meter) -> OpenTelemetryRecorder {
    let mut recorder = OpenTelemetryRecorder::new(OpenTelemetryMetrics::new(meter));
    for metric in METRICS {
        if let Kind::Histogram(_, bounds) = metric.kind {
            recorder.set_histogram_bounds_mut(std::iter::once(metric.name), bounds);
        }
    }
    recorder
}

/// Says what every metric means, to whoever is installed.
pub fn describe() {
    for Metric { name, kind, meaning } in METRICS {
        match kind {
            Kind::Counter => metrics::describe_counter!(*name, *meaning),
            Kind::Gauge(unit) => metrics::describe_gauge!(*name, *unit, *meaning),
            Kind::Histogram(unit, _) => metrics::describe_histogram!(*name, *unit, *meaning),
        }
    }
    // A counter that is not there before it counts looks as if nothing had ever happened, also to alerts.
    for (name, label, values) in FROM_ZERO {
        for value in *values {
            metrics::counter!(*name, *label => *value).increment(0);
        }
    }
    for name in ["tidegate_store_failures_total", "tidegate_store_reopenings_total"] {
        metrics::counter!(name).increment(0);
    }
    metrics::gauge!("tidegate_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

fn prometheus_name(name: &'static str) -> &'static str {
    if name == DURATION { DURATION_IN_SECONDS } else { name }
}

/// Metrics under the names that Prometheus wants.
pub struct Renamed<R>(pub R);

impl<R> Renamed<R> {
    fn name(name: KeyName) -> KeyName {
        if name.as_str() == DURATION { KeyName::from_const_str(DURATION_IN_SECONDS) } else { name }
    }
}

impl<R: Recorder> Recorder for Renamed<R> {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, meaning: SharedString) {
        self.0.describe_counter(name, unit, meaning);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, meaning: SharedString) {
        self.0.describe_gauge(name, unit, meaning);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, meaning: SharedString) {
        self.0.describe_histogram(Self::name(name), unit, meaning);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.0.register_counter(key, metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.0.register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        if key.name() == DURATION {
            let labels: Vec<_> = key.labels().cloned().collect();
            return self.0.register_histogram(&Key::from_parts(DURATION_IN_SECONDS, labels), metadata);
        }
        self.0.register_histogram(key, metadata)
    }
}
