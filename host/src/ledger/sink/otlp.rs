//! A collector of OpenTelemetry logs as a sink: OTLP/HTTP in its JSON encoding.
//!
//! By hand rather than through the SDK's exporter, which does not tell whether the collector refused records.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::super::Ledger;
use super::batch::{Batch, Shape};
use super::run::{Failure, Target};
use crate::outbound::Collector;

/// The longest a collector may ask to be left alone.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// The collector of a sink.
pub(super) struct OtlpTarget {
    collector: Collector,
    /// What carries the requests.
    runtime: Handle,
    /// Cuts off the request on its way.
    stop: CancellationToken,
}

impl OtlpTarget {
    pub fn new(collector: Collector, runtime: Handle, stop: CancellationToken) -> Self {
        Self { collector, runtime, stop }
    }
}

impl Target for OtlpTarget {
    fn shape(&self) -> Shape {
        Shape::LogRecord
    }

    fn next(&mut self, _: &Ledger, after: u64, lowest: u64) -> Result<u64, Failure> {
        Ok(lowest.max(after + 1))
    }

    fn send(&mut self, batch: &Batch) -> Result<(), Failure> {
        let body = request(batch);
        let answer = self.runtime.block_on(async {
            tokio::select! {
                answer = self.collector.post(body) => answer,
                () = self.stop.cancelled() => Err("the host stops".to_owned()),
            }
        });
        let answer = answer.map_err(Failure::later)?;
        judge(answer.status, answer.retry_after, &answer.body, batch)
    }
}

/// What is posted.
fn request(batch: &Batch) -> Vec<u8> {
    let resource = json!({ "attributes": [{ "key": "service.name", "value": { "stringValue": "tidegate" } }] });
    let scope = json!({ "name": "tidegate.audit", "version": env!("CARGO_PKG_VERSION") });
    let records = batch.items.join(",");
    format!("{{\"resourceLogs\":[{{\"resource\":{resource},\"scopeLogs\":[{{\"scope\":{scope},\"logRecords\":[{records}]}}]}}]}}")
        .into_bytes()
}

/// What an answer means: <https://opentelemetry.io/docs/specs/otlp/#otlphttp-response>.
fn judge(status: u16, retry_after: Option<Duration>, body: &[u8], batch: &Batch) -> Result<(), Failure> {
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Success {
        partial_success: Partial,
    }
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Partial {
        // A 64-bit number is text in JSON, but not to everybody.
        rejected_log_records: serde_json::Value,
        error_message: String,
    }
    match status {
        200..=299 => {
            let Partial { rejected_log_records, error_message } =
                serde_json::from_slice::<Success>(body).unwrap_or_default().partial_success;
            let rejected = rejected_log_records.as_u64().or_else(|| rejected_log_records.as_str()?.parse().ok()).unwrap_or(0);
            match rejected {
                0 => Ok(()),
                // Nobody knows which: alone, each record is taken or is known to be refused.
                _ if batch.items.len() > 1 => Err(Failure::Refused(format!("{rejected} records were rejected: {error_message}"))),
                _ => Err(Failure::Refused(error_message)),
            }
        }
        400 | 413 => Err(Failure::Refused(format!("it answers {status}"))),
        _ => Err(Failure::Later { why: format!("it answers {status}"), after: retry_after.map(|after| after.min(RETRY_MAX)) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_what_becomes_of_the_batch() {
        let batch = |count: usize| Batch { items: vec!["{}".to_owned(); count], last: count as u64 };
        let judged = |status: u16, body: &str, count: usize| judge(status, None, body.as_bytes(), &batch(count));
        for accepted in
            ["", "{}", "{\"partialSuccess\":{}}", "{\"partialSuccess\":{\"rejectedLogRecords\":\"0\"}}", "\u{8}binary"]
        {
            assert!(judged(200, accepted, 2).is_ok(), "{accepted}");
        }
        for rejected in ["\"1\"", "1"] {
            let body = format!("{{\"partialSuccess\":{{\"rejectedLogRecords\":{rejected},\"errorMessage\":\"too old\"}}}}");
            assert!(matches!(judged(200, &body, 2), Err(Failure::Refused(why)) if why.contains("too old")));
            assert!(matches!(judged(200, &body, 1), Err(Failure::Refused(why)) if why == "too old"));
        }
        assert!(matches!(judged(413, "", 2), Err(Failure::Refused(_))));
        for status in [301, 401, 404, 429, 500, 503] {
            assert!(matches!(judged(status, "", 2), Err(Failure::Later { .. })), "{status}");
        }
        let later = judge(503, Some(Duration::from_secs(3600)), b"", &batch(1));
        assert!(matches!(later, Err(Failure::Later { after: Some(RETRY_MAX), .. })));
    }

    #[test]
    fn what_is_posted_is_json() {
        let batch = Batch { items: vec!["{\"a\":1}".to_owned(), "{\"a\":2}".to_owned()], last: 2 };
        let posted: serde_json::Value = serde_json::from_slice(&request(&batch)).expect("JSON");
        assert_eq!(posted["resourceLogs"][0]["scopeLogs"][0]["logRecords"], json!([{ "a": 1 }, { "a": 2 }]));
    }
}
