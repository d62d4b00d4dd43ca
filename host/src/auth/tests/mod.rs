//! Tests of the resource server against tokens and issuers of every bad sort.

mod forgeries;
mod issuers;
mod rules;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;

/// What tokens are for.
const RESOURCE: &str = "https://tools.example.com/mcp";

/// A key pair for signing tokens.
struct Signer {
    kid: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer {
    /// A key pair from a seed. Different seeds make different keys.
    fn ed25519(kid: &'static str, seed: u8) -> Self {
        let mut pkcs8 = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        pkcs8.extend([seed; 32]);
        Self { kid, algorithm: Algorithm::EdDSA, key: EncodingKey::from_ed_der(&pkcs8) }
    }

    /// The one P-256 key pair of these tests (RFC 7515, appendix A.3), in PKCS #8.
    fn p256(kid: &'static str) -> Self {
        let (d, x, y) = (
            "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
            "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        );
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("base64");
        let mut pkcs8 = vec![0x30, 0x81, 0x87, 2, 1, 0, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8];
        pkcs8.extend([0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7, 4, 0x6d, 0x30, 0x6b, 2, 1, 1, 4, 0x20]);
        pkcs8.extend(decode(d));
        pkcs8.extend([0xa1, 0x44, 3, 0x42, 0, 4]);
        pkcs8.extend(decode(x));
        pkcs8.extend(decode(y));
        Self { kid, algorithm: Algorithm::ES256, key: EncodingKey::from_ec_der(&pkcs8) }
    }

    fn jwk(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).expect("a public key");
        jwk.common.key_id = Some(self.kid.to_owned());
        serde_json::to_value(jwk).expect("JSON")
    }

    /// A token with these claims and header members; `null` takes one away.
    fn token_with(&self, header: Value, claims: &Value) -> String {
        let mut whole = json!({"alg": format!("{:?}", self.algorithm), "typ": "at+jwt", "kid": self.kid});
        merge(&mut whole, header);
        let signed = format!("{}.{}", encode(&whole), encode(claims));
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &self.key, self.algorithm).expect("signed");
        format!("{signed}.{signature}")
    }

    fn token(&self, claims: &Value) -> String {
        self.token_with(json!({}), claims)
    }
}

fn encode(part: &Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}

fn merge(object: &mut Value, more: Value) {
    let Value::Object(more) = more else { panic!("not an object") };
    for (name, value) in more {
        match value {
            Value::Null => drop(object.as_object_mut().expect("an object").remove(&name)),
            value => object[name] = value,
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// The claims of a good token, changed; `null` takes one away.
fn claims(issuer: &str, changes: Value) -> Value {
    let mut claims = json!({
        "iss": issuer, "sub": "u1", "aud": RESOURCE, "exp": now() + 300, "iat": now(), "jti": "1", "client_id": "c1",
        "scope": "openid read:invoices",
    });
    merge(&mut claims, changes);
    claims
}

/// An issuer's server, which counts what is asked of it.
struct FakeIssuer {
    url: String,
    keys: Arc<std::sync::Mutex<Value>>,
    /// Where its metadata says that its keys are, if not with it.
    moved: Arc<std::sync::Mutex<Option<String>>>,
    asked: Arc<AtomicUsize>,
    server: tokio::task::JoinHandle<()>,
}

impl FakeIssuer {
    async fn start(keys: &[&Signer]) -> Self {
        Self::start_at(0, keys).await
    }

    async fn start_at(port: u16, keys: &[&Signer]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let keys = Arc::new(std::sync::Mutex::new(set(keys)));
        let asked = Arc::new(AtomicUsize::new(0));
        let moved = Arc::new(std::sync::Mutex::new(None::<String>));
        let (issuer, served, counter, place) = (url.clone(), keys.clone(), asked.clone(), moved.clone());
        let server = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (issuer, served, counter, place) = (issuer.clone(), served.clone(), counter.clone(), place.clone());
                let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let (status, body) = match request.uri().path() {
                        "/.well-known/oauth-authorization-server" => {
                            let at = place.lock().expect("no panic").clone().unwrap_or_else(|| format!("{issuer}/keys"));
                            (200, json!({"issuer": issuer, "jwks_uri": at}).to_string())
                        }
                        "/keys" => {
                            counter.fetch_add(1, Ordering::SeqCst);
                            (200, served.lock().expect("no panic").to_string())
                        }
                        _ => (404, String::new()),
                    };
                    let response = http::Response::builder().status(status).header("connection", "close");
                    let response = response.body(Full::new(bytes::Bytes::from(body))).expect("a response");
                    async move { Ok::<_, std::convert::Infallible>(response) }
                });
                let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(async move { drop(connection.await) });
            }
        });
        Self { url, keys, moved, asked, server }
    }

    fn publish(&self, keys: &[&Signer]) {
        *self.keys.lock().expect("no panic") = set(keys);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    async fn stop(self) -> u16 {
        self.server.abort();
        let _ = self.server.await;
        self.url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
    }
}

fn set(keys: &[&Signer]) -> Value {
    json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() })
}

/// An authenticator that trusts these issuers and keeps their keys.
/// Somebody without a token.
fn named(subject: &str) -> Vouched {
    let principal = Arc::new(Principal::named(DEV_ISSUER, subject));
    Arc::new(move || principal.clone())
}

fn trusting(issuers: &[(&str, IssuerConfig)]) -> Authenticator {
    trusting_within(issuers, TokenLimits::default())
}

fn trusting_within(issuers: &[(&str, IssuerConfig)], limits: TokenLimits) -> Authenticator {
    let issuers = issuers.iter().map(|(name, config)| ((*name).to_owned(), config.clone())).collect();
    let authenticator = Authenticator::new(None, named("local"), &issuers, limits).expect("sound configs");
    authenticator.serve_as(RESOURCE);
    authenticator.keep_keys(&TaskTracker::new(), &CancellationToken::new());
    authenticator
}

async fn present(authenticator: &Authenticator, token: &str) -> Result<Arc<Principal>, AuthError> {
    authenticator.authenticate(&Credentials::Bearer(token.to_owned())).await
}

/// Why the token is refused.
async fn problem(authenticator: &Authenticator, token: &str) -> Problem {
    match present(authenticator, token).await {
        Err(AuthError::Invalid(problem)) => problem,
        other => panic!("not refused for good: {other:?}"),
    }
}

fn seconds(count: u64) -> crate::model::Span {
    crate::model::Span(Duration::from_secs(count))
}

#[tokio::test]
async fn callers_without_credentials_are_refused_unless_somebody_vouches_for_them() {
    let closed = trusting(&[]);
    assert_eq!(closed.authenticate(&Credentials::Anonymous).await, Err(AuthError::Missing));
    assert_eq!(closed.local().subject, "local");
    let open = Authenticator::new(Some(named("u1")), named("local"), &BTreeMap::new(), TokenLimits::default());
    let open = open.expect("nothing to be wrong");
    assert_eq!(open.authenticate(&Credentials::Anonymous).await.map(|who| who.subject.clone()), Ok("u1".into()));
    assert!(present(&open, "x").await.is_err(), "a token that can't be verified is never taken for none");
}
