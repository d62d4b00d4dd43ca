//! Asking for the answer of a call that went on without its caller, and calling it off.

use std::sync::Arc;
use std::time::Duration;

use super::{Answer, Pipeline, Reply};
use crate::ledger::CallStatus;
use crate::model::{CallId, Effect, Envelope, Principal, Timestamp, TraceContext};

/// A call that goes on without its caller. Its id is the handle: durable before it is given out, and no use to anybody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The call.
    pub call: CallId,
    /// Whether it waits or runs.
    pub state: PendingState,
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
    /// It runs.
    Running,
}

impl PendingState {
    /// The state as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
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

impl Pipeline {
    /// Where the call `call` of this principal stands, and its answer if it has ended.
    pub async fn poll(&self, principal: &Arc<Principal>, call: CallId, trace: &TraceContext) -> Polled {
        match self.polled(principal, call, trace) {
            Ok(polled) => polled,
            Err(problem) => {
                tracing::error!(%call, problem, "a call could not be looked up");
                Polled::Unavailable
            }
        }
    }

    /// Calls a call off: one that waits will not run and its idempotency key is free again; one that runs is told.
    pub async fn cancel(&self, principal: &Arc<Principal>, call: CallId) -> Cancelled {
        match self.parts.ledger.call(&call) {
            Ok(Some(state)) if state.is_of(principal) => match state.status {
                CallStatus::Running => Cancelled::Told,
                _ => Cancelled::TooLate,
            },
            Ok(_) => Cancelled::Unknown,
            Err(error) => {
                tracing::error!(%call, %error, "a call could not be looked up");
                Cancelled::Unavailable
            }
        }
    }

    fn polled(&self, principal: &Arc<Principal>, call: CallId, trace: &TraceContext) -> Result<Polled, String> {
        let state = self.parts.ledger.call(&call).map_err(|error| error.to_string())?;
        let Some(state) = state.filter(|state| state.is_of(principal)) else {
            return Ok(Polled::Unknown);
        };
        let Some(ended) = state.ended else {
            return Ok(Polled::Pending(Pending {
                call,
                state: PendingState::Running,
                created: state.started,
                updated: state.started,
                retry_after: Duration::from_secs(1),
                kept_for: Duration::from_secs(24 * 60 * 60),
            }));
        };
        let stored = state.response.map(|stored| Answer::from_stored(stored, true)).transpose();
        let answer = match stored.map_err(|error| format!("its answer makes no sense: {error}"))? {
            Some(answer) => answer,
            None => Answer::Error {
                envelope: match state.effect {
                    Effect::Read => Envelope::interrupted(call, trace.trace_id()),
                    Effect::Write => Envelope::outcome_unknown(call, trace.trace_id()),
                },
                structured: true,
            },
        };
        let reply = Reply { call_id: call, trace: trace.clone(), replayed: None, answer };
        Ok(Polled::Ended(Box::new(Ended { reply, cancelled: false, created: state.started, ended, expires: None })))
    }
}
