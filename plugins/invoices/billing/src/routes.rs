//! The HTTP side of the book.

use std::io::Write;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::body::{Body, Bytes};
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use futures::stream::{self, StreamExt};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::{Book, BookError, Counts, Effect, Fault, FaultKind, Faults, Invoice, NewInvoice, Status};

/// The largest request body, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The most requests to invoices at a time; more are refused with 503.
const MAX_IN_FLIGHT: usize = 1024;

/// So many headers are more than any client takes.
const MANY_HEADERS: usize = 20_000;

/// The API of this book, on the routes the crate documents.
pub fn router(book: Book, faults: Faults) -> Router {
    let troubles = Arc::new(Troubles { faults, in_flight: Semaphore::new(MAX_IN_FLIGHT) });
    Router::new()
        .route("/invoices", get(list).post(create))
        .route("/invoices/{id}", get(read))
        .route("/invoices/{id}/pay", post(pay))
        .route_layer(from_fn_with_state(troubles.clone(), trouble))
        .route("/effects", get(effects))
        .route("/counts", get(counts))
        .route("/healthz", get(async || "ok"))
        .route("/fault", put(async move |fault: String| set_fault(&troubles.faults, &fault)))
        .fallback(async || Refusal::NoRoute)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(book)
}

/// The same routes, with one line of JSON per request on stderr.
pub fn logged(router: Router) -> Router {
    router.layer(from_fn(log))
}

struct Troubles {
    faults: Faults,
    in_flight: Semaphore,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    user_id: Option<String>,
    status: Option<String>,
}

async fn list(
    State(book): State<Book>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<serde_json::Value>, Refusal> {
    let Query(filter) = filter?;
    let status = match filter.status {
        None => None,
        Some(status) => Some(
            Status::parse(&status)
                .ok_or_else(|| BookError::Invalid(format!("there is no status `{status}`: it is `open`, `paid` or `void`")))?,
        ),
    };
    let (invoices, truncated) = run(move || book.list(filter.user_id.as_deref(), status)).await?;
    Ok(Json(json!({ "invoices": invoices, "truncated": truncated })))
}

async fn create(
    State(book): State<Book>,
    new: Result<Json<NewInvoice>, JsonRejection>,
) -> Result<(StatusCode, Json<Invoice>), Refusal> {
    let Json(new) = new?;
    let invoice = run(move || book.create(&new)).await?;
    Ok((StatusCode::CREATED, Json(invoice)))
}

async fn read(State(book): State<Book>, Path(id): Path<String>) -> Result<Json<Invoice>, Refusal> {
    Ok(Json(run(move || book.get(&id)).await?))
}

async fn pay(State(book): State<Book>, Path(id): Path<String>, headers: HeaderMap) -> Result<impl IntoResponse, Refusal> {
    let key = match headers.get("idempotency-key") {
        None => None,
        Some(key) => {
            Some(key.to_str().map_err(|_| BookError::Invalid("an idempotency key is visible ASCII".to_owned()))?.to_owned())
        }
    };
    let response = run(move || book.pay(&id, key.as_deref())).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], response))
}

async fn effects(State(book): State<Book>) -> Result<Json<Vec<Effect>>, Refusal> {
    Ok(Json(run(move || book.effects()).await?))
}

async fn counts(State(book): State<Book>) -> Result<Json<Counts>, Refusal> {
    Ok(Json(run(move || book.counts()).await?))
}

fn set_fault(faults: &Faults, fault: &str) -> Result<&'static str, Refusal> {
    let fault = match fault.trim() {
        "" => None,
        fault => Some(fault.parse::<Fault>().map_err(|problem| Refusal::Malformed(StatusCode::BAD_REQUEST, problem))?),
    };
    faults.set(fault);
    Ok("set")
}

/// SQLite waits for the disk; the runtime must not.
async fn run<T: Send + 'static>(work: impl FnOnce() -> Result<T, BookError> + Send + 'static) -> Result<T, Refusal> {
    match spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Refusal::Broken),
    }
}

async fn trouble(State(troubles): State<Arc<Troubles>>, mut request: Request, next: Next) -> Response {
    let Ok(_permit) = troubles.in_flight.try_acquire() else { return Refusal::Overloaded.into_response() };
    let latency = troubles.faults.latency();
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    if troubles.faults.strikes() {
        return Refusal::Struck.into_response();
    }
    if troubles.faults.ignores_filters() {
        *request.uri_mut() = Uri::from_static("/invoices");
    }
    let changes = request.method() != Method::GET;
    let fault = troubles.faults.meets(changes);
    match fault {
        Some(FaultKind::Hang) => std::future::pending().await,
        Some(FaultKind::Busy) => return Refusal::Busy.into_response(),
        Some(FaultKind::Unavailable) => return Refusal::Unavailable.into_response(),
        _ => {}
    }
    let response = match (next.run(request).await, fault) {
        (_, Some(FaultKind::Gateway)) => Refusal::Gateway.into_response(),
        (response, Some(FaultKind::Garbage)) => (response.status(), "<html>it works!</html>").into_response(),
        (response, Some(FaultKind::Truncated)) => truncated(response.status()),
        (response, Some(FaultKind::Headers)) => with_headers_without_end(response),
        (response, _) => response,
    };
    if changes && troubles.faults.loses_answer() {
        // Whoever asked waits until they give up: this future ends with their connection.
        std::future::pending::<()>().await;
    }
    response
}

/// The beginning of an answer that promises more.
fn truncated(status: StatusCode) -> Response {
    let begins = stream::iter([Ok(Bytes::from_static(b"{\"id\":\"inv_0"))]);
    let breaks = stream::once(async {
        // The beginning is on its way before the end is known.
        tokio::task::yield_now().await;
        Err(std::io::Error::other("truncated on purpose"))
    });
    let mut response = (status, Body::from_stream(begins.chain(breaks))).into_response();
    response.headers_mut().insert(header::CONTENT_LENGTH, header::HeaderValue::from_static("500"));
    response
}

/// Two megabytes of headers.
fn with_headers_without_end(mut response: Response) -> Response {
    for _ in 0..MANY_HEADERS {
        response
            .headers_mut()
            .append("x-more", header::HeaderValue::from_static("and another one, as long as you like to read on"));
    }
    response
}

async fn log(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let mut line = json!({
        "at": humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
        "method": request.method().as_str(),
        "path": request.uri().path(),
        "idempotency_key": text(request.headers(), "idempotency-key"),
        "traceparent": text(request.headers(), "traceparent"),
    });
    let response = next.run(request).await;
    line["status"] = json!(response.status().as_u16());
    line["micros"] = json!(started.elapsed().as_micros());
    // Nobody may be reading; the request counts all the same.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
    response
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Why a request was not served.
enum Refusal {
    Book(BookError),
    Malformed(StatusCode, String),
    NoRoute,
    Overloaded,
    Struck,
    Busy,
    Unavailable,
    Gateway,
    Broken,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, error, message) = match self {
            Refusal::Book(error) => {
                let (status, code) = match error {
                    BookError::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
                    BookError::NotOpen { .. } => (StatusCode::CONFLICT, "not_open"),
                    BookError::KeyReused(_) => (StatusCode::UNPROCESSABLE_ENTITY, "key_reused"),
                    BookError::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
                    BookError::Sqlite(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
                };
                (status, code, error.to_string())
            }
            Refusal::Malformed(status, message) => (status, "malformed", message),
            Refusal::NoRoute => (StatusCode::NOT_FOUND, "no_route", "there is no such route".to_owned()),
            Refusal::Overloaded => {
                (StatusCode::SERVICE_UNAVAILABLE, "overloaded", format!("more than {MAX_IN_FLIGHT} requests at a time"))
            }
            Refusal::Struck => (StatusCode::SERVICE_UNAVAILABLE, "struck", "failing on purpose".to_owned()),
            Refusal::Busy => (StatusCode::TOO_MANY_REQUESTS, "busy", "asked too often, on purpose".to_owned()),
            Refusal::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "out of order on purpose".to_owned()),
            Refusal::Gateway => (StatusCode::BAD_GATEWAY, "gateway", "the answer was lost on purpose".to_owned()),
            Refusal::Broken => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "the request broke off".to_owned()),
        };
        let mut response = (status, Json(json!({ "error": error, "message": message }))).into_response();
        let says_when = matches!(error, "overloaded" | "struck" | "busy");
        if says_when {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<BookError> for Refusal {
    fn from(error: BookError) -> Refusal {
        Refusal::Book(error)
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Refusal {
        Refusal::Malformed(rejection.status(), rejection.body_text())
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Refusal {
        Refusal::Malformed(rejection.status(), rejection.body_text())
    }
}
