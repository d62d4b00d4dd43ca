//! Logs to stderr, metrics for Prometheus, traces to a collector: set up once, before anything else runs.

use std::time::Duration;

use anyhow::{Context, Result};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::config::{LogFormat, TelemetryConfig};

/// Bucket bounds of every duration histogram, in seconds: from a microsecond stage to a ten-second deadline.
const SECONDS: [f64; 14] = [1e-6, 5e-6, 1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 0.1, 0.5, 1.0, 10.0];

/// How often the samples of histograms are folded into their buckets.
const UPKEEP: Duration = Duration::from_secs(1);

/// What telemetry needs until the end: dropping it flushes the traces.
pub struct Telemetry {
    metrics: PrometheusHandle,
    traces: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Installs the global logger, metrics recorder and tracer.
    ///
    /// # Errors
    /// The log filter or the collector's address is malformed, or telemetry was installed before.
    pub fn install(config: &TelemetryConfig) -> Result<Self> {
        // At `info` the protocol library logs every request, and at `debug` its arguments: only if asked for by name.
        let log = if config.log.contains("rmcp") { config.log.clone() } else { format!("{},rmcp=warn", config.log) };
        let filter =
            EnvFilter::try_new(&log).with_context(|| format!("`telemetry.log = \"{}\"` is not a log filter", config.log))?;
        // Never stdout: over stdio it belongs to the protocol.
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        let lines = match config.format {
            LogFormat::Text => lines.with_target(false).boxed(),
            LogFormat::Json => lines.json().boxed(),
        };
        let traces = config.otlp.as_deref().map(tracer_provider).transpose()?;
        // Only our own spans: a library's would multiply them and tell little.
        let ours = Targets::new().with_target("tidegate", tracing::Level::DEBUG);
        let spans = traces
            .as_ref()
            .map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("tidegate")).with_filter(ours));
        tracing_subscriber::registry()
            .with(lines.with_filter(filter))
            .with(spans)
            .try_init()
            .context("can't install the logger")?;

        let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?;
        let metrics = builder.install_recorder().context("can't install the metrics recorder")?;
        let upkeep = metrics.clone();
        // Samples pile up until they are folded into their buckets, whether anybody asks for them or not.
        std::thread::Builder::new()
            .name("metrics-upkeep".into())
            .spawn(move || {
                loop {
                    std::thread::sleep(UPKEEP);
                    upkeep.run_upkeep();
                }
            })
            .context("can't start the thread that keeps metrics small")?;
        Ok(Self { metrics, traces })
    }

    /// The handle that renders `/metrics`.
    pub fn metrics(&self) -> PrometheusHandle {
        self.metrics.clone()
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(traces) = &self.traces
            && let Err(error) = traces.shutdown()
        {
            tracing::warn!(%error, "the last traces were not delivered");
        }
    }
}

fn tracer_provider(endpoint: &str) -> Result<SdkTracerProvider> {
    let endpoint = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_endpoint(&endpoint)
        .build()
        .with_context(|| format!("can't send traces to `{endpoint}`"))?;
    let resource = opentelemetry_sdk::Resource::builder().with_service_name("tidegate").build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}
