//! What an operator says of logs, traces and metrics.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use http::{HeaderName, HeaderValue, Uri};
use serde::Deserialize;

use crate::model::{Bytes, Span};

/// `[telemetry]`: what the host tells of itself, and to whom.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// What is logged to stderr, as a `tracing` filter: `info`, `tidegate=debug`.
    pub log: String,
    /// `auto`, `text` or `json`.
    pub format: LogFormat,
    /// The collector that gets traces, metrics and logs over OTLP, such as `http://127.0.0.1:4318`; none by default.
    pub otlp: Option<String>,
    /// How it is spoken to: `http` (OTLP/HTTP, protobuf) or `grpc`.
    pub protocol: Protocol,
    /// `[telemetry.headers.<name>]`: what lets the host in at a collector.
    pub headers: BTreeMap<String, Secret>,
    /// The share of the traces that begin here that is sent, 0 to 1. Of others their callers decide. Those that
    /// failed through no doing of their callers are always sent.
    pub sample: f64,
    /// How often metrics are sent.
    pub interval: Span,
    /// The most of each of traces and logs that waits for the collector; what does not fit is dropped and counted.
    pub queue: Bytes,
    /// How long one request to the collector may take.
    pub timeout: Span,
    /// How long the end of the host may be held up by what is not sent yet.
    pub flush: Span,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            log: "info".into(),
            format: LogFormat::Auto,
            otlp: None,
            protocol: Protocol::Http,
            headers: BTreeMap::new(),
            sample: 1.0,
            interval: Span::seconds(10),
            queue: Bytes::mib(8),
            timeout: Span::seconds(5),
            flush: Span::seconds(2),
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How a collector is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// OTLP/HTTP with protobuf bodies, usually at port 4318.
    Http,
    /// OTLP/gRPC, usually at port 4317.
    Grpc,
}

/// A value that does not stand in the config itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secret {
    /// The environment variable that holds it.
    pub env: Option<String>,
    /// The file that holds it; a line break at the end is ignored. Read once, at start.
    pub file: Option<PathBuf>,
}

impl TelemetryConfig {
    /// The collector's address, if there is one.
    ///
    /// # Errors
    /// It is no URL, or the share of traces is none.
    pub fn collector(&self) -> Result<Option<Uri>> {
        if !(0.0..=1.0).contains(&self.sample) {
            bail!(
                "`telemetry.sample = {}` is not a share of all traces; it goes from 0 (none but failed ones) to 1 (all)",
                self.sample
            );
        }
        let Some(url) = &self.otlp else { return Ok(None) };
        let uri: Option<Uri> = url.trim_end_matches('/').parse().ok();
        let is_http = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https"));
        // Whatever stands before an `@` may be a password.
        let shown = url.rsplit('@').next().unwrap_or_default();
        match uri.filter(|uri| is_http(uri) && uri.host().is_some_and(|host| !host.is_empty())) {
            Some(uri) if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) => {
                bail!(
                    "`telemetry.otlp` holds credentials (`…@{shown}`); put them into `[telemetry.headers.authorization]` as `env` or `file`"
                )
            }
            Some(uri) => Ok(Some(uri)),
            None => bail!("`telemetry.otlp = \"{shown}\"` is not the URL of a collector, such as `http://127.0.0.1:4318`"),
        }
    }

    /// The headers for the collector, read from where they are kept.
    ///
    /// # Errors
    /// One is not there, or is no header.
    pub fn read_headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>> {
        self.headers.iter().map(|(name, secret)| secret.read(name)).collect()
    }
}

impl Secret {
    fn read(&self, header: &str) -> Result<(HeaderName, HeaderValue)> {
        let at = || format!("`[telemetry.headers.{header}]`");
        let text = match (&self.env, &self.file) {
            (Some(variable), None) => {
                std::env::var(variable).with_context(|| format!("{}: can't read the environment variable `{variable}`", at()))?
            }
            (None, Some(file)) => {
                std::fs::read_to_string(file).with_context(|| format!("{}: can't read `{}`", at(), file.display()))?
            }
            _ => bail!("{} needs either `env` or `file`", at()),
        };
        let name: HeaderName = header.parse().with_context(|| format!("{} is not the name of a header", at()))?;
        let mut value: HeaderValue =
            text.trim_end_matches(['\r', '\n']).parse().with_context(|| format!("{}: the value does not fit a header", at()))?;
        value.set_sensitive(true);
        Ok((name, value))
    }
}
