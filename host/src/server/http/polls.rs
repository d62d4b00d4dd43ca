//! Questions about calls that go on without their callers: as tasks, through the host's own tool, and at a URL for programs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, HeaderValue, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode, request};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::{Asked, Body, Front, Refusal, json as json_response, media};
use crate::model::dialogue::to_requests;
use crate::model::envelope::EffectState;
use crate::model::{CallId, CallRequest, Envelope, ErrorCode, Principal, Rejection, TraceContext};
use crate::pipeline::{Answer, Answered, Cancelled, Ended, Polled};
use crate::server::bearer;
use crate::server::body::RequestBody;
use crate::server::convert::{Recipient, Wire};
use crate::server::era::Era;
use crate::server::headers;
use crate::server::json::read as read_json;
use crate::server::meta::Meta;
use crate::server::operation::Operation;
use crate::server::pending::{CALLS_PATH, whole_seconds};
use crate::server::poll_tool;
use crate::server::rpc::{Id, ResultResponse, RpcError};
use crate::server::task::{TaskMethod, TaskRequest};

/// The methods that the URL of a call takes.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, DELETE");

impl Front {
    /// `tasks/get`, `tasks/update` and `tasks/cancel`.
    pub(super) async fn task(&self, method: TaskMethod, asked: Asked<'_>) -> Result<Response<Body>, Refusal> {
        let Asked { id, mut params, headers, peer, principal, had_token, era } = asked;
        let request = TaskRequest::read(method, &mut params).and_then(|request| {
            headers::check(headers, method.as_str(), "params.taskId", &request.task_id)?;
            Ok((request, Meta::of(&params)?))
        });
        let mut operation = self.begin(method.as_str(), &id, &params, (headers, peer));
        let (request, meta) =
            request.inspect_err(|error| operation.answered(Some(error.code))).map_err(|error| error.answering(id.clone()))?;
        let recipient = Recipient { era, had_token, takes_tasks: meta.takes_tasks(era), ..self.program(era, had_token) };
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
        request: CallRequest,
        principal: &Arc<Principal>,
        recipient: &Recipient,
        mut operation: Operation,
    ) -> Result<Response<Body>, Refusal> {
        let trace = request.spans.position().clone();
        let answer = poll_tool::answer(&self.pipeline, principal, request, &trace, recipient).await;
        operation.told(&answer);
        match answer {
            Ok(result) => Ok(json_response(StatusCode::OK, ResultResponse::new(&id, result).to_bytes())),
            Err(error) => Err(error.answering(id).into()),
        }
    }

    /// `GET`, `POST` and `DELETE` of one call's URL.
    pub(super) async fn handle(&self, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        bearer::check_query(request.uri())?;
        let (parts, body) = request.into_parts();
        let authenticated = self.authenticate(&parts.headers).await;
        let (principal, had_token) = match (authenticated, &parts.method) {
            (Ok(authenticated), &Method::POST) => {
                let trace = Meta::default().trace(Some(&parts.headers));
                return self.answers(&parts, body, &authenticated.0, &trace).await;
            }
            (authenticated, _) => {
                self.bodies.discard(body).await;
                authenticated?
            }
        };
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
                let mut told = json!({"call_id": call, "status": "pending", "state": state, "retry_after_seconds": seconds});
                if let Some(asks) = &pending.asks {
                    told["input_requests"] = to_requests(asks).into();
                }
                return Standing { retry_after: Some(retry_after), ..Standing::new(StatusCode::OK, told) };
            }
            Polled::Unknown => return Standing::unknown(call, trace),
            Polled::Unavailable => return Standing::unreadable(call, trace),
        };
        let status = status(&ended);
        let recipient = self.program(Era::Legacy, had_token);
        match Wire::of_polled(ended.reply, &recipient).without_challenge() {
            Ok(result) => Standing::new(StatusCode::OK, json!({"call_id": call, "status": status, "result": result})),
            // The call is as good as never made: its tool was gone when its turn came.
            Err(error) => {
                let error = json!({"code": error.code, "message": error.message});
                Standing::new(StatusCode::OK, json!({"call_id": call, "status": status, "error": error}))
            }
        }
    }

    /// Answers to what a call asks: `{"input_responses": {…}}`, each as the MCP request would be answered, by its key.
    async fn answers(
        &self,
        parts: &request::Parts,
        body: Incoming,
        principal: &Arc<Principal>,
        trace: &TraceContext,
    ) -> Result<Response<Body>, Refusal> {
        // A page elsewhere can't send JSON without asking first, and is not answered.
        if let Err(error) = media::check_json(&parts.headers) {
            self.bodies.discard(body).await;
            return Err(error.into());
        }
        let RequestBody { bytes, memory: _memory } = self.bodies.read(body).await?;
        let refused = |problem: String| RpcError::http(StatusCode::BAD_REQUEST, problem);
        let document = read_json(&bytes, self.config.json).map_err(|error| refused(format!("the body is not JSON: {error}")))?;
        if let Some(flaw) = document.flaw {
            return Err(refused(flaw.to_string()).into());
        }
        let mut document = document.value;
        let Some(Value::Object(responses)) = document.get_mut("input_responses").map(Value::take) else {
            let problem = "the body must be `{\"input_responses\": {…}}`: an answer for each of `input_requests`, by its key";
            return Err(refused(problem.to_owned()).into());
        };
        let call = parts.uri.path().strip_prefix(CALLS_PATH).and_then(|id| id.parse().ok());
        let Some(call) = call else { return Ok(Standing::unknown(CallId::random(), trace).response()) };
        let trace_id = trace.trace_id();
        let told = match self.pipeline.answer(principal, call, responses).await {
            Answered::Taken => Standing::new(StatusCode::ACCEPTED, json!({"call_id": call, "status": "answered"})),
            Answered::NothingAsked => Standing::new(StatusCode::CONFLICT, Envelope::nothing_asked(call, trace_id).to_json()),
            Answered::Invalid(problems) => {
                Standing::new(StatusCode::BAD_REQUEST, Envelope::answers_unfit(&problems, call, trace_id).to_json())
            }
            Answered::Unknown => Standing::unknown(call, trace),
            Answered::Unavailable => Standing::unavailable(Envelope::answers_not_kept(call, trace_id)),
            Answered::TooMany { retry_after } => {
                let envelope = Envelope::of_rejection(&Rejection::RateLimited { retry_after }, call, trace_id);
                let told = envelope.expect("it has an envelope").to_json();
                Standing { retry_after: Some(retry_after), ..Standing::new(StatusCode::TOO_MANY_REQUESTS, told) }
            }
        };
        Ok(told.response())
    }

    /// A program, which can be told no task and is asked nothing in passing.
    fn program(&self, era: Era, had_token: bool) -> Recipient {
        Recipient { era, had_token, takes_tasks: false, takes_questions: BTreeSet::new(), calls_at: self.calls_at.clone() }
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
        Self::unavailable(Envelope::call_unreadable(call, trace.trace_id()))
    }

    fn unavailable(envelope: Envelope) -> Self {
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
