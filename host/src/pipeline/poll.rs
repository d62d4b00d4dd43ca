//! Asking for the answer of a call that went on without its caller, and calling it off.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::refusal::Refusal;
use super::reply::CallOf;
use super::rows::Rows;
use super::turn::Attached;
use super::{Answer, Call, Pipeline, Reply, checks, facts};
use crate::ledger::{CallStatus, LedgerError, StoredResponse, WhyNot};
use crate::model::{
    Arguments, CallId, Effect, Envelope, Principal, Question, Rejection, Spans, TestHook, Timestamp, TraceContext,
};

/// A call that goes on without its caller. Its id is the handle: durable before it is given out, and no use to anybody else.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    /// The call.
    pub call: CallId,
    /// Whether it waits or runs.
    pub state: PendingState,
    /// What its caller has to be asked, if it waits for that.
    pub asks: Option<Arc<Vec<Question>>>,
    /// When it was accepted.
    pub created: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// When asking for its answer makes sense.
    pub retry_after: Duration,
    /// How long its answer will be kept, from its end.
    pub kept_for: Duration,
}

/// What a call does that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingState {
    /// It waits for its turn.
    Queued,
    /// It waits for answers of its caller.
    Asking,
    /// It runs.
    Running,
}

impl PendingState {
    /// The state as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Asking => "input_required",
            Self::Running => "running",
        }
    }
}

/// What whoever asks with a handle is told.
#[derive(Clone, Debug)]
pub enum Polled {
    /// The call has not ended.
    Pending(Pending),
    /// It has. The rows of the answer were decided anew.
    Ended(Box<Ended>),
    /// There is no such call, or it is somebody else's, or its answer is no longer kept: the three look the same.
    Unknown,
    /// The ledger can't be read now.
    Unavailable,
}

/// The end of a call that is asked for later.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The answer, under the id of the call it belongs to.
    pub reply: Reply,
    /// Whether it was called off before it ran.
    pub cancelled: bool,
    /// When the call was accepted.
    pub created: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// Until when the answer is kept; without end while nobody knows how the call ended.
    pub expires: Option<Timestamp>,
}

/// What came of calling a call off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It was waiting, and will not run; or it runs and was told, which is all that can be done to one that may have begun to
    /// change something.
    Told,
    /// It had ended before.
    TooLate,
    /// As [`Polled::Unknown`].
    Unknown,
    /// As [`Polled::Unavailable`].
    Unavailable,
}

/// How long whoever asks waits for a turn to have the rows of the answer decided, before it is told to ask again.
const DECIDING: Duration = Duration::from_secs(2);

impl Pipeline {
    /// Where the call `id` of this principal stands, and its answer if it has ended.
    ///
    /// The rows of an answer are decided by the policies of this moment, whatever was decided when it was given first.
    pub async fn poll(&self, principal: &Arc<Principal>, id: CallId, trace: &TraceContext) -> Polled {
        match self.polled(principal, id, trace).await {
            Ok(polled) => polled,
            Err(problem) => {
                tracing::error!(call = %id, problem, "a call could not be looked up");
                Polled::Unavailable
            }
        }
    }

    /// Calls a call off: one that waits will not run and its idempotency key is free again; one that runs is told.
    pub async fn cancel(&self, principal: &Arc<Principal>, id: CallId) -> Cancelled {
        match self.parts.ledger.standing(&id) {
            Ok(Some(state)) if !state.is_of(principal) => Cancelled::Unknown,
            Ok(Some(state)) if state.ended.is_some() => Cancelled::TooLate,
            Ok(Some(state)) if matches!(state.status, CallStatus::Queued | CallStatus::Asking) => self.call_off(id),
            Ok(Some(_)) if self.handles.cancel(&id) => Cancelled::Told,
            // It ended between the two looks.
            Ok(Some(_)) => Cancelled::TooLate,
            Ok(None) => Cancelled::Unknown,
            Err(error) => {
                tracing::error!(call = %id, %error, "a call could not be looked up");
                Cancelled::Unavailable
            }
        }
    }

    /// Calls off a call that was waiting a moment ago, whoever holds it now.
    pub(super) fn call_off(&self, id: CallId) -> Cancelled {
        if self.handles.call_off(id) {
            return Cancelled::Told;
        }
        match self.parts.ledger.standing(&id) {
            // Its turn came while the ledger took nothing. As long as that lasts no promise is made: a host that is started anew by
            // then would run the call.
            Ok(Some(state)) if state.ended.is_none() => match self.takes_intents() && !self.parts.shutdown.is_cancelled() {
                true => Cancelled::Told,
                false => Cancelled::Unavailable,
            },
            Ok(_) => {
                self.handles.forget(&id);
                Cancelled::TooLate
            }
            Err(error) => {
                tracing::error!(call = %id, %error, "a call could not be looked up");
                Cancelled::Unavailable
            }
        }
    }

    async fn polled(&self, principal: &Arc<Principal>, id: CallId, trace: &TraceContext) -> Result<Polled, String> {
        let standing = self.parts.ledger.standing(&id).map_err(|error| error.to_string())?;
        let Some(state) = standing.filter(|state| state.is_of(principal)) else { return Ok(Polled::Unknown) };
        let accepted = state.queued_at.or(state.started).or(state.ended).ok_or("nobody knows when it was accepted")?;
        let waiting = match state.status {
            CallStatus::Asking => Some(PendingState::Asking),
            CallStatus::Queued => Some(PendingState::Queued),
            CallStatus::Running => Some(PendingState::Running),
            CallStatus::Done | CallStatus::Released | CallStatus::Unknown => None,
        };
        if let Some(waiting) = waiting {
            return Ok(Polled::Pending(self.pending(id, waiting, accepted, self.parts.admission.retry_after())));
        }
        let (status, effect, cancelled, expires) = (state.status, state.effect, state.cancelled, state.expires);
        let ended = state.ended.ok_or("it has ended, and nobody knows when")?;
        // A long answer is in a file.
        let ledger = self.parts.ledger.clone();
        let answered = tokio::task::spawn_blocking(move || ledger.call(&id)).await.map_err(|panic| panic.to_string())?;
        let response = match answered {
            Ok(Some(state)) => state.response,
            Ok(None) | Err(LedgerError::Refused { .. }) => return Ok(Polled::Unknown),
            Err(error) => return Err(error.to_string()),
        };
        let answer = match response {
            Some(stored) => match self.delivered(principal, id, trace, stored).await? {
                Some(answer) => answer,
                None => return Ok(Polled::Pending(self.pending(id, PendingState::Running, accepted, DECIDING))),
            },
            None => {
                let trace_id = trace.trace_id();
                let envelope = match (status, effect) {
                    (CallStatus::Unknown, Effect::Write) => Envelope::outcome_unknown(id, trace_id),
                    _ => Envelope::interrupted(id, trace_id),
                };
                Answer::Error { envelope, structured: false }
            }
        };
        let reply = Reply { call_id: id, trace: trace.clone(), replayed: None, answer };
        Ok(Polled::Ended(Box::new(Ended { reply, cancelled, created: accepted, ended, expires })))
    }

    /// A kept answer as its caller may see it now; `None` if its rows could not be decided soon.
    async fn delivered(
        &self,
        principal: &Arc<Principal>,
        id: CallId,
        trace: &TraceContext,
        stored: StoredResponse,
    ) -> Result<Option<Answer>, String> {
        let generation = self.parts.registry.current();
        let (answer, of) = Answer::from_stored(stored, false).map_err(|error| format!("its answer makes no sense: {error}"))?;
        let tool = of.as_ref().and_then(|of| generation.tools.get(of.tool.as_str()).cloned());
        let answer = match (answer, &tool) {
            (Answer::Error { envelope, .. }, Some(tool)) => Answer::Error { envelope, structured: tool.output.is_none() },
            (answer, _) => answer,
        };
        if tool.as_ref().is_some_and(|tool| tool.manifest.test_hook == Some(TestHook::ProtocolError)) {
            return Ok(Some(Answer::Refused(Rejection::UnknownTool(of.map(|of| of.tool).unwrap_or_default()))));
        }
        let arguments = match (&answer, of) {
            // It held no rows when it was given. If its tool has rows by now, they are decided, with nothing to decide them by.
            (Answer::Output(_), Some(CallOf { arguments: None, .. }))
                if tool.as_ref().is_some_and(|tool| tool.manifest.rows_at().is_some()) =>
            {
                Some(Arguments::new())
            }
            (_, Some(CallOf { arguments: None, .. })) | (Answer::Error { .. }, None) => return Ok(Some(answer)),
            (_, Some(CallOf { arguments, .. })) => arguments,
            // An output of which nobody knows whose rows are in it.
            (_, None) => None,
        };
        let (Some(tool), Some(arguments)) = (tool, arguments) else {
            return Ok(Some(Answer::Error { envelope: Envelope::not_found(id, trace.trace_id()), structured: false }));
        };
        let call = Call {
            id,
            principal: principal.clone(),
            trace: trace.clone(),
            spans: Spans::unwatched(trace.clone()),
            generation,
            cancelled: Default::default(),
            progress: None,
            dialogue: Arc::default(),
        };
        let authorized = match checks::authorize(&call, &tool, &arguments) {
            Ok(authorized) => authorized,
            Err(refusal) => {
                return Ok(Some(match self.reject(&call, *refusal).await {
                    Answer::Refused(rejection) => {
                        let envelope = Envelope::of_rejection(&rejection, id, trace.trace_id());
                        let envelope = envelope.unwrap_or_else(|| Envelope::not_found(id, trace.trace_id()));
                        Answer::Error { envelope, structured: tool.output.is_none() }
                    }
                    answer => answer,
                }));
            }
        };
        // Deciding on rows is work, and work waits its turn.
        let caller = Attached { gone: Default::default(), until: Instant::now() + DECIDING };
        let _permit = match self.take_brief_turn(&call, &tool, &caller).await {
            Ok(permit) => permit,
            Err(Rejection::Overloaded { .. } | Rejection::ShuttingDown | Rejection::Cancelled) => return Ok(None),
            Err(rejection) => return Ok(Some(self.reject(&call, Refusal::of(rejection, Some(tool.clone()))).await)),
        };
        let (answer, rows) = Rows::of(&call, &tool, &arguments).deliver(&call, &tool, answer);
        let why = WhyNot::Replayed { of: id, verdict: authorized.grant.verdict(), rows: Some(&rows) };
        let facts = facts::rejection(&call, tool.manifest.name.as_str(), Some(&tool), Some(&arguments), why);
        self.parts.ledger.record_rejection(&facts).await.map_err(|error| error.to_string())?;
        Ok(Some(answer))
    }
}
