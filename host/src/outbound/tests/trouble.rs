//! Backends in trouble: what is tried again, what is left alone, and what is taken down of it.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::outbound::breaker::{BreakerConfig, BreakerState};
use crate::outbound::retry::RetryConfig;

fn config(address: SocketAddr) -> BackendConfig {
    let retry = RetryConfig { delay: Span::millis(1), max_delay: Span::millis(1), ..RetryConfig::default() };
    BackendConfig { retry, timeout: Span::millis(500), ..BackendConfig::at(format!("http://{address}")) }
}

/// A backend that answers each connection's first request with these bytes, and hangs up.
async fn raw(answer: &'static [u8]) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let mut request = [0; 4096];
            // The request is small, and comes at once.
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer).await;
        }
    });
    (address, connections)
}

/// A backend that fails with these statuses and is well afterwards.
async fn failing(statuses: &'static [u16]) -> (SocketAddr, Arc<Mutex<Vec<Seen>>>) {
    let next = Arc::new(AtomicUsize::new(0));
    backend(move |_| match statuses.get(next.fetch_add(1, Ordering::SeqCst)) {
        Some(status) => StatusCode::from_u16(*status).expect("a status").into_response(),
        None => "ok".into_response(),
    })
    .await
}

fn attempts(call: &OutboundCall) -> Vec<(u32, u32, Option<u16>)> {
    call.sent().iter().map(|sent| (sent.request, sent.attempt, sent.status)).collect()
}

#[tokio::test]
async fn a_read_is_tried_again_until_the_backend_is_well() {
    let (address, seen) = failing(&[503, 502]).await;
    let call = begin(&outbound(config(address)));
    let response = call.send(request(Method::GET, "http://billing/a", "")).await.expect("the backend lives");
    assert_eq!(read(response).await.expect("whole"), "ok");
    assert_eq!(attempts(&call), [(1, 1, Some(503)), (1, 2, Some(502)), (1, 3, Some(200))]);
    assert_eq!((call.failure(), seen.lock().expect("not poisoned").len()), (None, 3));
}

#[tokio::test]
async fn a_change_is_tried_again_only_under_a_key_that_is_honoured_and_under_the_same_one() {
    let (address, seen) = failing(&[503, 503]).await;
    let outbound = outbound(config(address));
    let response = begin(&outbound).send(request(Method::POST, "http://billing/a", "{}")).await.expect("the backend lives");
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "nobody promised anything about its key");
    let key: DeriveKey = Arc::new(|_, _, _, n| format!("key-{n}"));
    let call = outbound.begin(CallScope { key: Some(key), keyed: true, ..scope() });
    let response = call.send(request(Method::POST, "http://billing/a", "{}")).await.expect("the backend lives");
    assert_eq!(response.status(), StatusCode::OK);
    let keys: Vec<_> = seen.lock().expect("not poisoned").iter().map(|seen| seen.2["idempotency-key"].clone()).collect();
    assert_eq!(keys[1..], ["key-1", "key-1"], "requests are counted, not attempts");
    // Without a key of its own a call carries none, whatever its backend honours.
    let (address, _) = failing(&[503]).await;
    let unkeyed = super::outbound(config(address)).begin(CallScope { keyed: true, ..scope() });
    let response = unkeyed.send(request(Method::POST, "http://billing/a", "{}")).await.expect("the backend lives");
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn what_a_backend_says_by_itself_is_not_asked_for_again() {
    for status in [400, 404, 409, 429, 500, 501] {
        let (address, _) = failing(Box::leak(Box::new([status]))).await;
        let call = begin(&outbound(config(address)));
        let response = call.send(request(Method::GET, "http://billing/a", "")).await.expect("the backend lives");
        assert_eq!((response.status().as_u16(), call.sent().len()), (status, 1));
        let code = call.failure().map(|failure| failure.code);
        let expected = match status {
            429 => Some(ErrorCode::RateLimited),
            500.. => Some(ErrorCode::BackendUnavailable),
            _ => None,
        };
        assert_eq!(code, expected, "{status}");
    }
}

#[tokio::test]
async fn retries_end_with_the_budget_of_the_backend_and_the_time_of_the_call() {
    let (address, _) = failing(&[503; 100]).await;
    let mut limits = config(address);
    limits.retry.reserve = 1;
    limits.breaker.failures = 1000;
    limits.breaker.min_requests = 1000;
    let outbound = outbound(limits);
    let count = async |scope: CallScope| {
        let call = outbound.begin(scope);
        call.send(request(Method::GET, "http://billing/a", "")).await.expect("the backend lives");
        call.sent().len()
    };
    assert_eq!((count(scope()).await, count(scope()).await), (2, 1), "there is one retry");
    let (address, _) = failing(&[503; 100]).await;
    let mut limits = config(address);
    limits.retry.delay = Span::seconds(60);
    limits.retry.max_delay = Span::seconds(60);
    let call = super::outbound(limits).begin(CallScope { deadline: Duration::from_secs(30), ..scope() });
    call.send(request(Method::GET, "http://billing/a", "")).await.expect("the backend lives");
    assert_eq!(call.sent().len(), 1, "the retry would come after the call's end");
}

#[tokio::test]
async fn requests_end_before_the_call_has_to_so_that_the_guest_can_say_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let limits = BackendConfig { timeout: Span::seconds(60), ..config(address) };
    let begun = std::time::Instant::now();
    let call = outbound(limits).begin(CallScope { deadline: Duration::from_secs(2), ..scope() });
    assert_eq!(kind(call.send(request(Method::GET, "http://billing/a", "")).await), Some(io::ErrorKind::TimedOut));
    assert!(begun.elapsed() >= Duration::from_millis(1800), "{:?}", begun.elapsed());
    assert_eq!(call.failure().map(|failure| failure.code), Some(ErrorCode::BackendTimeout));
}

#[tokio::test]
async fn a_backend_that_does_not_speak_http_is_asked_once() {
    let (address, connections) = raw(b"SSH-2.0-OpenSSH_9.9\r\n").await;
    let call = begin(&outbound(config(address)));
    assert_eq!(kind(call.send(request(Method::GET, "http://billing/", "")).await), Some(io::ErrorKind::InvalidData));
    let sent = call.sent();
    assert_eq!((sent.len(), sent[0].error, sent[0].left), (1, Some(SentError::NotHttp), true));
    assert_eq!(
        (call.failure().map(|failure| failure.code), connections.load(Ordering::SeqCst)),
        (Some(ErrorCode::BackendUnavailable), 1)
    );
}

#[tokio::test]
async fn a_connection_that_ends_without_an_answer_is_tried_again_and_one_that_ends_in_it_is_not() {
    let (address, connections) = raw(b"").await;
    let call = begin(&outbound(config(address)));
    assert_eq!(kind(call.send(request(Method::GET, "http://billing/", "")).await), Some(io::ErrorKind::ConnectionReset));
    assert_eq!((call.sent().len(), connections.load(Ordering::SeqCst)), (3, 3));
    let (address, connections) = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf of it").await;
    let call = begin(&outbound(config(address)));
    let response = call.send(request(Method::GET, "http://billing/", "")).await.expect("the head arrives");
    assert_eq!(kind(read(response).await), Some(io::ErrorKind::ConnectionReset));
    let sent = call.sent();
    assert_eq!((sent.len(), sent[0].status, sent[0].error), (1, Some(200), Some(SentError::BrokenOff)));
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    assert_eq!(call.failure().map(|failure| failure.code), Some(ErrorCode::BackendUnavailable));
}

#[tokio::test]
async fn an_open_breaker_answers_at_once_and_takes_no_turn_and_no_fuel() {
    let (address, seen) = failing(&[503; 100]).await;
    let mut limits = config(address);
    limits.breaker =
        BreakerConfig { failures: 2, open: Span::seconds(600), max_open: Span::seconds(600), ..BreakerConfig::default() };
    limits.max_concurrent = 1;
    limits.retry.attempts = 1;
    let outbound = outbound(limits);
    for _ in 0..2 {
        begin(&outbound).send(request(Method::GET, "http://billing/", "")).await.expect("the backend lives");
    }
    assert_eq!(outbound.health()["billing"].breaker, BreakerState::Open);
    let never: Commit = Arc::new(|| Box::pin(std::future::pending()));
    let call = outbound.begin(CallScope { commit: Some(never), ..scope() });
    assert_eq!(kind(call.send(request(Method::POST, "http://billing/", "{}")).await), Some(io::ErrorKind::HostUnreachable));
    let failure = call.failure().expect("it is remembered");
    assert!(failure.is_known && failure.unsent && failure.retry_after > Duration::from_secs(200), "{failure:?}");
    let sent = call.sent();
    assert_eq!((sent.len(), sent[0].error, sent[0].left), (1, Some(SentError::BreakerOpen), false));
    assert_eq!(seen.lock().expect("not poisoned").len(), 2, "nothing was sent");
}

#[tokio::test]
async fn a_probe_whose_call_is_given_up_leaves_the_next_one_its_place() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let probed = Arc::new(Notify::new());
    let probe = Arc::clone(&probed);
    tokio::spawn(async move {
        let mut held = Vec::new();
        for answer in [Some("502 Bad Gateway"), None, Some("200 OK")] {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).await.expect("a request") > 0);
            match answer {
                Some(status) => {
                    let response = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                    stream.write_all(response.as_bytes()).await.expect("it listens");
                }
                None => {
                    probe.notify_one();
                    held.push(stream);
                }
            }
        }
    });
    let mut limits = BackendConfig { timeout: Span::seconds(60), ..config(address) };
    let open = Span::millis(2);
    limits.breaker = BreakerConfig { failures: 1, open, max_open: open, probes: 1, ..BreakerConfig::default() };
    limits.retry.attempts = 1;
    let outbound = outbound(limits);
    let get = || begin(&outbound).send(request(Method::GET, "http://billing/", ""));
    get().await.expect("the backend lives");
    assert_eq!(outbound.health()["billing"].breaker, BreakerState::Open);
    tokio::time::sleep(open.duration()).await;
    let sending = tokio::spawn(get());
    probed.notified().await;
    assert_eq!(kind(get().await), Some(io::ErrorKind::HostUnreachable), "the only place is taken");
    sending.abort();
    assert!(sending.await.expect_err("it was aborted").is_cancelled());
    assert_eq!(outbound.health()["billing"].breaker, BreakerState::HalfOpen);
    read(get().await.expect("the place is free again")).await.expect("whole");
    assert_eq!(outbound.health()["billing"].breaker, BreakerState::Closed);
}

#[tokio::test]
async fn a_backend_that_says_when_to_come_back_is_not_asked_before() {
    let (address, seen) = backend(|_| (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "120")]).into_response()).await;
    let outbound = outbound(config(address));
    let first = begin(&outbound);
    let response = first.send(request(Method::GET, "http://billing/", "")).await.expect("the backend lives");
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS, "the guest sees it as it came");
    let second = begin(&outbound);
    assert_eq!(kind(second.send(request(Method::GET, "http://billing/", "")).await), Some(io::ErrorKind::QuotaExceeded));
    for (call, unsent) in [(first, false), (second, true)] {
        let failure = call.failure().expect("it is remembered");
        assert_eq!((failure.code, failure.is_known, failure.unsent), (ErrorCode::RateLimited, true, unsent));
        assert!(failure.retry_after > Duration::from_secs(100) && failure.retry_after <= Duration::from_secs(120));
    }
    assert_eq!(seen.lock().expect("not poisoned").len(), 1);
    assert_eq!(outbound.health()["billing"].breaker, BreakerState::Closed, "it lives");
}

#[tokio::test]
async fn a_backend_that_is_back_before_it_said_so_is_found_out() {
    let asked = Arc::new(AtomicUsize::new(0));
    let (address, _) = backend(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "120")]).into_response(),
        _ => "ok".into_response(),
    })
    .await;
    let mut limits = config(address);
    let open = Span::millis(2);
    limits.breaker = BreakerConfig { open, max_open: open, ..BreakerConfig::default() };
    let outbound = outbound(limits);
    let first = begin(&outbound);
    first.send(request(Method::GET, "http://billing/", "")).await.expect("the backend lives");
    let told = first.failure().expect("it is remembered").retry_after;
    assert!(told > Duration::from_secs(100), "callers are told what the backend says: {told:?}");
    tokio::time::sleep(open.duration()).await;
    let response = begin(&outbound).send(request(Method::GET, "http://billing/", "")).await.expect("a probe is let through");
    assert_eq!((response.status(), outbound.health()["billing"].waits_seconds), (StatusCode::OK, None));
}
