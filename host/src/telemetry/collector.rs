//! The collector: exporters of all three signals, over HTTP or gRPC, on a runtime of their own.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, Uri};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{LogExporter, MetricExporter, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use prost::Message as _;
use tokio::runtime::Handle;

use super::config::{Protocol, TelemetryConfig};
use super::queue::{Failure, dropped};
use crate::outbound::Poster;

/// The gRPC codes after which the same batch is not sent again.
const FINAL_CODES: [&str; 6] =
    ["InvalidArgument", "ResourceExhausted", "Unauthenticated", "PermissionDenied", "Unimplemented", "NotFound"];

/// The most characters of a collector's own words that are logged.
const MAX_REASON: usize = 256;

/// How to reach the collector.
pub struct Collector {
    url: Uri,
    protocol: Protocol,
    headers: HeaderMap,
    timeout: Duration,
}

impl Collector {
    /// The collector that `config` names, if it names one. Nothing is connected yet.
    ///
    /// # Errors
    /// What the config says of it makes no sense, or a secret is not where it should be.
    pub fn of(config: &TelemetryConfig) -> Result<Option<Self>> {
        let headers = config.read_headers()?.into_iter().collect();
        let (protocol, timeout) = (config.protocol, config.timeout.duration());
        Ok(config.collector()?.map(|url| Self { url, protocol, headers, timeout }))
    }

    /// An exporter of spans. Must be made and used on the runtime that does its work, as the others.
    ///
    /// # Errors
    /// The address does not suit.
    pub fn spans(&self) -> Result<SpanExporter> {
        let built = match self.protocol {
            Protocol::Http => self.over_http(SpanExporter::builder().with_http(), "/v1/traces").build(),
            Protocol::Grpc => self.over_grpc(SpanExporter::builder().with_tonic()).build(),
        };
        built.with_context(|| self.unsuited())
    }

    /// An exporter of logs.
    ///
    /// # Errors
    /// As for spans.
    pub fn logs(&self) -> Result<LogExporter> {
        let built = match self.protocol {
            Protocol::Http => self.over_http(LogExporter::builder().with_http(), "/v1/logs").build(),
            Protocol::Grpc => self.over_grpc(LogExporter::builder().with_tonic()).build(),
        };
        built.with_context(|| self.unsuited())
    }

    /// An exporter of metrics, to be used from anywhere; the work is done on `runtime`.
    ///
    /// # Errors
    /// As for spans.
    pub fn metrics(&self, runtime: &Handle) -> Result<OnRuntime> {
        let built = match self.protocol {
            Protocol::Http => self.over_http(MetricExporter::builder().with_http(), "/v1/metrics").build(),
            Protocol::Grpc => self.over_grpc(MetricExporter::builder().with_tonic()).build(),
        };
        let exporter = built.with_context(|| self.unsuited())?;
        Ok(OnRuntime { exporter, runtime: runtime.clone(), timeout: self.timeout })
    }

    fn over_http<B: WithExportConfig + WithHttpConfig>(&self, builder: B, path: &'static str) -> B {
        let url = self.url.to_string();
        let base = url.trim_end_matches('/');
        let text =
            |(name, value): (&http::HeaderName, &http::HeaderValue)| Some((name.to_string(), value.to_str().ok()?.to_owned()));
        let headers: HashMap<String, String> = self.headers.iter().filter_map(text).collect();
        builder
            .with_http_client(Client { poster: Poster::new(), signal: path.rsplit('/').next().unwrap_or_default() })
            .with_endpoint(format!("{}{path}", base.strip_suffix(path).unwrap_or(base)))
            .with_headers(headers)
            .with_timeout(self.timeout)
    }

    fn over_grpc<B: WithExportConfig + WithTonicConfig>(&self, builder: B) -> B {
        let builder = builder
            .with_endpoint(self.url.to_string())
            .with_metadata(MetadataMap::from_headers(self.headers.clone()))
            .with_timeout(self.timeout);
        let is_tls = self.url.scheme_str() == Some("https");
        if is_tls { builder.with_tls_config(ClientTlsConfig::new().with_enabled_roots()) } else { builder }
    }

    fn unsuited(&self) -> String {
        format!("`telemetry.otlp`: can't send telemetry to `{}`", self.url)
    }
}

/// What became of an export, for the queue.
///
/// The exporters tell what a collector answered in words alone. Words that are not known mean what they always meant: try again.
pub fn sent(result: OTelSdkResult) -> Result<(), Failure> {
    result.map_err(|error| {
        let problem = error.to_string();
        let word = |after: &str| problem.split_once(after)?.1.split(|c: char| !c.is_ascii_alphanumeric()).next();
        let status = word("failed with status code: ").and_then(|status| status.parse::<u16>().ok());
        // What OTLP calls not retryable.
        let is_final = status.is_some_and(|status| (400..500).contains(&status) && ![408, 429].contains(&status))
            || word("failed with gRPC code: ").is_some_and(|code| FINAL_CODES.contains(&code));
        Failure { problem, is_final }
    })
}

/// The host's own HTTP client, as the exporters want it. They take an answer that lists rejected items for a good one, so these are
/// counted here; over gRPC nobody but the exporter sees the answer.
struct Client {
    poster: Poster,
    signal: &'static str,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl HttpClient for Client {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let response = self.poster.send(request).await.map_err(HttpError::from)?;
            if let Some((rejected, why)) = rejected(&response) {
                tracing::warn!(signal = self.signal, rejected, why, "the collector took only a part of what it was sent");
                // Of metrics, batches are counted, and it is told how many points of one are gone.
                dropped(self.signal).increment(if self.signal == "metrics" { 1 } else { rejected });
            }
            Ok(response)
        })
    }
}

/// How many items a collector did not take of those it was sent, and why, if it says so (OTLP, "Partial Success").
fn rejected(response: &Response<Bytes>) -> Option<(u64, String)> {
    if !response.status().is_success() {
        return None;
    }
    // On the wire, the answers of all signals look alike.
    let told = ExportTraceServiceResponse::decode(response.body().clone()).ok()?.partial_success?;
    let rejected = u64::try_from(told.rejected_spans).ok().filter(|rejected| *rejected > 0)?;
    Some((rejected, told.error_message.chars().take(MAX_REASON).collect()))
}

/// An exporter of metrics that works on a runtime, whatever thread waits for it, and counts what it could not deliver.
pub struct OnRuntime {
    exporter: MetricExporter,
    runtime: Handle,
    timeout: Duration,
}

impl PushMetricExporter for OnRuntime {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let exported = async {
            let export = tokio::time::timeout(self.timeout, self.exporter.export(metrics));
            export.await.unwrap_or(Err(OTelSdkError::Timeout(self.timeout)))
        };
        let exported = Entered { runtime: &self.runtime, inner: Box::pin(exported) }.await;
        if exported.is_err() {
            dropped("metrics").increment(1);
        }
        exported
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

/// A future that finds a runtime's timers and sockets while it is polled elsewhere.
struct Entered<'a, F> {
    runtime: &'a Handle,
    inner: Pin<Box<F>>,
}

impl<F: Future> Future for Entered<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<F::Output> {
        let _entered = self.runtime.enter();
        self.inner.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// What an export comes to at a collector that answers with this status.
    async fn export(status: u16) -> Failure {
        use opentelemetry_sdk::trace::SpanExporter as _;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let answering = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut asked = [0; 4096];
            let _ = stream.read(&mut asked).await.expect("a request");
            let answer = format!("HTTP/1.1 {status} Said\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.expect("written");
        });
        let config = TelemetryConfig { otlp: Some(url), ..TelemetryConfig::default() };
        let exporter = Collector::of(&config).expect("it makes sense").expect("there is one").spans().expect("an exporter");
        let failure = sent(exporter.export(Vec::new()).await).expect_err("it is refused");
        answering.await.expect("it answered");
        failure
    }

    #[tokio::test]
    async fn a_refusal_for_good_is_told_from_one_for_now() {
        for (status, is_final) in [(400, true), (401, true), (413, true), (408, false), (429, false), (500, false), (503, false)]
        {
            let failure = export(status).await;
            assert_eq!(failure.is_final, is_final, "{status}: {failure:?}");
        }
        for (code, is_final) in [("InvalidArgument", true), ("ResourceExhausted", true), ("Unavailable", false)] {
            let said = format!("TonicTracesClient export failed with gRPC code: {code}: source");
            let failure = sent(Err(OTelSdkError::InternalFailure(said))).expect_err("it is refused");
            assert_eq!(failure.is_final, is_final, "{code}");
        }
    }
}
