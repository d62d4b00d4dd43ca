//! The admin API: what the operator may ask over the admin socket, asked over HTTP by whoever holds the admin token.
//!
//! `POST /v1/admin/policy/status` is the method `tidegate/policy/status`: its parameters are the body, its result is the answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use rmcp::ErrorData;
use rmcp::model::ErrorCode;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::attempts::Attempts;
use super::config::AdminHosts;
use crate::auth::AdminToken;
use crate::model::{self, Credentials, Span};
use crate::pipeline::Pipeline;
use crate::server::bearer;
use crate::server::body::{Bodies, RequestBody};
use crate::server::challenge::Challenge;
use crate::server::json::{self, JsonLimits};
use crate::server::operator::{self, Operator, PREFIX};
use crate::server::pending::whole_seconds;
use crate::server::rpc::RpcError;

/// What the paths of all methods begin with.
pub const API_PATH: &str = "/v1/admin/";

/// The largest body, in bytes: a question is short.
const MAX_BODY: model::Bytes = model::Bytes::mib(1);

/// The memory that large bodies share.
const MAX_BODIES: model::Bytes = model::Bytes::mib(4);

/// How long a body may take.
const BODY_TIMEOUT: Span = Span::seconds(10);

/// The most questions that are answered at once.
const MOST_AT_ONCE: usize = 16;

/// How long whoever finds no place should wait.
const COME_BACK: Duration = Duration::from_secs(1);

/// Says which page a browser's request comes from (W3C Fetch Metadata). Nobody but a browser sends it.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Everything that is needed to answer.
pub struct Api {
    pipeline: Arc<Pipeline>,
    token: Arc<AdminToken>,
    hosts: Arc<AdminHosts>,
    bodies: Bodies,
    attempts: Attempts,
    places: Arc<Semaphore>,
}

/// Why a question is not answered.
struct Refusal {
    error: RpcError,
    retry_after: Option<Duration>,
    /// A token came along.
    had_token: bool,
}

impl From<RpcError> for Refusal {
    fn from(error: RpcError) -> Self {
        Self { error, retry_after: None, had_token: false }
    }
}

impl Api {
    /// The API for whoever holds `token` and calls it by one of the names in `hosts`.
    pub fn new(pipeline: Arc<Pipeline>, token: AdminToken, hosts: Arc<AdminHosts>) -> Self {
        Self {
            pipeline,
            token: Arc::new(token),
            hosts,
            bodies: Bodies::new(MAX_BODY, MAX_BODIES, BODY_TIMEOUT),
            attempts: Attempts::default(),
            places: Arc::new(Semaphore::new(MOST_AT_ONCE)),
        }
    }

    /// Answers a request from `peer`.
    pub async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Full<Bytes>> {
        let answered = self.route(request, peer).await;
        let (status, body) = match &answered {
            Ok(result) => (StatusCode::OK, result.to_string()),
            Err(Refusal { error, .. }) => {
                (error.status, json!({ "error": { "code": error.code, "message": error.message } }).to_string())
            }
        };
        let mut response = Response::new(Full::new(body.into()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // It stands for this moment and this caller only.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Err(Refusal { error, retry_after, had_token }) = answered {
            tracing::debug!(status = status.as_u16(), %peer, "refused a request to the admin API: {}", error.message);
            match status {
                StatusCode::UNAUTHORIZED => {
                    let challenge = Challenge::Unauthenticated { message: error.message, had_token };
                    headers.insert(WWW_AUTHENTICATE, challenge.header(None, None));
                }
                StatusCode::METHOD_NOT_ALLOWED => {
                    headers.insert(ALLOW, HeaderValue::from_static("POST"));
                }
                _ => {}
            }
            if let Some(retry_after) = retry_after {
                headers.insert(RETRY_AFTER, whole_seconds(retry_after).into());
            }
        }
        response
    }

    async fn route(&self, request: Request<Incoming>, peer: SocketAddr) -> Result<Value, Refusal> {
        let (parts, body) = request.into_parts();
        let allowed = self.check_host(&parts.uri, &parts.headers).and_then(|()| check(&parts.method, &parts.headers));
        let allowed = allowed.and_then(|()| bearer::check_query(&parts.uri)).map_err(Refusal::from);
        let allowed = match allowed {
            Ok(()) => self.authenticate(&parts.headers, peer).await,
            refused => refused,
        };
        if let Err(refusal) = allowed {
            self.bodies.discard(body).await;
            return Err(refusal);
        }
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            let problem = format!("{MOST_AT_ONCE} questions are being answered already; try again later");
            let error = RpcError::http(StatusCode::SERVICE_UNAVAILABLE, problem);
            return Err(Refusal { retry_after: Some(COME_BACK), ..error.into() });
        };
        let RequestBody { bytes, memory: _memory } = self.bodies.read(body).await?;
        let params = params(&bytes)?;
        let path = parts.uri.path();
        let method = format!("{PREFIX}{}", path.strip_prefix(API_PATH).unwrap_or_default());
        let pipeline = self.pipeline.clone();
        // A task of its own: whoever hangs up must not stop halfway what was begun.
        let answering = tokio::spawn(async move {
            let answered = operator::answer(&pipeline, Operator::Token(peer), &method, params).await;
            drop(place);
            answered
        });
        let panicked = |_| Some(Err(ErrorData::internal_error("answering panicked; see the host's log", None)));
        match answering.await.unwrap_or_else(panicked) {
            Some(answered) => Ok(answered.map_err(|error| {
                let status = match error.code {
                    ErrorCode::INVALID_PARAMS => StatusCode::BAD_REQUEST,
                    ErrorCode::METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
                    // In words for people: what was asked for is not there, can't be done, or failed.
                    _ => StatusCode::UNPROCESSABLE_ENTITY,
                };
                RpcError { code: error.code.0, ..RpcError::http(status, error.message) }
            })?),
            None => Err(RpcError::http(StatusCode::NOT_FOUND, format!("there is no `{path}`; see docs/admin.md")).into()),
        }
    }

    /// Refuses what was sent to another name, and to one that no TLS is in front of.
    fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), RpcError> {
        self.hosts.all.check_host(uri, headers)?;
        self.hosts.api.check_host(uri, headers).map_err(|_| {
            let problem =
                "the admin API answers to no name but that in `admin.public_url`: only there the token travels with TLS";
            RpcError::http(StatusCode::FORBIDDEN, problem)
        })
    }

    /// Lets nobody through but those who hold the token. They are let through whoever else fails at their address: behind a proxy,
    /// everybody has the same.
    async fn authenticate(&self, headers: &HeaderMap, peer: SocketAddr) -> Result<(), Refusal> {
        let unauthorized = |message: &str| RpcError::http(StatusCode::UNAUTHORIZED, message);
        let Credentials::Bearer(shown) = bearer::credentials(headers)? else {
            return Err(unauthorized("the admin token is needed, in the header `Authorization: Bearer …`").into());
        };
        let token = self.token.clone();
        let checked = tokio::task::spawn_blocking(move || token.is(&shown)).await;
        match checked {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => {
                metrics::counter!("tidegate_admin_refused_total").increment(1);
                if let Err(retry_after) = self.attempts.failed(peer.ip(), Instant::now()) {
                    let problem =
                        "this is not the admin token of this host, nor were many before it from your address; try again later";
                    let error = RpcError::http(StatusCode::TOO_MANY_REQUESTS, problem);
                    return Err(Refusal { retry_after: Some(retry_after), ..error.into() });
                }
                tracing::warn!(%peer, "somebody showed a wrong admin token");
                Err(Refusal { had_token: true, ..unauthorized("this is not the admin token of this host").into() })
            }
            unchecked => {
                let problem = unchecked
                    .map_or_else(|panic| panic.to_string(), |failed| failed.err().map_or_else(String::new, |e| e.to_string()));
                tracing::error!(problem, "the admin API lets nobody in");
                let problem = "this host can't tell what its admin token is; its log says why";
                Err(RpcError::http(StatusCode::SERVICE_UNAVAILABLE, problem).into())
            }
        }
    }
}

/// Refuses what a page in a browser could make it send: such a page can neither send JSON without asking first, and is not answered
/// then, nor hide where it comes from.
fn check(method: &Method, headers: &HeaderMap) -> Result<(), RpcError> {
    if headers.contains_key(ORIGIN) || headers.get(SEC_FETCH_SITE).is_some_and(|site| site != "none") {
        return Err(RpcError::http(StatusCode::FORBIDDEN, "the admin API is not for pages in browsers"));
    }
    if method != Method::POST {
        return Err(RpcError::http(StatusCode::METHOD_NOT_ALLOWED, "the admin API takes POST alone"));
    }
    let mut kinds = headers.get_all(CONTENT_TYPE).iter();
    let kind = kinds.next().and_then(|kind| kind.to_str().ok()).unwrap_or_default().split(';').next().unwrap_or_default();
    if kinds.next().is_some() || !kind.trim().eq_ignore_ascii_case("application/json") {
        return Err(RpcError::http(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the header `Content-Type` must be `application/json`"));
    }
    Ok(())
}

/// The parameters in a body: an object, or nothing at all.
fn params(body: &[u8]) -> Result<Value, RpcError> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    let refused = |problem: String| RpcError::http(StatusCode::BAD_REQUEST, problem);
    let document = json::read(body, JsonLimits::default()).map_err(|error| refused(format!("the body is not JSON: {error}")))?;
    match document {
        json::Document { flaw: Some(flaw), .. } => Err(refused(flaw.to_string())),
        json::Document { value, .. } if value.is_object() => Ok(value),
        _ => Err(refused("the body is no JSON object; write the parameters of the method into one".to_owned())),
    }
}
