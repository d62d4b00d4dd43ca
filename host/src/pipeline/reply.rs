//! What a call answers with, before the wire gives it a shape.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Pending;
use crate::ledger::StoredResponse;
use crate::model::{CallId, Envelope, ErrorCode, Output, Rejection, Timestamp, TraceContext};

/// The answer to one call.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The call's id; on a replay, the id of this call, not of the first.
    pub call_id: CallId,
    /// The call's trace.
    pub trace: TraceContext,
    /// Set if the answer is that of an earlier call with the same idempotency key.
    pub replayed: Option<Replayed>,
    /// The answer itself.
    pub answer: Answer,
}

/// Where an answer comes from that is given again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The call it was given to first.
    pub first: CallId,
    /// When that call ended.
    pub completed_at: Timestamp,
}

/// A result, an error an agent can act on, or a refusal the protocol itself has a shape for.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The tool's result.
    Output(Output),
    /// The call was refused or failed.
    Error {
        /// The error.
        envelope: Envelope,
        /// Whether it may also stand in `structuredContent`: official clients validate that against the tool's output
        /// schema, errors included.
        structured: bool,
    },
    /// A refusal that is a JSON-RPC error or an HTTP challenge.
    Refused(Rejection),
    /// The call goes on without its caller, who may ask for the answer.
    Pending {
        /// Where it stands, and when to ask.
        pending: Pending,
        /// As in [`Answer::Error`].
        structured: bool,
    },
}

/// One step of a running call's progress, as the guest reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Units done.
    pub done: u64,
    /// Units in all, if known.
    pub total: Option<u64>,
    /// What is going on.
    pub message: String,
}

/// Whether calls are served, and why not.
#[derive(Clone, Debug, Serialize)]
pub struct Readiness {
    /// Whether calls are served.
    pub ready: bool,
    /// What an operator wants to know.
    pub detail: Value,
}

/// An answer as the ledger keeps it for replays.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stored {
    Output { structured: Option<Value>, content: Vec<Value> },
    Error(Envelope),
}

impl Answer {
    /// The code of the error it is, if it is one that agents branch on.
    pub fn error(&self) -> Option<ErrorCode> {
        match self {
            Self::Error { envelope, .. } => Some(envelope.error),
            Self::Output(_) | Self::Refused(_) | Self::Pending { .. } => None,
        }
    }

    /// What whoever comes with the key of a call is told once an operator has found out that the call took effect.
    pub fn resolved_as_executed(call: CallId, trace_id: String) -> Self {
        // Whether it may be structured is decided anew whenever it is given.
        Self::Error { envelope: Envelope::resolved_as_executed(call, trace_id), structured: false }
    }

    /// The answer as the ledger keeps it; `None` for what is no end of a call.
    pub fn to_stored(&self) -> Option<StoredResponse> {
        let (stored, is_error) = match self {
            Self::Output(Output { structured, content }) => {
                (Stored::Output { structured: structured.clone(), content: content.clone() }, false)
            }
            Self::Error { envelope, .. } => (Stored::Error(envelope.clone()), true),
            Self::Refused(_) | Self::Pending { .. } => return None,
        };
        let value = serde_json::to_value(stored).expect("an answer is JSON already");
        Some(StoredResponse { value, is_error })
    }

    /// The answer that was kept. `structured` as in [`Answer::Error`].
    ///
    /// # Errors
    /// The stored value is none that [`Answer::to_stored`] wrote.
    pub fn from_stored(stored: StoredResponse, structured: bool) -> Result<Self, serde_json::Error> {
        Ok(match serde_json::from_value(stored.value)? {
            Stored::Output { structured, content } => Self::Output(Output { structured, content }),
            Stored::Error(envelope) => Self::Error { envelope, structured },
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_replayed_as_it_was_given() {
        let output = Output { structured: Some(json!({"paid": true})), content: vec![json!({"type": "text", "text": "ok"})] };
        let stored = Answer::Output(output.clone()).to_stored().expect("outputs are kept");
        let Ok(Answer::Output(replayed)) = Answer::from_stored(stored, true) else { panic!("an output was stored") };
        assert_eq!(replayed, output);
    }
}
