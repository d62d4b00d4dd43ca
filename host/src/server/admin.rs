//! The operator's listener: is the process alive, does it serve calls, what does it measure.

use std::convert::Infallible;
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

use super::hosts::Hosts;
use super::listen::{self, ConnectionLimits};
use crate::pipeline::Pipeline;

/// Writes all metrics in Prometheus' text format.
pub type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

/// Few ask, and they ask little.
const LIMITS: ConnectionLimits = ConnectionLimits {
    connections: 64,
    head: 16 << 10,
    fields: 64,
    idle: Duration::from_secs(30),
    stall: Duration::from_secs(10),
    drain: Duration::from_secs(1),
};

/// Serves `/healthz`, `/readyz` and `/metrics` on `listener` until `shutdown`.
pub async fn serve(listener: TcpListener, pipeline: Arc<Pipeline>, metrics: Metrics, shutdown: CancellationToken) {
    let router = router(pipeline, metrics);
    let service = service_fn(move |request: http::Request<Incoming>| {
        let router = router.clone();
        async move {
            Ok::<_, Infallible>(router.oneshot(request.map(axum::body::Body::new)).await.unwrap_or_else(|never| match never {}))
        }
    });
    listen::serve(listener, LIMITS, service, shutdown).await;
}

/// The operator's routes, for loopback names alone.
pub fn router(pipeline: Arc<Pipeline>, metrics: Metrics) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready).with_state(pipeline))
        .route("/metrics", get(measured).with_state(metrics))
        .layer(from_fn_with_state(Arc::new(Hosts::loopback()), only_for))
}

async fn only_for(State(hosts): State<Arc<Hosts>>, uri: Uri, headers: HeaderMap, request: Request, next: Next) -> Response {
    match hosts.check(&uri, &headers) {
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
