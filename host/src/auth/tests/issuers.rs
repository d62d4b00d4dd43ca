//! Issuers that are down, slow, changing or wrong, and how little they are asked.

use super::*;

/// A config whose keys may be asked for again after [`MOMENT`]: the shortest time a config may say.
fn impatient(url: &str) -> IssuerConfig {
    IssuerConfig { min_refresh: seconds(1), ..IssuerConfig::at(url) }
}

/// Long enough for keys to be asked for again.
const MOMENT: Duration = Duration::from_millis(1050);

async fn until<T>(mut tried: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(done) = tried().await {
            return done;
        }
        assert!(std::time::Instant::now() < deadline, "it never came true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_unknown_key_names_asks_the_issuer_once() {
    let signer = Signer::ed25519("k1", 1);
    let issuer = FakeIssuer::start(&[&signer]).await;
    let config = IssuerConfig { min_refresh: seconds(3), ..IssuerConfig::at(&issuer.url) };
    let authenticator = trusting(&[("corp", config)]);
    assert!(present(&authenticator, &signer.token(&claims(&issuer.url, json!({})))).await.is_ok());
    assert_eq!(issuer.asked(), 1);
    let flood = |count: usize| {
        let callers = (0..count).map(|index| {
            let token = signer.token_with(json!({"kid": format!("forged-{index}")}), &claims(&issuer.url, json!({})));
            let authenticator = authenticator.clone();
            tokio::spawn(async move { problem(&authenticator, &token).await })
        });
        futures::future::join_all(callers.collect::<Vec<_>>())
    };
    for refused in flood(200).await {
        assert_eq!(refused.expect("no panic"), Problem::UnknownKey);
    }
    assert_eq!(issuer.asked(), 1, "the keys were only just fetched");
    tokio::time::sleep(Duration::from_millis(3050)).await;
    for refused in flood(200).await {
        assert_eq!(refused.expect("no panic"), Problem::UnknownKey);
    }
    assert_eq!(issuer.asked(), 2, "one look for all of them");
}

#[tokio::test]
async fn a_client_that_goes_away_does_not_spoil_the_look_for_new_keys() {
    let (old, new) = (Signer::ed25519("old", 1), Signer::ed25519("new", 2));
    let issuer = FakeIssuer::start(&[&old]).await;
    let authenticator = trusting(&[("corp", impatient(&issuer.url))]);
    assert!(present(&authenticator, &old.token(&claims(&issuer.url, json!({})))).await.is_ok());
    issuer.publish(&[&new]);
    tokio::time::sleep(MOMENT).await;
    let token = new.token(&claims(&issuer.url, json!({})));
    let mut impatient = Box::pin(present(&authenticator, &token));
    assert!(futures::poll!(&mut impatient).is_pending(), "it waits for the keys");
    drop(impatient);
    assert!(until(async || present(&authenticator, &token).await.ok()).await.subject == "u1");
    assert_eq!(issuer.asked(), 2);
}

#[tokio::test]
async fn rotated_keys_are_found_and_withdrawn_ones_stop_counting_at_once() {
    let (old, new) = (Signer::ed25519("old", 1), Signer::ed25519("new", 2));
    let issuer = FakeIssuer::start(&[&old]).await;
    let authenticator = trusting(&[("corp", impatient(&issuer.url))]);
    let (before, after) = (old.token(&claims(&issuer.url, json!({}))), new.token(&claims(&issuer.url, json!({}))));
    assert!(present(&authenticator, &before).await.is_ok());
    issuer.publish(&[&old, &new]);
    tokio::time::sleep(MOMENT).await;
    assert!(present(&authenticator, &after).await.is_ok(), "found when needed");
    assert!(present(&authenticator, &before).await.is_ok(), "both are published");
    issuer.publish(&[&new]);
    tokio::time::sleep(MOMENT).await;
    let nobodys = Signer::ed25519("nobodys", 3).token(&claims(&issuer.url, json!({})));
    assert_eq!(problem(&authenticator, &nobodys).await, Problem::UnknownKey);
    assert_eq!(problem(&authenticator, &before).await, Problem::UnknownKey, "though it was verified before");
    assert!(present(&authenticator, &after).await.is_ok());
}

#[tokio::test]
async fn keys_are_refreshed_in_the_background() {
    let (old, new) = (Signer::ed25519("same-name", 1), Signer::ed25519("same-name", 2));
    let issuer = FakeIssuer::start(&[&old]).await;
    // Shorter than a config may say, so that the test need not wait.
    let source = keyring::Source { issuer: issuer.url.clone(), uri: issuer.url.parse().expect("a URL"), keys: None };
    let moment = Duration::from_millis(20);
    let patience = keyring::Patience {
        refresh: moment,
        min_refresh: moment,
        max_stale: Duration::from_secs(60),
        timeout: Duration::from_secs(5),
    };
    let keyring = Arc::new(keyring::Keyring::remote(source, patience));
    let kept = keyring.clone();
    tokio::spawn(async move { kept.keep("corp", &Fetcher::new(), &CancellationToken::new()).await });
    let version = until(async || keyring.current()).await.version;
    issuer.publish(&[&new]);
    let changed = until(async || keyring.current().filter(|keys| keys.version != version)).await;
    assert_eq!((changed.version, changed.set.len()), (version + 1, 1));
    let asked = issuer.asked();
    until(async || (issuer.asked() > asked + 2).then_some(())).await;
    assert_eq!(keyring.current().expect("fresh").version, changed.version, "the same keys are the same version");
}

#[tokio::test]
async fn an_issuer_that_is_down_lets_nobody_in_until_it_is_up() {
    let signer = Signer::ed25519("k1", 1);
    let port = FakeIssuer::start(&[&signer]).await.stop().await;
    let url = format!("http://127.0.0.1:{port}");
    let authenticator = trusting(&[("corp", impatient(&url))]);
    let token = signer.token(&claims(&url, json!({})));
    let Err(AuthError::Unavailable { retry_after }) = present(&authenticator, &token).await else { panic!("let in") };
    assert!(retry_after >= Duration::from_secs(1));
    assert!(authenticator.health()["corp"].starts_with("no keys: "), "{:?}", authenticator.health());
    let issuer = FakeIssuer::start_at(port, &[&signer]).await;
    until(async || present(&authenticator, &token).await.ok()).await;

    issuer.stop().await;
    let later = signer.token(&claims(&url, json!({"jti": "2"})));
    assert!(present(&authenticator, &later).await.is_ok(), "keys count while the issuer is gone");
    let newer = Signer::ed25519("newer", 2).token(&claims(&url, json!({})));
    tokio::time::sleep(MOMENT).await;
    let result = present(&authenticator, &newer).await;
    assert!(matches!(result, Err(AuthError::Unavailable { .. })), "its key may be new; nobody can tell: {result:?}");
}

#[tokio::test]
async fn keys_that_grew_too_old_stop_counting_even_for_tokens_verified_before() {
    let signer = Signer::ed25519("k1", 1);
    let issuer = FakeIssuer::start(&[&signer]).await;
    let url = issuer.url.clone();
    // Shorter than a config may say, so that the test need not wait a minute.
    let source = keyring::Source { issuer: url.clone(), uri: url.parse().expect("a URL"), keys: None };
    let (moment, patience) = (Duration::from_millis(50), Duration::from_secs(1));
    let patience = keyring::Patience { refresh: moment, min_refresh: moment, max_stale: patience, timeout: patience };
    let keyring = Arc::new(keyring::Keyring::remote(source, patience));
    let kept = keyring.clone();
    tokio::spawn(async move { kept.keep("corp", &Fetcher::new(), &CancellationToken::new()).await });
    until(async || keyring.current()).await;
    issuer.stop().await;
    until(async || keyring.current().is_none().then_some(())).await;
    assert!(keyring.retry_after().is_some());
    assert!(keyring.health().contains("fetched"), "{}", keyring.health());
}

/// A server that answers every request with these bytes.
async fn saying(response: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let response = response.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut request).await;
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, &response).await;
            });
        }
    });
    url
}

#[tokio::test]
async fn what_an_issuer_may_send_is_bounded_and_checked() {
    let signer = Signer::ed25519("k1", 1);
    let ok = |body: String| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes();
    let elsewhere = FakeIssuer::start(&[&signer]).await;
    for (response, reason) in [
        (ok("x".repeat(300 << 10)), "more than 262144 bytes"),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
                .iter()
                .copied()
                .chain([b"10000\r\n".to_vec(), vec![b'x'; 0x10000], b"\r\n".to_vec()].concat().repeat(6))
                .collect(),
            "more than 262144 bytes",
        ),
        (ok("not json".into()), "something else than expected"),
        (ok(json!({"keys": vec![signer.jwk(); 101]}).to_string()), "101 keys"),
        (format!("HTTP/1.1 302 Found\r\nlocation: {}/keys\r\ncontent-length: 0\r\n\r\n", elsewhere.url).into_bytes(), "302"),
        (b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n".to_vec(), "500"),
        (Vec::new(), "can't be reached"),
    ] {
        let url = saying(response).await;
        let config = IssuerConfig { jwks_uri: Some(format!("{url}/keys")), ..IssuerConfig::at(&url) };
        let authenticator = trusting(&[("corp", config)]);
        let result = present(&authenticator, &signer.token(&claims(&url, json!({})))).await;
        assert!(matches!(result, Err(AuthError::Unavailable { .. })), "{reason}: {result:?}");
        assert!(authenticator.health()["corp"].contains(reason), "{reason}: {:?}", authenticator.health());
    }
    assert_eq!(elsewhere.asked(), 0, "redirects are not followed");
}

#[tokio::test]
async fn an_issuer_that_publishes_no_usable_key_has_withdrawn_them_all() {
    let signer = Signer::ed25519("k1", 1);
    for nothing in [json!([]), json!([{"kty": "oct", "k": "c2VjcmV0", "kid": "k1"}])] {
        let issuer = FakeIssuer::start(&[&signer]).await;
        let authenticator = trusting(&[("corp", impatient(&issuer.url))]);
        let token = signer.token(&claims(&issuer.url, json!({})));
        assert!(present(&authenticator, &token).await.is_ok());
        *issuer.keys.lock().expect("no panic") = json!({"keys": nothing});
        tokio::time::sleep(MOMENT).await;
        let nobodys = Signer::ed25519("nobodys", 3).token(&claims(&issuer.url, json!({})));
        assert_eq!(problem(&authenticator, &nobodys).await, Problem::UnknownKey, "the issuer is not down");
        assert_eq!(problem(&authenticator, &token).await, Problem::UnknownKey, "though it was verified before");
        assert!(authenticator.health()["corp"].contains("no key that could verify"), "{:?}", authenticator.health());
        issuer.publish(&[&signer]);
        tokio::time::sleep(MOMENT).await;
        assert!(present(&authenticator, &token).await.is_ok(), "back again");
    }
}

#[tokio::test]
async fn keys_that_moved_are_found_though_the_old_place_still_answers() {
    let (old, new) = (Signer::ed25519("old", 1), Signer::ed25519("new", 2));
    let (issuer, elsewhere) = (FakeIssuer::start(&[&old]).await, FakeIssuer::start(&[&new]).await);
    let authenticator = trusting(&[("corp", impatient(&issuer.url))]);
    let before = old.token(&claims(&issuer.url, json!({})));
    assert!(present(&authenticator, &before).await.is_ok());
    *issuer.moved.lock().expect("no panic") = Some(format!("{}/keys", elsewhere.url));
    tokio::time::sleep(MOMENT).await;
    assert!(present(&authenticator, &new.token(&claims(&issuer.url, json!({})))).await.is_ok());
    assert_eq!(problem(&authenticator, &before).await, Problem::UnknownKey);
}

#[tokio::test]
async fn an_issuer_that_never_answers_costs_its_timeout_and_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let config = IssuerConfig { timeout: crate::model::Span(Duration::from_millis(200)), ..IssuerConfig::at(&url) };
    let authenticator = trusting(&[("corp", config)]);
    let begun = std::time::Instant::now();
    let result = present(&authenticator, &Signer::ed25519("k1", 1).token(&claims(&url, json!({})))).await;
    assert!(matches!(result, Err(AuthError::Unavailable { .. })), "{result:?}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn metadata_of_another_issuer_is_not_believed() {
    let signer = Signer::ed25519("k1", 1);
    let issuer = FakeIssuer::start(&[&signer]).await;
    let alias = issuer.url.replace("127.0.0.1", "localhost");
    let authenticator = trusting(&[("corp", IssuerConfig::at(&alias))]);
    let result = present(&authenticator, &signer.token(&claims(&alias, json!({})))).await;
    assert!(matches!(result, Err(AuthError::Unavailable { .. })), "{result:?}");
    let health = &authenticator.health()["corp"];
    assert!(health.contains("is that of the issuer") && health.contains(&issuer.url), "{health}");
    assert_eq!(issuer.asked(), 0);
}

#[tokio::test]
async fn the_cache_of_verified_tokens_is_bounded() {
    let signer = Signer::ed25519("k1", 1);
    let issuer = FakeIssuer::start(&[&signer]).await;
    let limits = TokenLimits { cache: crate::model::Bytes::mib(1), ..TokenLimits::default() };
    let authenticator = trusting_within(&[("corp", IssuerConfig::at(&issuer.url))], limits);
    for index in 0..1500 {
        let token = signer.token(&claims(&issuer.url, json!({"jti": index.to_string()})));
        assert!(present(&authenticator, &token).await.is_ok());
    }
    assert!(authenticator.0.cache.memory() <= 1 << 20, "{}", authenticator.0.cache.memory());
    assert!(authenticator.0.cache.memory() > 1 << 18, "it is used at all");
}
