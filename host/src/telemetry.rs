//! Logs to stderr, metrics for Prometheus, and all three signals to a collector: set up once, before anything else runs.
//!
//! A collector that is dead, slow or hung costs nobody anything but telemetry: what it does not take in time is dropped and counted.

mod collector;
mod config;
mod logs;
mod metrics;
mod queue;
mod spans;

use std::sync::Arc;
use std::time::Duration;

use ::metrics::Recorder;
use anyhow::{Context, Result};
use metrics_exporter_prometheus::PrometheusHandle;
use metrics_util::layers::FanoutBuilder;
use opentelemetry::InstrumentationScope;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{LogBatch, LogExporter as _, SdkLoggerProvider};
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SpanExporter as _;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::model::Watcher;
use collector::{Collector, sent};
pub use config::{Protocol, TelemetryConfig};
use queue::Left;

/// How often the samples of histograms are folded into their buckets.
const UPKEEP: Duration = Duration::from_secs(1);

/// What telemetry needs until the end: dropping it sends what waits, for as long as the config allows.
pub struct Telemetry {
    metrics: PrometheusHandle,
    watcher: Option<Arc<Watcher>>,
    sending: Option<Sending>,
}

/// What goes on for the collector.
struct Sending {
    runtime: Runtime,
    tasks: TaskTracker,
    closing: CancellationToken,
    meters: SdkMeterProvider,
    flush: Duration,
    left: [Left; 2],
}

impl Telemetry {
    /// Installs the global logger, the recorder of metrics, and what feeds the collector.
    ///
    /// # Errors
    /// The log filter or what is said of the collector is malformed, or telemetry was installed before.
    pub fn install(config: &TelemetryConfig) -> Result<Self> {
        let filter = filter(config)?;
        // Never stdout: over stdio it belongs to the protocol.
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).event_format(logs::Lines::of(config.format));
        let prometheus = metrics::prometheus().context("the metrics make no sense")?;
        let handle = prometheus.handle();
        let prometheus = metrics::Renamed(prometheus);
        let collector = Collector::of(config)?;
        let Some(collector) = collector else {
            tracing_subscriber::registry().with(lines.with_filter(filter)).try_init().context("can't install the logger")?;
            record(prometheus, &handle)?;
            return Ok(Self { metrics: handle, watcher: None, sending: None });
        };

        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("telemetry").enable_all().build();
        let runtime = runtime.context("can't start the thread that sends telemetry")?;
        let _on_it = runtime.enter();
        let resource = resource();
        let reader =
            PeriodicReader::builder(collector.metrics(runtime.handle())?).with_interval(config.interval.duration()).build();
        let meters = SdkMeterProvider::builder().with_resource(resource.clone()).with_reader(reader).build();
        let both =
            FanoutBuilder::default().add_recorder(prometheus).add_recorder(metrics::opentelemetry(meters.meter("tidegate")));
        record(both.build(), &handle)?;

        let (closing, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (max, timeout) = (config.queue.as_usize(), config.timeout.duration());
        let (queue, exit) = queue::queue("logs", max, timeout, closing.clone());
        let logs = exit.left();
        let mut exporter = collector.logs()?;
        exporter.set_resource(&resource);
        let records = SdkLoggerProvider::builder().with_log_processor(logs::Enqueue(queue)).build();
        tasks.spawn(exit.run(
            |batch: &[logs::Record]| batch.len() as u64,
            async move |batch: Vec<logs::Record>| {
                let batch: Vec<_> = batch.iter().map(|record| (&record.0, &record.1)).collect();
                sent(exporter.export(LogBatch::new(&batch)).await)
            },
        ));
        let (queue, exit) = queue::queue("traces", max, timeout, closing.clone());
        let left = [logs, exit.left()];
        let mut exporter = collector.spans()?;
        exporter.set_resource(&resource);
        let scope = InstrumentationScope::builder("tidegate").with_version(env!("CARGO_PKG_VERSION")).build();
        tasks.spawn(
            exit.run(spans::count, async move |batch: Vec<Arc<_>>| sent(exporter.export(spans::exported(&batch, &scope)).await)),
        );
        tasks.close();
        // What is said about sending is not sent: it would never end.
        let told = Targets::new()
            .with_target("tidegate", Level::INFO)
            .with_target("tidegate::telemetry", tracing::metadata::LevelFilter::OFF);
        tracing_subscriber::registry()
            .with(lines.with_filter(filter))
            .with(OpenTelemetryTracingBridge::new(&records).with_filter(told))
            .try_init()
            .context("can't install the logger")?;
        let watcher = Some(Arc::new(spans::watcher(config.sample, queue)));
        let flush = config.flush.duration();
        drop(_on_it);
        Ok(Self { metrics: handle, watcher, sending: Some(Sending { runtime, tasks, closing, meters, flush, left }) })
    }

    /// The handle that renders `/metrics`.
    pub fn metrics(&self) -> PrometheusHandle {
        self.metrics.clone()
    }

    /// Who is told of spans, if anybody is.
    pub fn watcher(&self) -> Option<Arc<Watcher>> {
        self.watcher.clone()
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        let Some(Sending { runtime, tasks, closing, meters, flush, left }) = self.sending.take() else { return };
        closing.cancel();
        let last = runtime.spawn_blocking(move || meters.shutdown_with_timeout(flush));
        // Whoever stops the host is not kept waiting by a collector.
        let _ = runtime.block_on(async { tokio::time::timeout(flush, async { tokio::join!(tasks.wait(), last) }).await });
        runtime.shutdown_background();
        left.iter().for_each(Left::give_up);
    }
}

/// Which lines are logged.
///
/// # Errors
/// The log filter is malformed.
pub fn filter(config: &TelemetryConfig) -> Result<EnvFilter> {
    // At `info` the protocol library logs every request, and at `debug` its arguments: only if asked for by name.
    let log = if config.log.contains("rmcp") { config.log.clone() } else { format!("{},rmcp=warn", config.log) };
    EnvFilter::try_new(&log).with_context(|| format!("`telemetry.log = \"{}\"` is not a log filter", config.log))
}

/// Sends spans to the collector, none at all, to see whether it would take some.
///
/// # Errors
/// It would not, or there is something wrong with what the config says of it.
pub async fn probe(config: &TelemetryConfig) -> Result<()> {
    let Some(collector) = Collector::of(config)? else { return Ok(()) };
    let (exporter, timeout) = (collector.spans()?, config.timeout.duration());
    let answer = tokio::time::timeout(timeout, exporter.export(Vec::new())).await;
    Ok(answer.with_context(|| format!("it did not answer within {timeout:?}"))??)
}

/// Installs the recorder of all metrics.
fn record(recorder: impl Recorder + Sync + 'static, handle: &PrometheusHandle) -> Result<()> {
    ::metrics::set_global_recorder(recorder).map_err(|_| anyhow::anyhow!("can't install the metrics recorder"))?;
    metrics::describe();
    let upkeep = handle.clone();
    // Samples pile up until they are folded into their buckets, whether anybody asks for them or not.
    let folding = std::thread::Builder::new().name("metrics-upkeep".into()).spawn(move || {
        loop {
            std::thread::sleep(UPKEEP);
            upkeep.run_upkeep();
        }
    });
    folding.map(drop).context("can't start the thread that keeps metrics small")
}

/// Who speaks.
fn resource() -> Resource {
    use opentelemetry::KeyValue;
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    Resource::builder().with_service_name("tidegate").with_attribute(version).build()
}
