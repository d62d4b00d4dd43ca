//! What a call answers with, before the wire gives it a shape.

use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Pending;
use crate::ledger::StoredResponse;
use crate::model::dialogue::to_requests;
use crate::model::{Arguments, CallId, Envelope, ErrorCode, Output, Question, Rejection, Timestamp, TraceContext};
use crate::registry::Tool;

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
    /// The tool asks its caller something, and is to be called again with the answers.
    Asked {
        /// The questions.
        questions: Vec<Question>,
        /// What the client brings along with the answers (`requestState`).
        state: String,
    },
    /// A refusal that is a JSON-RPC error or an HTTP challenge.
    Refused(Rejection),
    /// The call goes on without its caller, who may ask for the answer.
    Pending(Pending),
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

/// An answer as the ledger keeps it.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    answer: Stored,
    /// What it answers, for whoever asks for it with nothing but a handle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    of: Option<CallOf>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stored {
    Output {
        structured: Option<Value>,
        content: Vec<Value>,
    },
    Error(Envelope),
    /// What was asked, as MCP has it. Written down, and never given again.
    Asked(Map<String, Value>),
}

/// The call that an answer is kept of.
#[derive(Debug, Serialize, Deserialize)]
pub struct CallOf {
    /// The tool.
    pub tool: String,
    /// The arguments, where the rows of the answer are decided by them; nothing stands where the manifest redacts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Arguments>,
}

impl Answer {
    /// The code of the error it is, if it is one that agents branch on.
    pub fn error(&self) -> Option<ErrorCode> {
        match self {
            Self::Error { envelope, .. } => Some(envelope.error),
            Self::Output(_) | Self::Asked { .. } | Self::Refused(_) | Self::Pending(_) => None,
        }
    }

    /// What whoever comes with the key of a call is told once an operator has found out that the call took effect.
    pub fn resolved_as_executed(call: CallId, trace_id: String) -> Self {
        // Whether it may be structured is decided anew whenever it is given.
        Self::Error { envelope: Envelope::resolved_as_executed(call, trace_id), structured: false }
    }

    /// The answer as the ledger keeps it; `None` for what is no end of a call.
    pub fn to_stored(&self) -> Option<StoredResponse> {
        self.stored(None)
    }

    /// The answer as the ledger keeps it for whoever has a handle to the call of `tool`; with `arguments` if there are rows in it
    /// that will have to be decided again.
    ///
    /// # Panics
    /// If it is no end of a call.
    pub fn kept_of(&self, tool: &Tool, arguments: Option<&Arguments>) -> StoredResponse {
        let arguments = arguments.map(|arguments| without_redacted(arguments, &tool.manifest.redact));
        self.stored(Some(CallOf { tool: tool.manifest.name.to_string(), arguments })).expect("it is the end of a call")
    }

    fn stored(&self, of: Option<CallOf>) -> Option<StoredResponse> {
        let (answer, is_error) = match self {
            Self::Output(Output { structured, content }) => {
                (Stored::Output { structured: structured.clone(), content: content.clone() }, false)
            }
            Self::Error { envelope, .. } => (Stored::Error(envelope.clone()), true),
            Self::Asked { questions, .. } => (Stored::Asked(to_requests(questions)), false),
            Self::Refused(_) | Self::Pending(_) => return None,
        };
        let value = serde_json::to_value(Kept { answer, of }).expect("an answer is JSON already");
        Some(StoredResponse { value, is_error })
    }

    /// The answer that was kept, and what it answers, if that was kept. `structured` as in [`Answer::Error`].
    ///
    /// # Errors
    /// The stored value is none that this module wrote.
    pub fn from_stored(stored: StoredResponse, structured: bool) -> Result<(Self, Option<CallOf>), serde_json::Error> {
        let Kept { answer, of } = serde_json::from_value(stored.value)?;
        let answer = match answer {
            Stored::Output { structured, content } => Self::Output(Output { structured, content }),
            Stored::Error(envelope) => Self::Error { envelope, structured },
            Stored::Asked(_) => return Err(serde_json::Error::custom("questions are no answer")),
        };
        Ok((answer, of))
    }
}

/// The arguments without what the manifest says is never kept. A policy that asks for it finds nothing, and does not permit.
fn without_redacted(arguments: &Arguments, pointers: &[String]) -> Arguments {
    let mut root = Value::Object(arguments.clone());
    for pointer in pointers {
        if let Some(value) = root.pointer_mut(pointer) {
            *value = Value::Null;
        }
    }
    let Value::Object(arguments) = root else { unreachable!("a pointer to the root is refused at load") };
    arguments
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_replayed_as_it_was_given() {
        let output = Output { structured: Some(json!({"paid": true})), content: vec![json!({"type": "text", "text": "ok"})] };
        let stored = Answer::Output(output.clone()).to_stored().expect("outputs are kept");
        let Ok((Answer::Output(replayed), None)) = Answer::from_stored(stored, true) else { panic!("an output was stored") };
        assert_eq!(replayed, output);
    }
}
