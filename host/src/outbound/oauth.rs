//! Tokens by client credentials (RFC 6749 §4.4): fetched once for all who wait, kept for as long as they last.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use serde::Deserialize;
use tokio::time::Instant;
use url::form_urlencoded::{Serializer, byte_serialize};
use zeroize::Zeroizing;

use super::backend::is_this_machine;
use super::connect::{self, Client, Connecting};
use super::credential::{Credential, basic};
use super::error::OutboundError;
use super::secret::{Keeper, Secret};
use super::tls::{self, Identity};

/// How long one request for a token may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer to it.
const MAX_ANSWER: usize = 64 << 10;
/// How long a token lasts whose server does not say so.
const LIFETIME: Duration = Duration::from_secs(300);
/// A new token is fetched at most so long before the old one ends: other clocks differ, and requests take time.
const AHEAD: Duration = Duration::from_secs(60);
/// How long to wait after a failure, and how old a token must be to be replaced because a backend refuses it. Otherwise each request
/// would cost one for a token.
const PAUSE: Duration = Duration::from_secs(1);

/// How the host proves who it is to the server that gives out tokens (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// In the `Authorization` header.
    #[default]
    Basic,
    /// In the form.
    Body,
}

/// Why there is no token. Holds nothing secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no token from `{url}`: {problem}")]
pub(super) struct NoToken {
    url: Uri,
    problem: String,
}

/// The tokens of one backend.
pub(super) struct Tokens {
    owner: String,
    client: Client,
    url: Uri,
    keeper: Keeper,
    client_id: String,
    client_auth: ClientAuth,
    /// What is asked for, beside who asks.
    form: Vec<(&'static str, String)>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    fetching: Option<Fetching>,
    failed: Option<(Instant, NoToken)>,
}

type Fetching = Shared<BoxFuture<'static, Result<HeaderValue, NoToken>>>;

#[derive(Clone)]
struct Token {
    value: HeaderValue,
    fetched: Instant,
    /// From when on another one is fetched.
    renewed: Instant,
    /// From when on it is worth nothing.
    ends: Instant,
}

/// RFC 6749 §5.1.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    token_type: String,
    expires_in: Option<u64>,
}

/// RFC 6749 §5.2.
#[derive(Deserialize)]
struct Refused {
    error: String,
}

impl Tokens {
    /// The tokens that `config` describes. Nothing is fetched yet.
    ///
    /// # Errors
    /// The address of the server is none that a secret may be sent to.
    pub(super) fn new(owner: &str, config: &Credential, keeper: Keeper) -> Result<Arc<Self>, OutboundError> {
        let text = config.token_url.as_deref().unwrap_or_default();
        let url = token_url(text).map_err(|problem| OutboundError::Credential {
            backend: owner.to_owned(),
            problem: format!("`token_url` {problem}; write for example \"https://id.example.com/token\""),
        })?;
        let ca = config.ca.clone().unwrap_or_default();
        let mut form = vec![("grant_type", "client_credentials".to_owned())];
        let asked = [("scope", &config.scope), ("audience", &config.audience), ("resource", &config.resource)];
        form.extend(asked.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
        Ok(Arc::new(Self {
            owner: owner.to_owned(),
            client: Connecting::seldom(tls::client_config(owner, &ca, Identity::NONE)?).client(),
            url,
            keeper,
            client_id: config.client_id.clone().unwrap_or_default(),
            client_auth: config.client_auth.unwrap_or_default(),
            form,
            state: Mutex::default(),
        }))
    }

    /// The token as a header's value, from the server if there is none that lasts.
    ///
    /// # Errors
    /// The server gives none `within` this time. If it gives none at all, it is not asked again for a moment.
    pub(super) async fn current(self: &Arc<Self>, within: Duration) -> Result<HeaderValue, NoToken> {
        let fetching = {
            let mut state = self.state();
            let now = Instant::now();
            match state.token.clone() {
                Some(token) if now < token.renewed => return Ok(token.value),
                Some(token) if now < token.ends => {
                    // It lasts for this request. The next one is fetched meanwhile; if that fails, the log says so.
                    let _ = self.fetching(&mut state);
                    return Ok(token.value);
                }
                _ => self.fetching(&mut state)?,
            }
        };
        let late = || NoToken { url: self.url.clone(), problem: format!("there is none yet after {within:?}") };
        tokio::time::timeout(within, fetching).await.unwrap_or_else(|_| Err(late()))
    }

    /// The backend refused `used`: fetches another token, unless there is one already. Whether there is, `within` this time.
    pub(super) async fn replace(self: &Arc<Self>, used: &HeaderValue, within: Duration) -> bool {
        let fetching = {
            let mut state = self.state();
            match &state.token {
                Some(token) if token.value != used => return true,
                // A token this new is not at fault, unless its server takes it back for the next one.
                Some(token) if token.fetched.elapsed() < PAUSE && state.fetching.is_none() => return false,
                _ => {}
            }
            state.token = None;
            self.fetching(&mut state)
        };
        match fetching {
            Ok(fetching) => tokio::time::timeout(within, fetching).await.is_ok_and(|fetched| fetched.is_ok()),
            Err(_) => false,
        }
    }

    /// The one request for a token that is under way, or a new one.
    fn fetching(self: &Arc<Self>, state: &mut State) -> Result<Fetching, NoToken> {
        if let Some(fetching) = &state.fetching {
            return Ok(fetching.clone());
        }
        if let Some((at, error)) = &state.failed
            && at.elapsed() < PAUSE
        {
            return Err(error.clone());
        }
        // A task of its own: whoever asked for it may be gone before it is there, and others wait for it.
        let task = tokio::spawn(Arc::clone(self).fetch());
        let url = self.url.clone();
        let fetched = task.map(move |done| done.unwrap_or_else(|error| Err(NoToken { url, problem: error.to_string() })));
        let fetching = fetched.boxed().shared();
        state.fetching = Some(fetching.clone());
        Ok(fetching)
    }

    async fn fetch(self: Arc<Self>) -> Result<HeaderValue, NoToken> {
        let asked = Instant::now();
        let result = tokio::time::timeout(TIMEOUT, self.exchange()).await;
        let result = result.unwrap_or_else(|_| Err(format!("it did not answer within {TIMEOUT:?}")));
        let mut state = self.state();
        state.fetching = None;
        match result {
            Ok((value, lifetime)) => {
                let ends = asked + lifetime;
                let renewed = ends - AHEAD.min(lifetime / 4);
                state.token = Some(Token { value: value.clone(), fetched: Instant::now(), renewed, ends });
                state.failed = None;
                tracing::debug!(backend = self.owner, ?lifetime, "got a token");
                Ok(value)
            }
            Err(problem) => {
                let error = NoToken { url: self.url.clone(), problem };
                tracing::warn!(backend = self.owner, %error, "the host can't get what lets it in at a backend");
                state.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    async fn exchange(&self) -> Result<(HeaderValue, Duration), String> {
        // Read for each token: it may have been replaced since.
        let (keeper, owner) = (self.keeper.clone(), self.owner.clone());
        let secret = tokio::task::spawn_blocking(move || keeper.read(&owner)).await.map_err(|error| error.to_string())?;
        let request = self.request(&secret.map_err(|error| error.to_string())?)?;
        let response = self.client.request(request).await.map_err(|error| connect::explain(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|_| "its answer is broken or too long")?.to_bytes();
        if status != StatusCode::OK {
            // Only what the standard knows is told: a server may repeat what it was sent.
            const KNOWN: [&str; 6] = [
                "invalid_request",
                "invalid_client",
                "invalid_grant",
                "unauthorized_client",
                "unsupported_grant_type",
                "invalid_scope",
            ];
            let refused = serde_json::from_slice::<Refused>(&body).ok();
            let known = refused.and_then(|refused| KNOWN.into_iter().find(|known| *known == refused.error));
            return Err(known.map_or_else(|| format!("it answers {status}"), |known| format!("it answers {status}: {known}")));
        }
        let granted: Granted = serde_json::from_slice(&body).map_err(|_| "its answer is not one with a token")?;
        let secret = Secret::new(granted.access_token);
        if !granted.token_type.eq_ignore_ascii_case("bearer") {
            return Err("its token is not a bearer token".to_owned());
        }
        let value = secret.header("Bearer ").ok_or("its token cannot be sent in a header")?;
        // Longer than a day is as good as for ever, and sums stay small.
        let lifetime = granted.expires_in.map_or(LIFETIME, |seconds| Duration::from_secs(seconds.min(86_400)));
        Ok((value, lifetime))
    }

    fn request(&self, secret: &Secret) -> Result<Request<Full<bytes::Bytes>>, String> {
        let mut request = Request::post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")));
        let mut form = Serializer::new(String::new());
        form.extend_pairs(&self.form);
        match self.client_auth {
            ClientAuth::Basic => {
                let encoded = |text: &str| Zeroizing::new(byte_serialize(text.as_bytes()).collect::<String>());
                let pair = basic(&encoded(&self.client_id), &encoded(secret.expose())).and_then(|pair| pair.header("Basic "));
                request = request.header(header::AUTHORIZATION, pair.ok_or("its secret is empty")?);
            }
            ClientAuth::Body => {
                form.append_pair("client_id", &self.client_id).append_pair("client_secret", secret.expose());
            }
        }
        let body = Zeroizing::new(form.finish().into_bytes());
        request.body(Full::new(bytes::Bytes::from_owner(body))).map_err(|error| error.to_string())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a secret may be sent (RFC 6749 §3.2): over TLS, or to this very machine.
fn token_url(text: &str) -> Result<Uri, &'static str> {
    let uri: Uri = text.parse().ok().filter(|_| !text.contains('#')).ok_or("is not a URL")?;
    let authority = uri.authority().filter(|authority| !authority.host().is_empty()).ok_or("is not a URL")?;
    if authority.as_str().contains('@') {
        return Err("holds a user name");
    }
    let is_here = is_this_machine(authority.host());
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        Some("http") if is_here => Ok(uri),
        Some("http") => Err("is not `https`, and the secret must not travel in clear"),
        _ => Err("is not a URL"),
    }
}
