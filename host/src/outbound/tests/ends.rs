//! How requests end that nobody waits for any more, or that waited for too long: what is taken down of them, and what they give back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use http_body_util::StreamBody;
use tokio::time::{sleep, timeout};

use super::*;
use crate::outbound::breaker::{BreakerConfig, BreakerState};
use crate::outbound::credential::CredentialKind;

/// What is known of each attempt: whether it left, and why it has no whole response.
fn ends(call: &OutboundCall) -> Vec<(bool, Option<SentError>)> {
    call.sent().iter().map(|sent| (sent.left, sent.error)).collect()
}

fn get() -> Request<Body> {
    request(Method::GET, "http://billing/", "")
}

fn post() -> Request<Body> {
    request(Method::POST, "http://billing/pay", "{}")
}

/// A change whose body begins, which is told, and never ends.
fn endless(begins: impl Fn() + Send + 'static) -> Request<Body> {
    let frames = futures::stream::poll_fn(move |_| -> Poll<Option<io::Result<http_body::Frame<Bytes>>>> {
        begins();
        Poll::Pending
    });
    post().map(|_| StreamBody::new(frames).boxed_unsync())
}

/// A port that takes connections and never says anything.
async fn silent() -> (TcpListener, BackendConfig) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    (listener, BackendConfig::at(format!("http://{address}")))
}

/// A call with one backend whose name leads nowhere, for ever.
fn unresolved() -> Arc<OutboundCall> {
    let lookup: Lookup = Arc::new(|_| Box::pin(futures::future::pending()));
    let origins: OriginsConfig = toml::from_str("allow = [\"http://example.net\"]").expect("well formed");
    let outbound = Outbound::resolving(&BTreeMap::new(), &origins, || Arc::clone(&lookup)).expect("no files are needed");
    outbound.begin(CallScope { allowed: vec!["http://example.net".to_owned()], ..scope() })
}

#[tokio::test]
async fn nothing_leaves_once_the_call_is_over_and_what_is_told_of_it_stays() {
    let (address, seen) = backend(|_| "paid".into_response()).await;
    let outbound = outbound(BackendConfig::at(format!("http://{address}")));
    let (reached, may_go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let gate = (Arc::clone(&reached), Arc::clone(&may_go));
    let commit: Commit = Arc::new(move || {
        let (reached, may_go) = gate.clone();
        Box::pin(async move {
            reached.notify_one();
            may_go.notified().await;
        })
    });
    let call = outbound.begin(CallScope { commit: Some(commit), ..scope() });
    let late = tokio::spawn(call.send(post()));
    reached.notified().await;
    call.close();
    let told = call.sent();
    may_go.notify_one();
    assert!(late.await.expect("no panic").is_err());
    assert!(call.send(get()).await.is_err());
    assert!(seen.lock().expect("not poisoned").is_empty(), "it was a moment from leaving");
    assert_eq!((ends(&call), call.sent()), (vec![(false, Some(SentError::Abandoned))], told));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_never_had_a_connection_has_not_left_however_it_ends() {
    let to = |call: &Arc<OutboundCall>, patience| {
        call.send_within(request(Method::POST, "http://example.net/pay", "{}"), Duration::from_millis(patience))
    };
    let call = unresolved();
    assert_eq!(kind(to(&call, 200).await), Some(io::ErrorKind::TimedOut), "the guest's own time");
    assert!(timeout(Duration::from_millis(200), to(&call, 500)).await.is_err(), "nobody waits for it any more");
    assert_eq!(ends(&call), [(false, Some(SentError::Unreachable)), (false, Some(SentError::Abandoned))]);
    assert!(!may_have_changed(&call));
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_token_leaves_time_to_say_that_nothing_was_sent() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("secret");
    std::fs::write(&file, "s3cret").expect("it can be written to");
    let (_tokens, at) = silent().await;
    let credential = Credential {
        kind: CredentialKind::OAuth,
        file: Some(file),
        token_url: at.url,
        client_id: Some("me".to_owned()),
        ..Credential::default()
    };
    let (_listener, config) = silent().await;
    let call = begin(&outbound(BackendConfig { credential: Some(credential), ..config }));
    let sent = call.send_within(post(), Duration::from_millis(400)).await;
    assert_eq!(kind(sent), Some(io::ErrorKind::HostUnreachable));
    assert_eq!(ends(&call), [(false, Some(SentError::Unreachable))]);
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_time_is_over_does_not_leave_whatever_it_waited_for() {
    let (_listener, config) = silent().await;
    let never: Commit = Arc::new(|| Box::pin(std::future::pending()));
    let outbound = outbound(BackendConfig { max_concurrent: 1, max_wait: Span::seconds(60), ..config });
    let begin = |commit| outbound.begin(CallScope { deadline: Duration::from_secs(2), commit, ..scope() });
    let ended = async |call: &Arc<OutboundCall>, request, patience| {
        let ended = timeout(Duration::from_secs(5), call.send_within(request, patience)).await;
        (kind(ended.expect("it ends with its call")), ends(call))
    };
    let abandoned = vec![(false, Some(SentError::Abandoned))];
    let for_ever = Duration::MAX;
    assert_eq!(ended(&begin(Some(never)), post(), for_ever).await, (Some(io::ErrorKind::TimedOut), abandoned.clone()));
    assert_eq!(ended(&begin(None), endless(|| ()), for_ever).await, (Some(io::ErrorKind::TimedOut), abandoned));
    let no_turn = vec![(false, Some(SentError::NoTurn))];
    assert_eq!(ended(&begin(None), post(), Duration::ZERO).await, (Some(io::ErrorKind::TimedOut), no_turn.clone()));
    let _only = Arc::clone(&outbound.backends["billing"].turns).acquire_owned().await.expect("it is free");
    assert_eq!(ended(&begin(None), post(), for_ever).await, (Some(io::ErrorKind::QuotaExceeded), no_turn));
}

#[tokio::test]
async fn a_guest_with_less_patience_than_its_backend_was_failed_by_it_all_the_same() {
    let (_listener, config) = silent().await;
    let breaker = BreakerConfig { failures: 1, open: Span::seconds(60), max_open: Span::seconds(60), ..BreakerConfig::default() };
    let outbound = outbound(BackendConfig { breaker, ..config });
    for (patience, state) in [(50, BreakerState::Closed), (1200, BreakerState::Open)] {
        let call = begin(&outbound);
        let answer = call.send_within(get(), Duration::from_millis(patience)).await;
        assert_eq!((kind(answer), ends(&call)), (Some(io::ErrorKind::TimedOut), vec![(true, Some(SentError::TimedOut))]));
        assert_eq!(call.failure().map(|failure| failure.code), Some(ErrorCode::BackendTimeout));
        assert_eq!(outbound.health()["billing"].breaker, state, "only who waited for a while has seen that it is down");
    }
}

#[tokio::test]
async fn a_guest_that_does_not_read_gives_its_turn_back_in_time_and_its_backend_is_not_to_blame() {
    let (address, _) = backend(|_| never()).await;
    let breaker = BreakerConfig { failures: 1, ..BreakerConfig::default() };
    let config = BackendConfig {
        breaker,
        max_concurrent: 1,
        max_wait: Span::seconds(30),
        ..BackendConfig::at(format!("http://{address}"))
    };
    let outbound = outbound(BackendConfig { timeout: Span::millis(300), ..config });
    let lazy = begin(&outbound);
    let unread = lazy.send(get()).await.expect("the head arrives");
    let waiting = begin(&outbound);
    let response = waiting.send(get()).await.expect("the turn was given back");
    assert_eq!(outbound.health()["billing"].breaker, BreakerState::Closed);
    assert_eq!((kind(read(unread).await), lazy.failure()), (Some(io::ErrorKind::TimedOut), None));
    // Whoever waits for the backend was failed by it.
    assert_eq!(kind(read(response).await), Some(io::ErrorKind::TimedOut));
    assert_eq!(waiting.failure().map(|failure| failure.code), Some(ErrorCode::BackendTimeout));
    assert_eq!(outbound.health()["billing"].breaker, BreakerState::Open);
}

#[tokio::test]
async fn a_turn_is_given_back_when_the_body_has_ended_and_not_when_it_is_dropped() {
    let chunked = |path: &str| match path {
        "/" => "ok".into_response(),
        _ => ServerBody::from_stream(futures::stream::iter([Ok::<_, io::Error>("ok")])).into_response(),
    };
    let (address, _) = backend(chunked).await;
    let config =
        BackendConfig { max_concurrent: 1, max_wait: Span::seconds(0), ..BackendConfig::at(format!("http://{address}")) };
    let outbound = outbound(BackendConfig { max_response: Size(3), ..config });
    let call = begin(&outbound);
    let mut held = Vec::new();
    for uri in ["http://billing/", "http://billing/chunked", "http://billing/"] {
        let response = call.send(request(Method::GET, uri, "")).await.expect("the turn is free");
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            assert_eq!(frame.expect("it is whole").into_data().expect("no trailers"), "ok");
        }
        held.push(body);
    }
}

#[tokio::test]
async fn a_request_that_was_allowed_and_never_left_is_taken_down() {
    let (address, seen) = backend(|_| "ok".into_response()).await;
    let outbound = outbound(BackendConfig { max_request: Size(4), ..BackendConfig::at(format!("http://{address}")) });
    let call = begin(&outbound);
    let large = call.send(request(Method::POST, "http://billing/", "12345")).await;
    assert_eq!(kind(large), Some(io::ErrorKind::ArgumentListTooLong));
    let broken = StreamBody::new(futures::stream::iter([Err(io::Error::other("no more"))])).boxed_unsync();
    assert_eq!(kind(call.send(post().map(|_| broken)).await), Some(io::ErrorKind::InvalidData));
    drop(call.send(post()));
    let under_way = call.send(endless(|| ()));
    let unfinished = (false, Some(SentError::Abandoned));
    let expected = [(false, Some(SentError::RequestTooLarge)), unfinished, unfinished, unfinished];
    assert_eq!(ends(&call), expected);
    drop(under_way);
    assert_eq!((ends(&call), call.failure()), (expected.to_vec(), None));
    assert!(seen.lock().expect("not poisoned").is_empty());
}

#[tokio::test(start_paused = true)]
async fn bodies_are_taken_in_only_of_as_many_requests_as_may_be_open() {
    let (_listener, config) = silent().await;
    let call = begin(&outbound(config));
    let begun = Arc::new(AtomicUsize::new(0));
    let requests: Vec<_> = (0..20)
        .map(|_| {
            let begun = Arc::clone(&begun);
            let first = std::sync::Once::new();
            call.send(endless(move || {
                first.call_once(|| {
                    begun.fetch_add(1, Ordering::SeqCst);
                });
            }))
        })
        .collect();
    let all = futures::future::join_all(requests);
    tokio::select! {
        _ = all => unreachable!("they never end"),
        () = sleep(Duration::from_secs(1)) => {}
    }
    assert_eq!(begun.load(Ordering::SeqCst), 8);
}
