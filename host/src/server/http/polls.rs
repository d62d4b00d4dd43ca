//! Questions about calls that go on without their callers: as tasks, through the host's own tool, and at a URL for programs.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, HeaderValue, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::{Asked, Body, Front, Refusal, json as json_response};
use crate::model::envelope::EffectState;
use crate::model::{CallId, CallRequest, Envelope, ErrorCode, Principal, TraceContext};
use crate::pipeline::{Answer, Cancelled, Ended, Polled};
use crate::server::bearer;
use crate::server::convert::{Recipient, Wire};
use crate::server::era::Era;
use crate::server::headers;
use crate::server::meta::Meta;
use crate::server::operation::Operation;
use crate::server::pending::{CALLS_PATH, whole_seconds};
use crate::server::poll_tool;
use crate::server::rpc::{Id, ResultResponse};
use crate::server::task::{TaskMethod, TaskRequest};

/// The methods that the URL of a call takes.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, DELETE");

impl Front {
    /// `tasks/get`, `tasks/update` and `tasks/cancel`.
    pub(super) async fn task(&self, method: TaskMethod, asked: Asked<'_>) -> Result<Response<Body>, Refusal> {
        let Asked { id, params, headers, peer, principal, had_token, era } = asked;
        let request = TaskRequest::read(method, &params).and_then(|request| {
            headers::check(headers, method.as_str(), "params.taskId", &request.task_id)?;
            Ok((request, Meta::of(&params)?))
        });
        let mut operation = self.begin(method.as_str(), &id, &params, (headers, peer));
        let (request, meta) =
            request.inspect_err(|error| operation.answered(Some(error.code))).map_err(|error| error.answering(id.clone()))?;
        let recipient = Recipient { era, had_token, takes_tasks: meta.takes_tasks(era), calls_at: self.calls_at.clone() };
        let answer = request.answer(&self.pipeline, &principal, operation.spans().position(), &recipient).await;
        operation.answered(answer.as_ref().err().map(|error| error.code));
        match answer {
            Ok(told) => Ok(json_response(StatusCode::OK, ResultResponse::new(&id, told).to_bytes())),
            Err(error) => Err(error.answering(id).into()),
        }
    }

    /// A call of the host's own tool.
    pub(super) async fn poll(
        &self,
        id: Id,
        request: &CallRequest,
        principal: &Arc<Principal>,
        recipient: &Recipient,
        mut operation: Operation,
    ) -> Result<Response<Body>, Refusal> {
        let trace = request.spans.position();
        let answer = poll_tool::answer(&self.pipeline, principal, &request.arguments, trace, recipient).await;
        operation.told(&answer);
        match answer {
            Ok(result) => Ok(json_response(StatusCode::OK, ResultResponse::new(&id, result).to_bytes())),
            Err(error) => Err(error.answering(id).into()),
        }
    }

    /// `GET` and `DELETE` of one call's URL.
    pub(super) async fn handle(&self, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        bearer::check_query(request.uri())?;
        let (parts, body) = request.into_parts();
        let authenticated = self.authenticate(&parts.headers).await;
        self.bodies.discard(body).await;
        let (principal, had_token) = authenticated?;
        let trace = Meta::default().trace(Some(&parts.headers));
        // What is no call id is the id of no call.
        let call = parts.uri.path().strip_prefix(CALLS_PATH).and_then(|id| id.parse().ok());
        let told = match (parts.method, call) {
            (Method::GET | Method::HEAD, Some(call)) => self.stands(call, &principal, &trace, had_token).await,
            (Method::DELETE, Some(call)) => self.call_off(call, &principal, &trace).await,
            (Method::GET | Method::HEAD | Method::DELETE, None) => Standing::unknown(CallId::random(), &trace),
            _ => {
                let mut response = json_response(StatusCode::METHOD_NOT_ALLOWED, Vec::new());
                response.headers_mut().insert(ALLOW, METHODS);
                return Ok(response);
            }
        };
        Ok(told.response())
    }

    async fn stands(&self, call: CallId, principal: &Arc<Principal>, trace: &TraceContext, had_token: bool) -> Standing {
        let ended = match self.pipeline.poll(principal, call, trace).await {
            Polled::Ended(ended) => *ended,
            Polled::Pending(pending) => {
                let (state, retry_after) = (pending.state.as_str(), pending.retry_after);
                let seconds = whole_seconds(retry_after);
                let told = json!({"call_id": call, "status": "pending", "state": state, "retry_after_seconds": seconds});
                return Standing { retry_after: Some(retry_after), ..Standing::new(StatusCode::OK, told) };
            }
            Polled::Unknown => return Standing::unknown(call, trace),
            Polled::Unavailable => return Standing::unreadable(call, trace),
        };
        let status = status(&ended);
        let recipient = Recipient { era: Era::Legacy, had_token, takes_tasks: false, calls_at: self.calls_at.clone() };
        match Wire::of_polled(ended.reply, &recipient).without_challenge() {
            Ok(result) => Standing::new(StatusCode::OK, json!({"call_id": call, "status": status, "result": result})),
            // The call is as good as never made: its tool was gone when its turn came.
            Err(error) => {
                let error = json!({"code": error.code, "message": error.message});
                Standing::new(StatusCode::OK, json!({"call_id": call, "status": status, "error": error}))
            }
        }
    }

    async fn call_off(&self, call: CallId, principal: &Arc<Principal>, trace: &TraceContext) -> Standing {
        match self.pipeline.cancel(principal, call).await {
            Cancelled::Told => Standing::new(StatusCode::ACCEPTED, json!({"call_id": call, "status": "cancelling"})),
            Cancelled::TooLate => Standing::new(StatusCode::CONFLICT, Envelope::already_ended(call, trace.trace_id()).to_json()),
            Cancelled::Unknown => Standing::unknown(call, trace),
            Cancelled::Unavailable => Standing::unreadable(call, trace),
        }
    }
}

/// How a call that ended stands: nobody may know whether it took effect.
fn status(ended: &Ended) -> &'static str {
    match &ended.reply.answer {
        _ if ended.cancelled => "cancelled",
        Answer::Error { envelope, .. } if envelope.error == ErrorCode::OutcomeUnknown => "unknown",
        Answer::Error { envelope, .. } if envelope.error == ErrorCode::Cancelled && envelope.effect == EffectState::None => {
            "cancelled"
        }
        _ => "done",
    }
}

/// What a program is told at the URL of a call.
struct Standing {
    status: StatusCode,
    told: Value,
    retry_after: Option<Duration>,
}

impl Standing {
    fn new(status: StatusCode, told: Value) -> Self {
        Self { status, told, retry_after: None }
    }

    fn unknown(call: CallId, trace: &TraceContext) -> Self {
        Self::new(StatusCode::NOT_FOUND, Envelope::no_such_call(call, trace.trace_id()).to_json())
    }

    fn unreadable(call: CallId, trace: &TraceContext) -> Self {
        let envelope = Envelope::call_unreadable(call, trace.trace_id());
        let retry_after = envelope.retry_after_seconds.map(Duration::from_secs);
        Self { retry_after, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, envelope.to_json()) }
    }

    fn response(self) -> Response<Body> {
        let mut response = json_response(self.status, self.told.to_string().into_bytes());
        let headers = response.headers_mut();
        // It stands only for this moment and this caller.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(retry_after) = self.retry_after {
            headers.insert(RETRY_AFTER, whole_seconds(retry_after).into());
        }
        response
    }
}
