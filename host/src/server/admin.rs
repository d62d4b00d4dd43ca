//! The operator's listener: is the process alive, does it serve calls, what does it measure; and the admin API.

mod api;
mod attempts;
mod config;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::listen::{self, ConnectionLimits};
use crate::auth::AdminToken;
use crate::pipeline::Pipeline;
use api::{API_PATH, Api};

pub use config::{AdminConfig, AdminHosts};

/// Writes all metrics in Prometheus' text format.
pub type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

/// Few ask, and they ask little.
const LIMITS: ConnectionLimits = ConnectionLimits {
    connections: 64,
    head: 16 << 10,
    fields: 64,
    idle: Duration::from_secs(30),
    stall: Duration::from_secs(10),
    // A question to the API may be about to change something.
    drain: Duration::from_secs(15),
};

/// Serves `/healthz`, `/readyz` and `/metrics` on `listener` until `shutdown`, for the names in `hosts` alone; and the admin API, if
/// there is a token for it.
pub async fn serve(
    listener: TcpListener,
    pipeline: Arc<Pipeline>,
    hosts: AdminHosts,
    token: Option<AdminToken>,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    let hosts = Arc::new(hosts);
    let api = token.map(|token| Arc::new(Api::new(pipeline.clone(), token, hosts.clone())));
    let router = router(pipeline, hosts, metrics);
    let service_for = move |peer: SocketAddr| {
        let (router, api) = (router.clone(), api.clone());
        service_fn(move |request: http::Request<Incoming>| {
            let (router, api) = (router.clone(), api.clone());
            async move {
                Ok::<_, Infallible>(match api.filter(|_| request.uri().path().starts_with(API_PATH)) {
                    Some(api) => api.answer(request, peer).await.map(axum::body::Body::new),
                    None => router.oneshot(request.map(axum::body::Body::new)).await.unwrap_or_else(|never| match never {}),
                })
            }
        })
    };
    listen::serve(listener, LIMITS, service_for, shutdown).await;
}

/// What anybody may read who reaches the listener by one of its names.
fn router(pipeline: Arc<Pipeline>, hosts: Arc<AdminHosts>, metrics: Metrics) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready).with_state(pipeline))
        .route("/metrics", get(measured).with_state(metrics))
        .layer(from_fn_with_state(hosts, only_for))
}

async fn only_for(State(hosts): State<Arc<AdminHosts>>, uri: Uri, headers: HeaderMap, request: Request, next: Next) -> Response {
    match hosts.all.check(&uri, &headers) {
        Ok(()) => next.run(request).await,
        Err(error) => (error.status, format!("{}\n", error.message)).into_response(),
    }
}

async fn ready(State(pipeline): State<Arc<Pipeline>>) -> Response {
    let readiness = pipeline.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(serde_json::json!({ "ready": readiness.ready, "detail": readiness.detail }))).into_response()
}

async fn measured(State(metrics): State<Metrics>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics()).into_response()
}
