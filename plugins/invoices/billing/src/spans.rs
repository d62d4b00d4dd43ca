//! One span for each request that belongs to a trace, sent to a collector of OpenTelemetry: the backend's part of the story.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// Spans that may wait for the collector; more are dropped.
const MAX_WAITING: usize = 1024;

/// The same routes, with a span for each request that comes with a `traceparent`, sent to the collector at `url` as OTLP/HTTP with
/// JSON. Must be called on a runtime.
///
/// # Errors
/// The URL is not that of a collector that is spoken to without TLS.
pub fn traced(router: Router, url: &str) -> Result<Router, String> {
    let authority = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/').to_owned());
    let authority = authority.ok_or_else(|| format!("`{url}` is not the URL of a collector, such as http://127.0.0.1:4318"))?;
    let (sender, spans) = mpsc::channel(MAX_WAITING);
    tokio::spawn(send(authority, spans));
    Ok(router.layer(from_fn_with_state(Arc::new(sender), note)))
}

async fn note(State(spans): State<Arc<mpsc::Sender<Value>>>, request: Request, next: Next) -> Response {
    let parent = request.headers().get("traceparent").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (method, path, began) = (request.method().to_string(), request.uri().path().to_owned(), SystemTime::now());
    let response = next.run(request).await;
    let Some((trace, parent)) = parent.as_deref().and_then(sampled) else { return response };
    let attribute = |key: &str, value: Value| json!({ "key": key, "value": value });
    let span = json!({
        "traceId": trace, "spanId": format!("{:016x}", RandomState::new().build_hasher().finish().max(1)), "parentSpanId": parent,
        "name": method, "kind": 2, "startTimeUnixNano": nanoseconds(began), "endTimeUnixNano": nanoseconds(SystemTime::now()),
        "attributes": [
            attribute("http.request.method", json!({ "stringValue": method })),
            attribute("url.path", json!({ "stringValue": path })),
            attribute("http.response.status_code", json!({ "intValue": response.status().as_u16().to_string() })),
        ],
    });
    let _ = spans.try_send(span);
    response
}

/// Trace and parent of a sampled `traceparent`.
fn sampled(text: &str) -> Option<(&str, &str)> {
    let mut fields = text.split('-').skip(1);
    let (trace, parent, flags) = (fields.next()?, fields.next()?, fields.next()?);
    let is_hex = |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let sampled = u8::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 == 1);
    (is_hex(trace, 32) && is_hex(parent, 16) && sampled).then_some((trace, parent))
}

fn nanoseconds(time: SystemTime) -> String {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}

async fn send(authority: String, mut spans: mpsc::Receiver<Value>) {
    let mut batch = Vec::new();
    while spans.recv_many(&mut batch, 64).await > 0 {
        let service = json!({ "attributes": [{ "key": "service.name", "value": { "stringValue": "billing" } }] });
        let scope = json!({ "scope": { "name": "billing" }, "spans": std::mem::take(&mut batch) });
        let body = json!({ "resourceSpans": [{ "resource": service, "scopeSpans": [scope] }] }).to_string();
        // A collector that is away costs the demo its spans and nothing else.
        if let Err(error) = post(&authority, &body).await {
            eprintln!("{}", json!({ "spans": "lost", "why": error.to_string() }));
        }
    }
}

async fn post(authority: &str, body: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(authority).await?;
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: {authority}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.read_to_end(&mut Vec::new()).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_and_sampled_parents_count() {
        let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        assert_eq!(sampled(&format!("00-{trace}-{parent}-01")), Some((trace, parent)));
        for text in [format!("00-{trace}-{parent}-00"), format!("00-{trace}"), format!("00-{parent}-{trace}-01"), String::new()] {
            assert_eq!(sampled(&text), None, "{text}");
        }
    }
}
