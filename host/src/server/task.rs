//! Calls as tasks: the extension `io.modelcontextprotocol/tasks` (ext-tasks 2026-07-28), for clients that declared it.
//!
//! A task is a call that goes on without its caller, and its id is the call's. There are no status notifications: rmcp's
//! subscriptions know no task ids.

use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::convert::{CallResult, Recipient, ResultMeta, Wire};
use super::input;
use super::pending::{iso_8601, whole_millis, whole_seconds};
use super::rpc::RpcError;
use crate::model::dialogue::to_requests;
use crate::model::envelope::EffectState;
use crate::model::{CallId, ErrorCode, Principal, TASKS_EXTENSION, Timestamp, TraceContext};
use crate::pipeline::{Answer, Answered, Cancelled, Ended, Pending, PendingState, Pipeline, Polled};

/// A call as a task: what a `tools/call` is answered with, and what `tasks/get` answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskResult {
    result_type: &'static str,
    task_id: CallId,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_message: Option<&'static str>,
    created_at: String,
    last_updated_at: String,
    /// From its creation, in milliseconds; null while nobody knows.
    ttl_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    poll_interval_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_requests: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<CallResult>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
    #[serde(rename = "_meta")]
    meta: ResultMeta,
}

/// Where a task stands. A tool error is a completed task; only a JSON-RPC error is a failed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Working,
    InputRequired,
    Completed,
    Failed,
    Cancelled,
}

/// An answer without anything in it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Acknowledgement {
    result_type: &'static str,
    #[serde(rename = "_meta")]
    meta: ResultMeta,
}

/// What a question about a task is answered with.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Told {
    /// Where the task stands.
    Task(Box<TaskResult>),
    /// It was heard.
    Heard(Acknowledgement),
}

/// What can be done about a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskMethod {
    /// `tasks/get`
    Get,
    /// `tasks/update`
    Update,
    /// `tasks/cancel`
    Cancel,
}

/// A question about a task, as its parameters say it.
#[derive(Debug)]
pub struct TaskRequest {
    /// What is asked.
    pub method: TaskMethod,
    /// The task, if there may be one of that id.
    pub task_id: String,
    /// The answers that `tasks/update` brings, by the keys of the questions.
    pub responses: Map<String, Value>,
}

impl TaskMethod {
    /// The method of this name, if it is one of these.
    pub fn of(method: &str) -> Option<Self> {
        [Self::Get, Self::Update, Self::Cancel].into_iter().find(|task| task.as_str() == method)
    }

    /// The method's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "tasks/get",
            Self::Update => "tasks/update",
            Self::Cancel => "tasks/cancel",
        }
    }
}

impl TaskRequest {
    /// Reads the parameters of a request.
    ///
    /// # Errors
    /// They are malformed (-32602).
    pub fn read(method: TaskMethod, params: &mut Map<String, Value>) -> Result<Self, RpcError> {
        let Some(Value::String(task_id)) = params.get_mut("taskId").map(Value::take) else {
            return Err(RpcError::invalid_params("`params.taskId` must be a string: the id of a task"));
        };
        let responses = if method == TaskMethod::Update { input::responses(params)? } else { Map::new() };
        Ok(Self { method, task_id, responses })
    }

    /// Does what is asked, for the principal whose task it is.
    ///
    /// # Errors
    /// The client does not declare the extension (-32021), the principal has no such task (-32602), or the ledger can't be read
    /// (-32603).
    pub async fn answer(
        self,
        pipeline: &Pipeline,
        principal: &Arc<Principal>,
        trace: &TraceContext,
        recipient: &Recipient,
    ) -> Result<Told, RpcError> {
        if !recipient.takes_tasks {
            return Err(RpcError::missing_capabilities(&[TASKS_EXTENSION.to_owned()]));
        }
        let call: CallId = self.task_id.parse().map_err(|_| unknown())?;
        let heard = || Told::Heard(Acknowledgement::new(ResultMeta::new(call, trace, recipient.era)));
        if self.method == TaskMethod::Cancel {
            return match pipeline.cancel(principal, call).await {
                Cancelled::Told | Cancelled::TooLate => Ok(heard()),
                Cancelled::Unknown => Err(unknown()),
                Cancelled::Unavailable => Err(unavailable()),
            };
        }
        if self.method == TaskMethod::Update {
            return match pipeline.answer(principal, call, self.responses).await {
                // Answers to what is not asked are ignored (SEP-2663).
                Answered::Taken | Answered::NothingAsked => Ok(heard()),
                Answered::Invalid(problems) => Err(RpcError::invalid_params(problems.join("; "))),
                Answered::Unknown => Err(unknown()),
                Answered::Unavailable => {
                    Err(RpcError::internal("your answers were not kept, and the task waits on; answer again in a few seconds"))
                }
                Answered::TooMany { retry_after } => {
                    let seconds = whole_seconds(retry_after);
                    let problem = format!("you call more often than you may; answer again in {seconds} s");
                    let refused = RpcError::http(StatusCode::TOO_MANY_REQUESTS, problem);
                    Err(refused.with_data(json!({ "retry_after_seconds": seconds })))
                }
            };
        }
        match pipeline.poll(principal, call, trace).await {
            Polled::Unknown => Err(unknown()),
            Polled::Unavailable => Err(unavailable()),
            Polled::Pending(pending) => {
                let meta = ResultMeta::new(call, trace, recipient.era).pending(&pending);
                let task = TaskResult::created(&pending, meta);
                Ok(Told::Task(Box::new(match &pending.asks {
                    None => TaskResult { result_type: "complete", ..task },
                    Some(asks) => TaskResult { result_type: "complete", input_requests: Some(to_requests(asks)), ..task },
                })))
            }
            Polled::Ended(ended) => {
                let meta = ResultMeta::new(call, trace, recipient.era);
                Ok(Told::Task(Box::new(TaskResult::ended(*ended, recipient, meta))))
            }
        }
    }
}

impl TaskResult {
    /// The task of a call that has just been accepted (CreateTaskResult).
    pub fn created(pending: &Pending, meta: ResultMeta) -> Self {
        Self {
            result_type: "task",
            task_id: pending.call,
            status: if pending.state == PendingState::Asking { Status::InputRequired } else { Status::Working },
            status_message: Some(pending.state.as_str()),
            created_at: iso_8601(pending.created),
            last_updated_at: iso_8601(pending.updated),
            // It can't end before now, so it is kept for at least as long as this.
            ttl_ms: Some(whole_millis(pending.kept_for).saturating_add(lifetime_so_far(pending))),
            poll_interval_ms: Some(whole_millis(pending.retry_after)),
            input_requests: None,
            result: None,
            error: None,
            meta,
        }
    }

    fn ended(ended: Ended, recipient: &Recipient, meta: ResultMeta) -> Self {
        let Ended { reply, cancelled, created, ended, expires } = ended;
        let task_id = reply.call_id;
        let (status, result, error) = if cancelled || is_cancelled(&reply.answer) {
            (Status::Cancelled, None, None)
        } else {
            match Wire::of_polled(reply, recipient).without_challenge() {
                Ok(result) => (Status::Completed, Some(result), None),
                Err(error) => (Status::Failed, None, Some(error_object(error))),
            }
        };
        Self {
            result_type: "complete",
            task_id,
            status,
            status_message: None,
            created_at: iso_8601(created),
            last_updated_at: iso_8601(ended),
            ttl_ms: expires.map(|expires| lifetime(created, expires)),
            poll_interval_ms: None,
            input_requests: None,
            result,
            error,
            meta,
        }
    }
}

impl Acknowledgement {
    fn new(meta: ResultMeta) -> Self {
        Self { result_type: "complete", meta }
    }
}

/// Whether the call ended because it was called off, having changed nothing.
fn is_cancelled(answer: &Answer) -> bool {
    matches!(answer, Answer::Error { envelope, .. } if envelope.error == ErrorCode::Cancelled && envelope.effect == EffectState::None)
}

fn lifetime_so_far(pending: &Pending) -> u64 {
    pending.updated.as_millis().saturating_sub(pending.created.as_millis())
}

fn lifetime(created: Timestamp, expires: Timestamp) -> u64 {
    expires.as_millis().saturating_sub(created.as_millis()).max(1)
}

fn error_object(error: RpcError) -> Value {
    let mut object = json!({ "code": error.code, "message": error.message });
    if let Some(data) = error.data {
        object["data"] = *data;
    }
    object
}

/// INVARIANT: an id that was never given out, one of somebody else, and one whose answer is no longer kept look the same.
fn unknown() -> RpcError {
    RpcError::invalid_params("there is no task with this id: it is not yours, its result is no longer kept, or it never was")
}

fn unavailable() -> RpcError {
    RpcError::internal("where the task stands can't be read now; ask again later")
}

#[cfg(test)]
mod tests;
