//! The outbound side against real servers on real sockets.

mod ends;
mod trouble;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use axum::body::Body as ServerBody;
use axum::extract::Request as ServerRequest;
use axum::response::{IntoResponse, Response as ServerResponse};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::*;
use crate::model::{Bytes as Size, Effect, Sent, SentError, Span, TraceContext};

/// What a backend saw of one request.
type Seen = (Method, String, HeaderMap, Bytes);

/// A backend that answers every request with `answer` and remembers what it was asked.
async fn backend<F>(answer: F) -> (SocketAddr, Arc<Mutex<Vec<Seen>>>)
where
    F: Fn(&str) -> ServerResponse + Clone + Send + Sync + 'static,
{
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let app = axum::Router::new().fallback(move |request: ServerRequest| async move {
        let (head, body) = request.into_parts();
        let body = body.collect().await.expect("the whole body arrives").to_bytes();
        let response = answer(head.uri.path());
        record.lock().expect("not poisoned").push((head.method, head.uri.to_string(), head.headers, body));
        response
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, seen)
}

fn outbound(config: BackendConfig) -> Outbound {
    Outbound::new(&BTreeMap::from([("billing".to_owned(), config)]), &OriginsConfig::default())
        .expect("the backend is well defined")
}

fn begin(outbound: &Outbound) -> Arc<OutboundCall> {
    begin_in(outbound, TraceContext::random())
}

fn begin_in(outbound: &Outbound, trace: TraceContext) -> Arc<OutboundCall> {
    let key: DeriveKey = Arc::new(|backend, method, path, n| format!("{backend}.{method}.{}.{n}", path.replace('/', "_")));
    outbound.begin(CallScope { trace: Spans::unwatched(trace), key: Some(key), ..scope() })
}

impl OutboundCall {
    /// Every attempt so far.
    fn sent(&self) -> Vec<Sent> {
        self.record().sent()
    }

    /// Sends a request of a guest with all the patience there is.
    fn send(self: &Arc<Self>, request: Request<Body>) -> BoxFuture<'static, io::Result<Response<Body>>> {
        self.send_within(request, Duration::MAX)
    }
}

/// A call without a key that may ask billing for anything.
fn scope() -> CallScope {
    CallScope {
        allowed: vec!["billing".to_owned()],
        trace: Spans::unwatched(TraceContext::random()),
        key: None,
        keyed: false,
        deadline: Duration::from_secs(60),
        gated: false,
        effect: Effect::Write,
        commit: None,
    }
}

fn request(method: Method, uri: &str, body: &'static str) -> Request<Body> {
    let body = Full::from(body).map_err(|never| match never {}).boxed_unsync();
    Request::builder().method(method).uri(uri).body(body).expect("well formed")
}

async fn read(response: Response<Body>) -> io::Result<Bytes> {
    Ok(response.into_body().collect().await?.to_bytes())
}

fn may_have_changed(call: &OutboundCall) -> bool {
    call.sent().iter().any(|sent| sent.left && sent.is_unsafe())
}

fn kind<T>(result: io::Result<T>) -> Option<io::ErrorKind> {
    result.err().map(|error| error.kind())
}

#[tokio::test]
async fn a_request_reaches_the_backend_with_what_the_host_adds_and_nothing_the_guest_forged() {
    let (address, seen) = backend(|_| "paid".into_response()).await;
    let trace = TraceContext::random();
    let call = begin_in(&outbound(BackendConfig::at(format!("http://{address}/v1"))), trace.clone());
    let mut post = request(Method::POST, "http://billing/invoices/7/pay?now=1", "{}");
    for name in ["authorization", "idempotency-key", "traceparent", "x-forwarded-for", "cookie"] {
        post.headers_mut().insert(name, http::HeaderValue::from_static("forged"));
    }
    post.headers_mut().insert("content-length", http::HeaderValue::from_static("9999"));
    let response = call.send(post).await.expect("the backend lives");
    assert_eq!(read(response).await.expect("the body is whole"), "paid");

    let (method, uri, headers, body) = seen.lock().expect("not poisoned").remove(0);
    assert_eq!((method, uri.as_str(), &body[..]), (Method::POST, "/v1/invoices/7/pay?now=1", &b"{}"[..]));
    assert_eq!(headers["host"], address.to_string());
    assert_eq!(headers["content-length"], "2");
    assert_eq!(headers["idempotency-key"], "billing.POST._invoices_7_pay.1");
    let parent: TraceContext = headers["traceparent"].to_str().expect("ASCII").parse().expect("a traceparent");
    assert_ne!(parent, trace, "every request is a span of its own");
    assert_eq!(parent.trace_id(), trace.trace_id());
    for name in ["authorization", "x-forwarded-for", "cookie"] {
        assert!(!headers.contains_key(name), "{name}");
    }
    let sent = call.sent();
    assert_eq!(
        (sent[0].path.as_str(), sent[0].status, sent[0].bytes_out, sent[0].bytes_in),
        ("/invoices/7/pay", Some(200), 2, 4)
    );
    assert!(may_have_changed(&call) && call.failure().is_none());
}

#[tokio::test]
async fn only_unsafe_requests_are_keyed_and_each_by_its_number() {
    let (address, seen) = backend(|_| StatusCode::NO_CONTENT.into_response()).await;
    let call = begin(&outbound(BackendConfig::at(format!("http://{address}"))));
    for method in [Method::GET, Method::POST, Method::DELETE] {
        call.send(request(method, "http://billing/a", "")).await.expect("the backend lives");
    }
    let keys: Vec<_> = seen.lock().expect("not poisoned").iter().map(|seen| seen.2.get("idempotency-key").cloned()).collect();
    assert_eq!(keys[0], None);
    assert_eq!(
        (keys[1].as_ref().expect("POST is unsafe"), keys[2].as_ref().expect("DELETE is unsafe")),
        (&http::HeaderValue::from_static("billing.POST._a.1"), &http::HeaderValue::from_static("billing.DELETE._a.2"))
    );
}

#[tokio::test]
async fn nothing_unsafe_leaves_before_the_call_has_committed_and_nothing_safe_waits_for_it() {
    let (address, seen) = backend(|_| StatusCode::NO_CONTENT.into_response()).await;
    let outbound = outbound(BackendConfig::at(format!("http://{address}")));
    let may_go = Arc::new(Notify::new());
    let gate = Arc::clone(&may_go);
    let commit: Commit = Arc::new(move || {
        let gate = Arc::clone(&gate);
        Box::pin(async move { gate.notified().await })
    });
    let call = outbound.begin(CallScope { commit: Some(commit), ..scope() });
    call.send(request(Method::GET, "http://billing/a", "")).await.expect("the backend lives");
    let mut post = tokio::spawn(call.send(request(Method::POST, "http://billing/a", "")));
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut post).await.is_err(), "it waits");
    assert_eq!((seen.lock().expect("not poisoned").len(), may_have_changed(&call)), (1, false));
    may_go.notify_one();
    post.await.expect("no panic").expect("the backend lives");
    assert!(may_have_changed(&call));
}

#[tokio::test]
async fn the_credential_goes_out_and_never_comes_back() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("token");
    std::fs::write(&path, "Bearer s3cret\n").expect("it can be written to");
    let (address, seen) = backend(|_| {
        let headers =
            [("authorization", "Bearer s3cret"), ("set-cookie", "session=1"), ("location", "/elsewhere"), ("x-kind", "ok")];
        (StatusCode::FOUND, headers).into_response()
    })
    .await;
    let credential = Some(Credential { file: Some(path), ..Credential::default() });
    let call = begin(&outbound(BackendConfig { credential, ..BackendConfig::at(format!("http://{address}/v1")) }));
    let response = call.send(request(Method::GET, "http://billing/", "")).await.expect("the backend lives");
    assert_eq!(seen.lock().expect("not poisoned").len(), 1, "a redirect is not followed");
    assert_eq!(seen.lock().expect("not poisoned")[0].2["authorization"], "Bearer s3cret");
    assert_eq!((response.status(), &response.headers()["x-kind"]), (StatusCode::FOUND, &http::HeaderValue::from_static("ok")));
    for name in ["authorization", "set-cookie", "location"] {
        assert!(!response.headers().contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn whatever_is_not_the_plugins_backend_is_denied() {
    let (address, seen) = backend(|_| "never".into_response()).await;
    let call = begin(&outbound(BackendConfig::at(format!("http://{address}/v1"))));
    for uri in ["http://ledger/", "http://169.254.169.254/latest/", "http://billing:80/", "https://billing/", "http://BILLING/"] {
        assert_eq!(kind(call.send(request(Method::GET, uri, "")).await), Some(io::ErrorKind::PermissionDenied), "{uri}");
    }
    let direct = format!("http://{address}/");
    assert_eq!(kind(call.send(request(Method::GET, &direct, "")).await), Some(io::ErrorKind::PermissionDenied));
    assert_eq!(kind(call.send(request(Method::TRACE, "http://billing/", "")).await), Some(io::ErrorKind::PermissionDenied));
    assert_eq!(kind(call.send(request(Method::GET, "http://billing/%2e%2e/x", "")).await), Some(io::ErrorKind::InvalidInput));
    assert!(seen.lock().expect("not poisoned").is_empty() && call.sent().is_empty());
}

#[tokio::test]
async fn an_origin_is_looked_up_once_and_sent_to_by_name_with_a_key_and_without_a_credential() {
    let (address, seen) = backend(|_| "ok".into_response()).await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let names = Arc::clone(&asked);
    let lookup: Lookup = Arc::new(move |name| {
        names.lock().expect("not poisoned").push(name);
        Box::pin(async { Ok(vec![SocketAddr::from(([127, 0, 0, 1], 0))]) })
    });
    let port = address.port();
    let toml = format!("allow = [{{ origin = \"http://*.example.com:{port}\", private = true }}, \"http://example.net:{port}\"]");
    let origins: OriginsConfig = toml::from_str(&toml).expect("well formed");
    let outbound = Outbound::resolving(&BTreeMap::new(), &origins, || Arc::clone(&lookup)).expect("no files are needed");
    let key: DeriveKey = Arc::new(|backend, method, path, n| format!("{method}.{n}.{}.{}", backend.len(), path.len()));
    let named = [format!("http://api.example.com:{port}"), format!("http://example.net:{port}")];
    let call = outbound.begin(CallScope { allowed: named.to_vec(), key: Some(key), ..scope() });
    for _ in 0..2 {
        let post = call.send(request(Method::POST, &format!("http://API.example.com:{port}/v1?q=1"), "{}")).await;
        read(post.expect("it lives")).await.expect("the body is whole");
    }
    assert_eq!(*asked.lock().expect("not poisoned"), ["api.example.com"], "once, and once more for nothing");
    let (method, uri, headers, _) = seen.lock().expect("not poisoned").remove(0);
    assert_eq!((method, uri.as_str()), (Method::POST, "/v1?q=1"));
    assert_eq!(headers["host"], format!("api.example.com:{port}"));
    assert!(headers.contains_key("idempotency-key") && headers.contains_key("traceparent"));
    assert_eq!(call.sent()[0].backend, named[0]);

    // Allowed by the operator's wildcard, but not named by the manifest; and named, but led to this machine.
    let other = call.send(request(Method::GET, &format!("http://other.example.com:{port}/"), "")).await;
    assert_eq!(kind(other), Some(io::ErrorKind::PermissionDenied));
    let led_here = call.send(request(Method::GET, &format!("{}/", named[1]), "")).await;
    assert_eq!((kind(led_here), call.failure()), (Some(io::ErrorKind::PermissionDenied), None));
    assert_eq!(seen.lock().expect("not poisoned").len(), 1);
}

#[tokio::test]
async fn names_that_are_looked_up_for_ever_keep_no_other_entry_waiting() {
    let (address, _) = backend(|_| "ok".into_response()).await;
    let port = address.port();
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let (gate, hanging) = (Arc::new(Mutex::new(gate)), Arc::new(tokio::sync::Semaphore::new(0)));
    let hangs = Arc::clone(&hanging);
    let ask = move |host: &str| {
        if host.ends_with(".slow.example") {
            hangs.add_permits(1);
            let _ = gate.lock().expect("not poisoned").recv();
        }
        Ok(vec![SocketAddr::from(([127, 0, 0, 1], 0))])
    };
    let entry = |origin: &str| format!("{{ origin = \"http://{origin}:{port}\", private = true }}");
    let toml = format!("allow = [{}, {}]", entry("*.slow.example"), entry("good.example"));
    let origins: OriginsConfig = toml::from_str(&toml).expect("well formed");
    let outbound =
        Outbound::resolving(&BTreeMap::new(), &origins, || resolve::on_threads(ask.clone())).expect("no files are needed");
    let allowed = vec![format!("http://*.slow.example:{port}"), format!("http://good.example:{port}")];
    let call = outbound.begin(CallScope { allowed, ..scope() });
    for n in 0..resolve::MAX_LOOKUPS {
        tokio::spawn(call.send(request(Method::GET, &format!("http://{n}.slow.example:{port}/"), "")));
    }
    let all = u32::try_from(resolve::MAX_LOOKUPS).expect("few");
    hanging.acquire_many(all).await.expect("never closed").forget();
    let response = call.send(request(Method::GET, &format!("http://good.example:{port}/"), "")).await;
    assert_eq!(read(response.expect("it is looked up")).await.expect("whole"), "ok");
    drop(release);
}

#[tokio::test]
async fn a_dead_backend_is_unavailable_and_certainly_changed_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    let call = begin(&outbound(BackendConfig::at(format!("http://{address}"))));
    let error = kind(call.send(request(Method::POST, "http://billing/pay", "{}")).await);
    assert_eq!(error, Some(io::ErrorKind::ConnectionRefused));
    let failure = call.failure().expect("it is remembered");
    assert_eq!(
        (failure.backend.as_str(), failure.code, failure.retry_after),
        ("billing", ErrorCode::BackendUnavailable, Duration::from_secs(30))
    );
    let sent = call.sent();
    assert_eq!((sent.len(), sent[0].left, sent[0].error), (1, false, Some(SentError::Unreachable)));
    assert!(!may_have_changed(&call));
}

#[tokio::test]
async fn a_backend_that_does_not_answer_times_out_and_may_have_changed_something() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let timeout = Span::millis(100);
    let call = begin(&outbound(BackendConfig { timeout, ..BackendConfig::at(format!("http://{address}")) }));
    assert_eq!(kind(call.send(request(Method::POST, "http://billing/pay", "{}")).await), Some(io::ErrorKind::TimedOut));
    assert_eq!(call.failure().map(|failure| failure.code), Some(ErrorCode::BackendTimeout));
    assert!(may_have_changed(&call));
    drop(listener);
}

#[tokio::test]
async fn a_response_that_trickles_ends_with_the_requests_time() {
    let (address, _) = backend(|_| {
        let never = futures::stream::pending::<io::Result<Bytes>>();
        ServerBody::from_stream(never).into_response()
    })
    .await;
    let timeout = Span::millis(200);
    let call = begin(&outbound(BackendConfig { timeout, ..BackendConfig::at(format!("http://{address}")) }));
    let response = call.send(request(Method::GET, "http://billing/", "")).await.expect("the head arrives");
    assert_eq!(kind(read(response).await), Some(io::ErrorKind::TimedOut));
    assert_eq!(call.failure().map(|failure| failure.code), Some(ErrorCode::BackendTimeout));
}

#[tokio::test]
async fn a_body_beyond_its_cap_is_an_error_and_not_an_outage() {
    let (address, seen) = backend(|_| vec![b'x'; 100_000].into_response()).await;
    let config =
        BackendConfig { max_response: Size::kib(64), max_request: Size(4), ..BackendConfig::at(format!("http://{address}")) };
    let call = begin(&outbound(config));
    let response = call.send(request(Method::GET, "http://billing/", "")).await.expect("the backend lives");
    assert_eq!(kind(read(response).await), Some(io::ErrorKind::FileTooLarge));
    let error = kind(call.send(request(Method::POST, "http://billing/", "12345")).await);
    assert_eq!(error, Some(io::ErrorKind::ArgumentListTooLong));
    assert_eq!((seen.lock().expect("not poisoned").len(), call.failure(), may_have_changed(&call)), (1, None, false));
}

#[tokio::test]
async fn a_backend_that_answers_again_is_no_longer_the_failure() {
    let (address, _) = backend(|path| if path == "/slow" { never() } else { "ok".into_response() }).await;
    let timeout = Span::millis(200);
    let call = begin(&outbound(BackendConfig { timeout, ..BackendConfig::at(format!("http://{address}")) }));
    let response = call.send(request(Method::GET, "http://billing/slow", "")).await.expect("the head arrives");
    assert!(read(response).await.is_err() && call.failure().is_some());
    call.send(request(Method::GET, "http://billing/", "")).await.expect("the backend lives");
    assert_eq!(call.failure(), None);
}

fn never() -> ServerResponse {
    ServerBody::from_stream(futures::stream::pending::<io::Result<Bytes>>()).into_response()
}

#[tokio::test]
async fn requests_to_a_busy_backend_wait_for_their_turn_but_not_for_ever() {
    let (address, _) = backend(|_| "ok".into_response()).await;
    let config =
        BackendConfig { max_concurrent: 1, max_wait: Span::millis(50), ..BackendConfig::at(format!("http://{address}")) };
    let outbound = outbound(config);
    let (first, second) = (begin(&outbound), begin(&outbound));
    let unread = first.send(request(Method::GET, "http://billing/", "")).await.expect("the backend lives");
    assert_eq!(kind(second.send(request(Method::GET, "http://billing/", "")).await), Some(io::ErrorKind::QuotaExceeded));
    let failure = second.failure().expect("it is remembered");
    assert_eq!((failure.code, failure.retry_after), (ErrorCode::BackendUnavailable, Duration::from_millis(50)));
    drop(unread);
    second.send(request(Method::GET, "http://billing/", "")).await.expect("the turn was given back");
}

#[tokio::test]
async fn a_request_whose_body_never_ends_has_sent_nothing() {
    let (address, seen) = backend(|_| "ok".into_response()).await;
    let call = begin(&outbound(BackendConfig::at(format!("http://{address}"))));
    let started = Arc::new(Notify::new());
    let polled = Arc::clone(&started);
    let endless = futures::stream::poll_fn(move |_| -> std::task::Poll<Option<io::Result<http_body::Frame<Bytes>>>> {
        polled.notify_one();
        std::task::Poll::Pending
    });
    let body = http_body_util::StreamBody::new(endless).boxed_unsync();
    let post = Request::builder().method(Method::POST).uri("http://billing/pay").body(body).expect("well formed");
    let sending = tokio::spawn(call.send(post));
    started.notified().await;
    sending.abort();
    assert!(sending.await.expect_err("it was aborted").is_cancelled());
    assert!(seen.lock().expect("not poisoned").is_empty() && !may_have_changed(&call));
}

#[tokio::test]
async fn a_gated_call_sends_nothing_unsafe_until_it_is_allowed() {
    let (address, seen) = backend(|_| StatusCode::OK.into_response()).await;
    let outbound = outbound(BackendConfig::at(format!("http://{address}")));
    let call = outbound.begin(CallScope { gated: true, ..scope() });
    assert!(call.send(request(Method::GET, "http://billing/a", "")).await.is_ok());
    assert!(!call.met_gate());
    let refused = call.send(request(Method::POST, "http://billing/b", "")).await;
    assert_eq!(kind(refused), Some(io::ErrorKind::PermissionDenied));
    assert!(call.met_gate() && !may_have_changed(&call));
    assert_eq!(seen.lock().expect("not poisoned").len(), 1);

    call.allow_unsafe();
    assert!(call.send(request(Method::POST, "http://billing/c", "")).await.is_ok());
    assert!(!call.met_gate() && may_have_changed(&call));
}
