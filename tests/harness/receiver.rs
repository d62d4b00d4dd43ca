//! A collector of OpenTelemetry that remembers what it was sent: OTLP over HTTP, as protobuf.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span as Sent;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message as _;

/// How long telemetry may take to arrive on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Attributes as text.
type Attributes = BTreeMap<String, String>;

/// A running collector; it ends with the process.
#[derive(Clone)]
pub struct Receiver {
    /// Where it listens.
    pub url: String,
    state: Arc<(Mutex<Received>, Condvar)>,
}

/// What a collector answers that takes all.
const TAKEN: &[u8] = b"";

/// What came.
#[derive(Default)]
pub struct Received {
    /// The spans, in the order they came.
    pub spans: Vec<Span>,
    /// The log records: the trace, the text, and the attributes.
    pub logs: Vec<(String, String, Attributes)>,
    /// The names and units of metrics.
    pub metrics: BTreeMap<String, String>,
    /// The heads of the requests, in small letters.
    pub heads: Vec<String>,
}

/// A span that came.
#[derive(Clone, Debug)]
pub struct Span {
    /// Its trace, in hex.
    pub trace: String,
    /// Its id, in hex.
    pub id: String,
    /// The span above it, in hex; empty if there is none.
    pub parent: String,
    /// The traces it links to, with the spans, as in a `traceparent`.
    pub links: Vec<String>,
    /// Its name.
    pub name: String,
    /// 1 internal, 2 server, 3 client.
    pub kind: i32,
    /// Whether it failed.
    pub failed: bool,
    /// What is known of it.
    pub attributes: Attributes,
    /// What was said meanwhile.
    pub events: Vec<Attributes>,
}

impl Receiver {
    /// Takes whatever comes.
    pub fn start() -> Self {
        Self::answering(TAKEN)
    }

    /// Takes whatever comes, and says each time that so many items of it were rejected.
    pub fn rejecting(items: i64) -> Self {
        let partial_success = ExportTracePartialSuccess { rejected_spans: items, error_message: "too old".to_owned() };
        let answer = ExportTraceServiceResponse { partial_success: Some(partial_success) };
        Self::answering(answer.encode_to_vec().leak())
    }

    fn answering(answer: &'static [u8]) -> Self {
        Self::listen(move |stream, state| {
            // A host that is killed breaks off in the middle.
            let _ = serve(stream, state, answer);
        })
    }

    /// Takes connections, and never answers.
    pub fn hung() -> Self {
        let held = Mutex::new(Vec::new());
        Self::listen(move |stream, _| held.lock().expect("whole").push(stream))
    }

    fn listen(serve: impl Fn(TcpStream, &(Mutex<Received>, Condvar)) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let state = Arc::<(Mutex<Received>, Condvar)>::default();
        let (shared, serve) = (Arc::clone(&state), Arc::new(serve));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (shared, serve) = (Arc::clone(&shared), Arc::clone(&serve));
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { url, state }
    }

    /// What is found in what came, as soon as it is.
    pub fn wait<T>(&self, what: &str, mut find: impl FnMut(&Received) -> Option<T>) -> T {
        let (received, news) = &*self.state;
        let mut received = received.lock().expect("whole");
        loop {
            if let Some(found) = find(&received) {
                return found;
            }
            let (again, waited) = news.wait_timeout(received, PATIENCE).expect("whole");
            received = again;
            assert!(!waited.timed_out(), "the collector got no {what}, only {:#?}", received.spans);
        }
    }

    /// The spans of this trace, as soon as they are `count`, by name.
    pub fn trace(&self, trace: &str, count: usize) -> BTreeMap<String, Span> {
        let of = |received: &Received| {
            let spans: Vec<Span> = received.spans.iter().filter(|span| span.trace == trace).cloned().collect();
            (spans.len() >= count).then_some(spans)
        };
        let spans = self.wait(&format!("{count} spans of {trace}"), of);
        spans.into_iter().map(|span| (span.name.clone(), span)).collect()
    }

    /// What came so far.
    pub fn received<T>(&self, look: impl FnOnce(&Received) -> T) -> T {
        look(&self.state.0.lock().expect("whole"))
    }
}

fn serve(stream: TcpStream, (received, news): &(Mutex<Received>, Condvar), answer: &[u8]) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).expect("a length");
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        if head.contains("content-encoding: gzip") {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut plain)?;
            body = plain;
        }
        received.lock().expect("whole").take(head, &body);
        news.notify_all();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n", answer.len());
        reader.get_mut().write_all(&[head.as_bytes(), answer].concat())?;
    }
}

impl Received {
    fn take(&mut self, head: String, body: &[u8]) {
        let path = head.split_whitespace().nth(1).expect("a path").to_owned();
        self.heads.push(head);
        match path.as_str() {
            "/v1/traces" => {
                let request = ExportTraceServiceRequest::decode(body).expect("a request for traces");
                let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
                self.spans.extend(scopes.flat_map(|scope| scope.spans).map(Span::of));
            }
            "/v1/logs" => {
                let request = ExportLogsServiceRequest::decode(body).expect("a request for logs");
                let scopes = request.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
                for record in scopes.flat_map(|scope| scope.log_records) {
                    let text = record.body.map(text).unwrap_or_default();
                    self.logs.push((hex(&record.trace_id), text, attributes(record.attributes)));
                }
            }
            "/v1/metrics" => {
                let request = ExportMetricsServiceRequest::decode(body).expect("a request for metrics");
                let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
                self.metrics.extend(scopes.flat_map(|scope| scope.metrics).map(|metric| (metric.name, metric.unit)));
            }
            other => panic!("nothing is at {other}"),
        }
    }
}

impl Span {
    fn of(sent: Sent) -> Self {
        Self {
            trace: hex(&sent.trace_id),
            id: hex(&sent.span_id),
            parent: hex(&sent.parent_span_id),
            links: sent.links.iter().map(|link| format!("{}-{}", hex(&link.trace_id), hex(&link.span_id))).collect(),
            name: sent.name,
            kind: sent.kind,
            failed: sent.status.is_some_and(|status| status.code == StatusCode::Error as i32),
            attributes: attributes(sent.attributes),
            events: sent.events.into_iter().map(|event| attributes(event.attributes)).collect(),
        }
    }
}

fn attributes(attributes: Vec<KeyValue>) -> Attributes {
    attributes.into_iter().filter_map(|KeyValue { key, value, .. }| Some((key, text(value?)))).collect()
}

fn text(value: AnyValue) -> String {
    match value.value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(yes)) => yes.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
