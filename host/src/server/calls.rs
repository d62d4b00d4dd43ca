//! One `tools/call` on its way into the pipeline and while it runs, whatever the transport.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::HeaderMap;
use rmcp::model::ProgressToken;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::convert::Recipient;
use super::era::Era;
use super::headers;
use super::input;
use super::meta::Meta;
use super::operation::Operation;
use super::rpc::RpcError;
use crate::model::{CallRequest, OfferedAnswers, Principal, Spans};
use crate::pipeline::{Caller, Pipeline, Progress, Reply};

/// Progress steps that may wait for the client to read them; the pipeline drops what does not fit.
const PROGRESS_BACKLOG: usize = 16;

/// A `tools/call` as its parameters say it.
#[derive(Debug)]
pub struct Call {
    /// What the pipeline gets.
    pub request: CallRequest,
    /// Where the client wants to hear of progress.
    pub progress: Option<ProgressToken>,
}

impl Call {
    /// Reads the parameters of a `tools/call` that came over HTTP.
    ///
    /// # Errors
    /// The parameters are malformed (-32602).
    pub fn read(mut params: Map<String, Value>, headers: &HeaderMap, era: Era, spans: &Spans) -> Result<Self, RpcError> {
        let (tool, arguments) = tool_and_arguments(&mut params)?;
        let answers = input::offered(&mut params)?;
        Self::new(tool, arguments, answers, Meta::of(&params)?, era, Some(headers), spans)
    }

    /// A call whose parameters are already taken apart. `headers` are those of the HTTP request, if there was one.
    ///
    /// # Errors
    /// What accompanies them, idempotency keys and progress token, is malformed (-32602).
    pub fn new(
        tool: String,
        arguments: Map<String, Value>,
        answers: OfferedAnswers,
        meta: Meta<'_>,
        era: Era,
        headers: Option<&HeaderMap>,
        spans: &Spans,
    ) -> Result<Self, RpcError> {
        let in_header = headers.map(headers::offered_key).transpose()?.flatten();
        let request = CallRequest {
            tool,
            arguments,
            offered_keys: meta.offered_key()?.into_iter().chain(in_header).collect(),
            spans: spans.clone(),
            client_capabilities: meta.declared(era),
            takes_questions: input::taken(meta, era),
            offered_answers: answers,
        };
        Ok(Self { request, progress: meta.progress_token()? })
    }

    /// Hands the call to the pipeline.
    pub fn start(
        self,
        pipeline: &Arc<Pipeline>,
        principal: Arc<Principal>,
        recipient: Recipient,
        cancelled: CancellationToken,
        operation: Operation,
    ) -> Running {
        let (progress, steps) = match self.progress {
            None => (None, None),
            Some(token) => {
                let (sender, steps) = mpsc::channel(PROGRESS_BACKLOG);
                (Some(sender), Some(Steps { token, steps, last: None }))
            }
        };
        let caller = Caller { cancelled: cancelled.clone(), progress };
        let (pipeline, request) = (pipeline.clone(), self.request);
        let call = Box::pin(async move { pipeline.call(principal, request, caller).await });
        Running { call: Some(call), cancelled, steps, recipient, operation }
    }
}

/// Takes the tool's name and the arguments out of the parameters of a `tools/call`.
///
/// # Errors
/// They are malformed (-32602).
pub fn tool_and_arguments(params: &mut Map<String, Value>) -> Result<(String, Map<String, Value>), RpcError> {
    let Some(Value::String(tool)) = params.get_mut("name").map(Value::take) else {
        return Err(RpcError::invalid_params("`params.name` must be a string: the name of a tool"));
    };
    match params.get_mut("arguments").map(Value::take) {
        None | Some(Value::Null) => Ok((tool, Map::new())),
        Some(Value::Object(arguments)) => Ok((tool, arguments)),
        Some(_) => Err(RpcError::invalid_params("`params.arguments` must be an object")),
    }
}

/// A call under way. Dropping it cancels the call and lets it end by itself, so that what it has begun is still recorded.
pub struct Running {
    call: Option<BoxFuture<'static, Reply>>,
    cancelled: CancellationToken,
    operation: Operation,
    steps: Option<Steps>,
    /// Whom to answer.
    pub recipient: Recipient,
}

/// What a running call has to say.
#[derive(Debug)]
pub enum Event {
    /// It made progress.
    Step(Progress),
    /// It ended. Nothing comes after.
    Ended(Box<Reply>),
}

impl Running {
    /// Where the client wants to hear of progress.
    pub fn progress_token(&self) -> Option<&ProgressToken> {
        self.steps.as_ref().map(|steps| &steps.token)
    }

    /// What the call says next. INVARIANT: after `Ended` this is not called again.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        if let Some(step) = self.steps.as_mut().and_then(|steps| steps.poll_next(context)) {
            return Poll::Ready(Event::Step(step));
        }
        let call = self.call.as_mut().expect("a call that has ended is not polled again");
        let Poll::Ready(reply) = call.as_mut().poll(context) else { return Poll::Pending };
        self.call = None;
        self.operation.replied(&reply);
        Poll::Ready(Event::Ended(Box::new(reply)))
    }

    /// What the call says next.
    pub async fn next(&mut self) -> Event {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// Steps that were reported before the call ended and not yet read.
    pub fn remaining_steps(&mut self) -> impl Iterator<Item = Progress> + '_ {
        self.steps.iter_mut().flat_map(|steps| std::iter::from_fn(|| steps.try_next()))
    }
}

impl Future for Running {
    type Output = Reply;

    /// Waits for the end and lets progress go unread.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Reply> {
        loop {
            match std::task::ready!(self.poll_next(context)) {
                Event::Step(_) => {}
                Event::Ended(reply) => return Poll::Ready(*reply),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(call) = self.call.take() else { return };
        self.cancelled.cancel();
        // Without a runtime the process is ending; recovery closes what the call leaves open.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(call);
        }
    }
}

/// Progress on its way to a client: strictly increasing (MCP 2026-07-28, progress), whatever the guest reports.
struct Steps {
    token: ProgressToken,
    steps: mpsc::Receiver<Progress>,
    last: Option<u64>,
}

impl Steps {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Option<Progress> {
        while let Poll::Ready(Some(step)) = self.steps.poll_recv(context) {
            if let Some(step) = self.accept(step) {
                return Some(step);
            }
        }
        None
    }

    fn try_next(&mut self) -> Option<Progress> {
        while let Ok(step) = self.steps.try_recv() {
            if let Some(step) = self.accept(step) {
                return Some(step);
            }
        }
        None
    }

    fn accept(&mut self, step: Progress) -> Option<Progress> {
        let increases = self.last.is_none_or(|last| step.done > last);
        increases.then(|| {
            self.last = Some(step.done);
            step
        })
    }
}

/// The parameters of a `notifications/progress`.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProgressParams<'a> {
    progress_token: &'a ProgressToken,
    progress: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
}

impl<'a> ProgressParams<'a> {
    /// One step, under the client's token.
    pub fn new(token: &'a ProgressToken, step: &'a Progress) -> Self {
        Self { progress_token: token, progress: step.done, total: step.total, message: &step.message }
    }
}

#[cfg(test)]
mod tests;
