//! MCP over Streamable HTTP: from one HTTP request to one HTTP response.

mod forward;
pub(super) mod media;
mod polls;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL, CONTENT_TYPE,
    HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::forward::LISTEN;
use super::bearer;
use super::body::{Bodies, RequestBody};
use super::calls::{Call, Event};
use super::challenge::Challenge;
use super::config::{HttpConfig, HttpConfigError};
use super::convert::{Recipient, Wire};
use super::dev_token::{DEV_TOKEN_PATH, DevTokens};
use super::era::Era;
use super::headers;
use super::hosts::Hosts;
use super::listen;
use super::mcp::Mcp;
use super::message::{self, MAX_SMALL_MESSAGE, Message};
use super::meta::Meta;
use super::metadata::ResourceMetadata;
use super::offer::Offer;
use super::operation::Operation;
use super::pending::{CALLS_PATH, whole_seconds};
use super::rpc::{Id, ResultResponse, RpcError};
use super::stream::CallStream;
use super::task::TaskMethod;
use crate::auth::{AuthError, Minter};
use crate::model::{Credentials, POLL_TOOL, Principal, Rejection};
use crate::pipeline::Pipeline;

/// Where MCP is served.
pub const MCP_PATH: &str = "/mcp";

/// A response body: a whole answer or a stream of events.
type Body = Either<Full<Bytes>, UnsyncBoxBody<Bytes, Infallible>>;

/// Serves MCP on `listener` until `shutdown`, then ends what is under way gracefully. With a `minter`, `dev`'s token endpoint
/// stands beside it.
///
/// # Errors
/// The configuration cannot be served; nothing was accepted then.
pub async fn serve(
    listener: TcpListener,
    pipeline: Arc<Pipeline>,
    config: HttpConfig,
    minter: Option<Arc<Minter>>,
    shutdown: CancellationToken,
) -> Result<(), HttpConfigError> {
    config.check_limits()?;
    let limits = config.connection_limits();
    let front = Arc::new(Front::new(pipeline, config, minter, shutdown.clone())?);
    let service_for = move |peer| {
        let front = front.clone();
        service_fn(move |request: Request<Incoming>| {
            let front = front.clone();
            // Boxed: an idle connection needs no room for it.
            async move { Ok::<_, Infallible>(Box::pin(front.answer(request, peer)).await) }
        })
    };
    listen::serve(listener, limits, service_for, shutdown).await;
    Ok(())
}

/// Everything a request needs.
struct Front {
    pipeline: Arc<Pipeline>,
    config: HttpConfig,
    hosts: Hosts,
    metadata: Option<ResourceMetadata>,
    offer: Offer,
    dev_tokens: Option<DevTokens>,
    bodies: Bodies,
    streams: Arc<Semaphore>,
    /// Where programs ask for the answers of calls, up to the call's id.
    calls_at: Arc<str>,
    /// Answers everything but tool calls and what is asked about them.
    mcp: StreamableHttpService<Mcp, NeverSessionManager>,
}

/// One JSON-RPC request, and who asks.
struct Asked<'a> {
    id: Id,
    params: Map<String, Value>,
    headers: &'a HeaderMap,
    peer: SocketAddr,
    principal: Arc<Principal>,
    had_token: bool,
    era: Era,
}

/// A refusal with the headers that only HTTP has.
struct Refusal {
    error: RpcError,
    challenge: Option<HeaderValue>,
    retry_after: Option<Duration>,
}

impl From<RpcError> for Refusal {
    fn from(error: RpcError) -> Self {
        Self { error, challenge: None, retry_after: None }
    }
}

impl Front {
    fn new(
        pipeline: Arc<Pipeline>,
        config: HttpConfig,
        minter: Option<Arc<Minter>>,
        shutdown: CancellationToken,
    ) -> Result<Self, HttpConfigError> {
        let handler =
            Mcp::over_http(pipeline.clone(), config.list_ttl.duration(), shutdown).with_empty_catalogues(config.empty_catalogues);
        // Host, origin and size were checked before, with answers that clients understand.
        let rmcp = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true)
            .with_sse_keep_alive(Some(config.stream_keep_alive.duration()))
            .with_max_request_body_bytes(usize::MAX)
            .disable_allowed_hosts()
            .disable_allowed_origins();
        let sessions = Arc::new(NeverSessionManager::default());
        let resource = config.resource()?;
        Ok(Self {
            offer: Offer::of(pipeline.clone()),
            dev_tokens: minter.map(|minter| DevTokens::new(minter, pipeline.clone(), resource)),
            mcp: StreamableHttpService::new(move || Ok(handler.clone()), sessions, rmcp),
            hosts: config.hosts()?,
            metadata: ResourceMetadata::of(&config)?,
            bodies: Bodies::new(config.max_body, config.max_bodies, config.body_timeout),
            streams: Arc::new(Semaphore::new(config.max_streams)),
            calls_at: config.calls_at()?.into(),
            pipeline,
            config,
        })
    }

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        match self.route(request, peer).await {
            Ok(response) => response,
            Err(Refusal { error, challenge, retry_after }) => {
                tracing::debug!(status = error.status.as_u16(), code = error.code, "refused a request: {}", error.message);
                let mut response = json(error.status, error.to_bytes());
                if error.status == StatusCode::METHOD_NOT_ALLOWED {
                    response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
                }
                if let Some(challenge) = challenge {
                    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
                }
                if let Some(retry_after) = retry_after {
                    response.headers_mut().insert(RETRY_AFTER, whole_seconds(retry_after).into());
                }
                response
            }
        }
    }

    async fn route(&self, request: Request<Incoming>, peer: SocketAddr) -> Result<Response<Body>, Refusal> {
        let (method, path) = (request.method(), request.uri().path());
        if let Some(metadata) = self.metadata.as_ref().filter(|metadata| metadata.is_at(path)) {
            // Anybody may read it, from any page: clients in browsers have to find out whom to ask for a token.
            self.hosts.check_host(request.uri(), request.headers())?;
            return Ok(self.metadata(metadata, method));
        }
        self.hosts.check(request.uri(), request.headers())?;
        match (path, &self.dev_tokens) {
            (MCP_PATH, _) if method == Method::POST => self.post(request, peer).await,
            (MCP_PATH, _) => {
                let problem = "MCP takes POST alone: there are no sessions to delete and no streams to get";
                Err(RpcError::http(StatusCode::METHOD_NOT_ALLOWED, problem).into())
            }
            (DEV_TOKEN_PATH, Some(tokens)) => {
                // Whatever other names this server has, tokens in any name are for programs on this machine alone.
                Hosts::loopback().check(request.uri(), request.headers())?;
                DevTokens::check(method, request.headers())?;
                let RequestBody { bytes, .. } = self.bodies.read(request.into_body()).await?;
                let mut response = json(StatusCode::OK, tokens.answer(&bytes, self.config.json)?.to_string().into_bytes());
                response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                Ok(response)
            }
            // Boxed, as all that is rare: what ten thousand callers wait in has no room for it.
            (path, _) if path.starts_with(CALLS_PATH) => Box::pin(self.handle(request)).await,
            _ => Err(RpcError::http(StatusCode::NOT_FOUND, format!("nothing is here; MCP is served at {MCP_PATH}")).into()),
        }
    }

    fn metadata(&self, metadata: &ResourceMetadata, method: &Method) -> Response<Body> {
        let mut response = match *method {
            Method::GET | Method::HEAD => json(StatusCode::OK, metadata.to_bytes(&self.offer.current())),
            Method::OPTIONS => json(StatusCode::NO_CONTENT, Vec::new()),
            _ => json(StatusCode::METHOD_NOT_ALLOWED, Vec::new()),
        };
        let headers = response.headers_mut();
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET"));
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*"));
        response
    }

    async fn post(&self, request: Request<Incoming>, peer: SocketAddr) -> Result<Response<Body>, Refusal> {
        bearer::check_query(request.uri())?;
        let (mut parts, incoming) = request.into_parts();
        let (principal, had_token) = match self.authenticate(&parts.headers).await {
            Ok(authenticated) => authenticated,
            Err(refusal) => {
                self.bodies.discard(incoming).await;
                return Err(refusal);
            }
        };
        media::check(&parts.headers)?;
        // The share of memory is given back when the answer is ready, and with it the arguments are gone.
        let RequestBody { bytes: body, memory: _memory } = self.bodies.read(incoming).await?;
        match message::read(&body, self.config.json)? {
            Message::Request { id, method, params } => {
                let era = Meta::of(&params).and_then(|meta| Era::of_http(&parts.headers, meta));
                let era = era.map_err(|error| error.answering(id.clone()))?;
                let asked = Asked { id, params, headers: &parts.headers, peer, principal, had_token, era };
                match TaskMethod::of(&method) {
                    _ if method == "tools/call" => {
                        drop(body);
                        return self.call(asked).await;
                    }
                    Some(method) if era == Era::Modern => return Box::pin(self.task(method, asked)).await,
                    _ => {}
                }
                let Asked { id, params, headers, principal, .. } = asked;
                if body.len() > MAX_SMALL_MESSAGE {
                    let problem = format!("only `tools/call` takes more than {MAX_SMALL_MESSAGE} bytes");
                    return Err(RpcError::http(StatusCode::PAYLOAD_TOO_LARGE, problem).answering(id).into());
                }
                if method == LISTEN {
                    let place = self.streams.clone().try_acquire_owned().map_err(|_| {
                        let problem = "too many subscriptions are open; close one or try again later";
                        RpcError::http(StatusCode::SERVICE_UNAVAILABLE, problem).answering(id)
                    })?;
                    parts.extensions.insert(principal);
                    return Ok(self.listen(parts, body, place).await);
                }
                let operation = self.begin(&method, &id, &params, (headers, peer));
                parts.extensions.insert(principal);
                Ok(self.ask(parts, body, operation).await)
            }
            Message::Notification { .. } => {
                Era::check_header(&parts.headers)?;
                if body.len() > MAX_SMALL_MESSAGE {
                    let problem = format!("a notification takes no more than {MAX_SMALL_MESSAGE} bytes");
                    return Err(RpcError::http(StatusCode::PAYLOAD_TOO_LARGE, problem).into());
                }
                parts.extensions.insert(principal);
                Ok(self.notify(parts, body).await)
            }
            Message::Response => Err(RpcError::invalid_request("this server sends no requests, so it takes no responses").into()),
        }
    }

    async fn authenticate(&self, headers: &HeaderMap) -> Result<(Arc<Principal>, bool), Refusal> {
        let credentials = bearer::credentials(headers)?;
        let had_token = credentials != Credentials::Anonymous;
        match self.pipeline.authenticate(&credentials).await {
            Ok(principal) => Ok((principal, had_token)),
            // Not 401: a client would throw away a token that may well be good.
            Err(refused @ AuthError::Unavailable { retry_after }) => {
                let error = RpcError::http(StatusCode::SERVICE_UNAVAILABLE, refused.to_string());
                Err(Refusal { error, challenge: None, retry_after: Some(retry_after) })
            }
            Err(refused) => {
                let rejection = Rejection::Unauthenticated(refused.to_string());
                let challenge = Challenge::of(&rejection, had_token).expect("a caller that is not known is challenged");
                Err(self.challenged(&challenge))
            }
        }
    }

    fn challenged(&self, challenge: &Challenge) -> Refusal {
        let metadata = self.metadata.as_ref().map(ResourceMetadata::url);
        let scopes = self.offer.current();
        let header = challenge.header(metadata, scopes.to_begin_with.as_deref());
        let error = RpcError::http(challenge.status(), challenge.message());
        Refusal { error, challenge: Some(header), retry_after: None }
    }

    async fn call(&self, asked: Asked<'_>) -> Result<Response<Body>, Refusal> {
        let Asked { id, params, headers, peer, principal, had_token, era } = asked;
        let mut operation = self.begin("tools/call", &id, &params, (headers, peer));
        let call = Call::read(params, headers, era, operation.spans()).and_then(|call| {
            operation.calls(&self.pipeline, &call.request.tool);
            if era == Era::Modern {
                headers::check(headers, "tools/call", "params.name", &call.request.tool)?;
                self.check_params(headers, &call, &principal)?;
            }
            Ok(call)
        });
        let call = call.inspect_err(|error| operation.answered(Some(error.code))).map_err(|error| error.answering(id.clone()))?;
        let (takes_tasks, calls_at) = (call.request.takes_tasks(), self.calls_at.clone());
        let takes_questions = call.request.takes_questions.clone();
        let recipient = Recipient { era, had_token, takes_tasks, takes_questions, calls_at };
        if call.request.tool == POLL_TOOL {
            return Box::pin(self.poll(id, call.request, &principal, &recipient, operation)).await;
        }
        let mut running = call.start(&self.pipeline, principal, recipient, CancellationToken::new(), operation);
        let reply = match running.next().await {
            Event::Ended(reply) => reply,
            Event::Step(step) => {
                let stream = CallStream::new(id, running, step, self.config.stream_keep_alive.duration());
                return Ok(event_stream(stream.boxed_unsync()));
            }
        };
        match Wire::of(*reply, &running.recipient) {
            Wire::Result(result) => Ok(json(StatusCode::OK, ResultResponse::new(&id, result).to_bytes())),
            Wire::Error(error) => Err(error.answering(id).into()),
            Wire::Challenge { challenge, .. } => {
                let refusal = self.challenged(&challenge);
                Err(Refusal { error: refusal.error.answering(id), ..refusal })
            }
        }
    }

    /// The operation that a request asks for.
    fn begin(&self, method: &str, id: &Id, params: &Map<String, Value>, http: (&HeaderMap, SocketAddr)) -> Operation {
        Operation::begin(&self.pipeline, method, id, Meta::of(params).unwrap_or_default(), Some(http), None)
    }

    /// Holds the mirrored arguments to their headers, for tools that the caller may know of.
    fn check_params(&self, headers: &HeaderMap, call: &Call, principal: &Arc<Principal>) -> Result<(), RpcError> {
        let Some(tool) = self.pipeline.tool(&call.request.tool) else { return Ok(()) };
        let checked = headers::check_params(headers, &tool.listing.input_schema, &call.request.arguments);
        // A hidden tool must look unknown, so its schema says nothing.
        if checked.is_err() && !self.pipeline.lists(principal, &tool.listing.name) { Ok(()) } else { checked }
    }
}

fn json(status: StatusCode, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(body))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn event_stream(body: UnsyncBoxBody<Bytes, Infallible>) -> Response<Body> {
    let mut response = Response::new(Either::Right(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
