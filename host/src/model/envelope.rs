//! The one error envelope that every refused or failed call answers with.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CallId, Ended, ErrorCode, Rejection, Trap};

/// Whether the refused or failed call may have changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EffectState {
    /// Certainly nothing changed.
    None,
    /// Something may have changed; look before trying again.
    Possible,
    /// The effect is done; only the answer was lost.
    Committed,
}

/// The error an agent can act on: `{"error", "message", "retryable", "effect", "retry_after_seconds"?, "call_id", "trace_id"}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// What kind of error.
    pub error: ErrorCode,
    /// What happened and what to do, one or two sentences for the agent.
    pub message: String,
    /// Whether the same call may succeed later without a change by the caller.
    pub retryable: bool,
    /// Whether something may have changed.
    pub effect: EffectState,
    /// When trying again makes sense, in seconds, rounded up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
    /// The call's id, for the audit log and support.
    pub call_id: CallId,
    /// The call's trace id.
    pub trace_id: String,
}

impl Envelope {
    /// The envelope of a call that was never started; `None` for what is a JSON-RPC error instead.
    pub fn of_rejection(rejection: &Rejection, call_id: CallId, trace_id: String) -> Option<Self> {
        let words = Words::of_rejection(rejection)?;
        // These are about an earlier call with the same key, which may well have taken effect.
        let effect = match rejection {
            Rejection::InFlight { .. } | Rejection::OutcomeUnknown { .. } | Rejection::AnswerUnreadable { .. } => {
                EffectState::Possible
            }
            _ => EffectState::None,
        };
        Some(words.envelope(effect, call_id, trace_id))
    }

    /// The envelope of a replay that could not be written down or read: the first call ended, its answer is kept.
    pub fn replay_unavailable(call_id: CallId, trace_id: String) -> Self {
        Words::new(ErrorCode::AuditUnavailable, REPLAY_UNAVAILABLE).envelope(EffectState::Possible, call_id, trace_id)
    }

    /// The envelope of a read whose only row the caller may not see: as if there were none.
    pub fn not_found(call_id: CallId, trace_id: String) -> Self {
        let message = "there is no such row, or none that you may see";
        Words::new(ErrorCode::NotFound, message).envelope(EffectState::None, call_id, trace_id)
    }

    /// The envelope of a question about a call that is not the asker's, or not kept, or never was: the three look the same.
    pub fn no_such_call(call_id: CallId, trace_id: String) -> Self {
        let message = "there is no call with this id: it is not yours, its result is no longer kept, or it never was";
        Words::new(ErrorCode::NotFound, message).envelope(EffectState::None, call_id, trace_id)
    }

    /// The envelope of a question about a call that can't be answered now.
    pub fn call_unreadable(call_id: CallId, trace_id: String) -> Self {
        let message = "where the call stands can't be read now; ask again for its result, and do not repeat the call";
        Words::new(ErrorCode::AuditUnavailable, message).after(LOOK_AGAIN).envelope(EffectState::Possible, call_id, trace_id)
    }

    /// The envelope of the wish to call off a call that has ended.
    pub fn already_ended(call_id: CallId, trace_id: String) -> Self {
        let message = "the call has ended, so it can't be called off; ask for its result";
        Words::new(ErrorCode::Conflict, message).envelope(EffectState::Possible, call_id, trace_id)
    }

    /// The envelope of answers to what a call asks that are none; each line says which.
    pub fn answers_unfit(problems: &[String], call_id: CallId, trace_id: String) -> Self {
        let message = format!("none of the answers was kept: {}", problems.join("; "));
        Words::new(ErrorCode::InvalidArguments, message).envelope(EffectState::None, call_id, trace_id)
    }

    /// The envelope of answers that could not be kept.
    pub fn answers_not_kept(call_id: CallId, trace_id: String) -> Self {
        let message = "your answers were not kept, and the call waits on; answer again";
        Words::new(ErrorCode::AuditUnavailable, message).after(LOOK_AGAIN).envelope(EffectState::None, call_id, trace_id)
    }

    /// The envelope of answers to a call that asks nothing.
    pub fn nothing_asked(call_id: CallId, trace_id: String) -> Self {
        let message = "the call asks nothing now; ask for its result";
        Words::new(ErrorCode::Conflict, message).envelope(EffectState::Possible, call_id, trace_id)
    }

    /// The envelope of a call that ended with a question to somebody else who waited for it, for whoever asks later.
    pub fn asked_another(call_id: CallId, trace_id: String) -> Self {
        let message =
            "the tool asked something, and whoever waited for it did not answer; nothing was changed, call again to be asked";
        Words::new(ErrorCode::Conflict, message).envelope(EffectState::None, call_id, trace_id)
    }

    /// The envelope of a write that is done, but answered with a row the caller may not see.
    pub fn done_unseen(call_id: CallId, trace_id: String) -> Self {
        let message = "the call took effect, but its result is a row that you may not see; do not call again";
        Words::new(ErrorCode::NotFound, message).envelope(EffectState::Committed, call_id, trace_id)
    }

    /// The same error as the answer to every retry with the same idempotency key: to call again is to be told the same again.
    #[must_use]
    pub fn for_good(self) -> Self {
        if !self.retryable {
            return self;
        }
        let message = format!("{}; a retry with the same idempotency key is told the same, {LOOK_FIRST}", self.message);
        Self { message, retryable: false, retry_after_seconds: None, ..self }
    }

    /// The same error without a tool's own words, for tools whose words could tell what their caller may not know.
    #[must_use]
    pub fn in_hosts_words(self) -> Self {
        let again = if self.retryable { "try again later" } else { LOOK_FIRST };
        let message = match self.error {
            ErrorCode::BackendUnavailable | ErrorCode::BackendTimeout => {
                format!("the tool's backend does not answer; {again}")
            }
            ErrorCode::RateLimited => format!("the tool's backend is asked too often; {again}"),
            ErrorCode::InvalidArguments => "the tool cannot do anything with these arguments".to_owned(),
            ErrorCode::PermissionDenied => "you may not do this".to_owned(),
            ErrorCode::NotFound => "there is nothing of this kind, or none that you may see".to_owned(),
            ErrorCode::Conflict => "the state of what was to be changed does not allow it".to_owned(),
            ErrorCode::Failed => "the tool failed; the audit log says why".to_owned(),
            // These are never a tool's to say.
            _ => return self,
        };
        Self { message, ..self }
    }

    /// The envelope of a read that the host lost track of.
    pub fn interrupted(call_id: CallId, trace_id: String) -> Self {
        Words::new(ErrorCode::Interrupted, "the host lost track of the call; nothing was changed, try again").envelope(
            EffectState::None,
            call_id,
            trace_id,
        )
    }

    /// The envelope of a call that started and did not complete; `None` if it completed.
    ///
    /// `effect` is what is known of the changes it asked for.
    pub fn of_ended(ended: &Ended, effect: EffectState, call_id: CallId, trace_id: String) -> Option<Self> {
        let words = Words::of_ended(ended, effect != EffectState::None)?;
        Some(words.envelope(effect, call_id, trace_id))
    }

    /// The envelope of a write that ended, or may have ended, without its outcome being recorded.
    pub fn outcome_unknown(call_id: CallId, trace_id: String) -> Self {
        Words::new(ErrorCode::OutcomeUnknown, OUTCOME_UNKNOWN).envelope(EffectState::Possible, call_id, trace_id)
    }

    /// The same, of a call whose backends can be asked again what became of it, at best after so long.
    #[must_use]
    pub fn or_ask_again(self, retry_after: Option<Duration>) -> Self {
        Self {
            message: format!("{}, or call again with the same key to have the backend asked what became of it", self.message),
            retry_after_seconds: retry_after.map(in_seconds),
            ..self
        }
    }

    /// The envelope of a write that asked in vain for the outcome of the call `first`.
    pub fn still_unknown(first: CallId, call_id: CallId, trace_id: String) -> Self {
        let message = format!("{first} used this key: {OUTCOME_UNKNOWN}");
        Words::new(ErrorCode::OutcomeUnknown, message).envelope(EffectState::Possible, call_id, trace_id)
    }

    /// The envelope of a write that, as an operator found out, took effect.
    pub fn resolved_as_executed(call_id: CallId, trace_id: String) -> Self {
        let message = "an operator found out that the call took effect, but its answer is lost; do not call again";
        Words::new(ErrorCode::AnswerLost, message).envelope(EffectState::Committed, call_id, trace_id)
    }

    /// The envelope as a JSON object.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("an envelope holds only strings, numbers and booleans")
    }
}

/// Whole seconds, rounded up.
fn in_seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1000) as u64
}

/// How long to wait before looking again at what could not be read.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

const REPLAY_UNAVAILABLE: &str =
    "an earlier call with this key has ended, but its answer can't be given now; ask again with the same key";

const LOOK_FIRST: &str = "so look at the affected record before calling again with a new key";

const OUTCOME_UNKNOWN: &str = "the call may or may not have taken effect, and it will not be run again by itself; \
     look at the affected record before calling again with a new key";

/// The half of an envelope that depends on the error alone.
struct Words {
    error: ErrorCode,
    message: String,
    retry_after: Option<Duration>,
}

impl Words {
    fn new(error: ErrorCode, message: impl Into<String>) -> Self {
        Self { error, message: message.into(), retry_after: None }
    }

    fn after(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }

    fn of_rejection(rejection: &Rejection) -> Option<Self> {
        use ErrorCode::*;
        Some(match rejection {
            Rejection::Unauthenticated(_)
            | Rejection::UnknownTool(_)
            | Rejection::ClientLacks(_)
            | Rejection::StateInvalid
            | Rejection::AnswersTooLarge => {
                return None;
            }
            Rejection::InvalidArguments(violations) => {
                Self::new(InvalidArguments, format!("the arguments do not fit the tool's schema: {}", violations.join("; ")))
            }
            Rejection::InsufficientScope { missing, .. } => {
                let names: Vec<_> = missing.iter().map(ToString::to_string).collect();
                Self::new(PermissionDenied, format!("the token lacks the scope {}", names.join(" ")))
            }
            Rejection::Denied(_) => {
                Self::new(PermissionDenied, "a policy does not allow this call; ask an administrator for access")
            }
            Rejection::KeyRequired => Self::new(
                IdempotencyKeyRequired,
                "this tool changes data: add the argument `idempotency_key` with a new unique value (a UUID), \
                 and send the same value again whenever you retry this very call",
            ),
            Rejection::KeyReused { first } => Self::new(
                IdempotencyKeyReused,
                format!("this idempotency key was used by {first} with other arguments; use a new key for a new call"),
            ),
            Rejection::InFlight { first, retry_after } => Self::new(
                IdempotencyInFlight,
                format!("{first} with this idempotency key is still running; ask again with the same key for its result"),
            )
            .after(*retry_after),
            Rejection::OutcomeUnknown { first } => Self::new(OutcomeUnknown, format!("{first} used this key: {OUTCOME_UNKNOWN}")),
            // Whoever could read the answer once can't any more, so asking again is no help.
            Rejection::AnswerUnreadable { first, erased: true } => Self::new(
                OutcomeUnknown,
                format!(
                    "{first} used this key and has ended; what it was answered was erased, and with it whether it took effect, \
                     {LOOK_FIRST}"
                ),
            ),
            Rejection::AnswerUnreadable { erased: false, .. } => Self::new(AuditUnavailable, REPLAY_UNAVAILABLE),
            Rejection::RateLimited { retry_after } => {
                Self::new(RateLimited, "you call more often than you may; nothing ran, try again later").after(*retry_after)
            }
            Rejection::Overloaded { retry_after } => {
                Self::new(Overloaded, "too many calls are waiting; nothing ran, try again later").after(*retry_after)
            }
            Rejection::TooCostly { fuel, most } => Self::new(
                FuelExhausted,
                format!(
                    "one call of this tool may burn {fuel} fuel, and your budget never holds more than {most}, so nothing ran and a \
                     retry is told the same; an operator can raise `burst` or `debt` in `[admission.principal]`, or lower the tool's `fuel`"
                ),
            ),
            Rejection::Cancelled => Self::new(Cancelled, "the call was cancelled before it started"),
            Rejection::ToolChanged => Self::new(
                ToolChanged,
                "the tool changed while the call was queued, so it did not run; look at the tool as it is now before calling again",
            ),
            Rejection::Unanswered => Self::new(
                DeadlineExceeded,
                "the tool asked something that nobody answered in time, so the call did not go on; call it again to be asked again",
            ),
            Rejection::AuditUnavailable(_) => Self::new(
                AuditUnavailable,
                "the audit log cannot be written, so nothing ran; an operator has to look at the host's storage",
            ),
            Rejection::ShuttingDown => {
                Self::new(Overloaded, "the host is shutting down; nothing ran, try again").after(Duration::from_secs(5))
            }
        })
    }

    fn of_ended(ended: &Ended, may_have_changed: bool) -> Option<Self> {
        use ErrorCode::*;
        Some(match ended {
            Ended::Completed(_) | Ended::Asked(_) => return None,
            Ended::Failed(failure) => {
                Self { error: failure.code, message: failure.message.clone(), retry_after: failure.retry_after }
            }
            Ended::Trapped(Trap::OutOfFuel) => {
                Self::new(FuelExhausted, "the tool used all the fuel one call may burn and was stopped")
            }
            Ended::Trapped(Trap::OutOfMemory) => {
                Self::new(MemoryExceeded, "the tool asked for more memory than it may have and was stopped")
            }
            Ended::Trapped(Trap::DeadlineExceeded) => {
                Self::new(DeadlineExceeded, "the tool ran longer than it may and was stopped")
            }
            Ended::Trapped(Trap::Guest(_)) => Self::new(PluginTrapped, "the tool crashed; its author has to look at it"),
            Ended::Cancelled if may_have_changed => Self::new(OutcomeUnknown, OUTCOME_UNKNOWN),
            Ended::Cancelled => Self::new(Cancelled, "the call was stopped before it ended"),
        })
    }

    fn envelope(self, effect: EffectState, call_id: CallId, trace_id: String) -> Envelope {
        Envelope {
            error: self.error,
            message: self.message,
            retryable: self.error.is_retryable(),
            effect,
            retry_after_seconds: self.retry_after.map(in_seconds),
            call_id,
            trace_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Failure;

    #[test]
    fn a_retry_after_is_rounded_up_to_whole_seconds() {
        let rejection = Rejection::Overloaded { retry_after: Duration::from_millis(1001) };
        let envelope = Envelope::of_rejection(&rejection, CallId::random(), "t".into()).expect("overloaded is an envelope");
        assert_eq!(envelope.retry_after_seconds, Some(2));
    }

    #[test]
    fn an_error_that_is_kept_for_its_key_is_no_invitation_to_retry() {
        let failure = Failure { code: ErrorCode::BackendUnavailable, message: "it answered 503".into(), retry_after: None };
        let failed = Ended::Failed(Failure { retry_after: Some(Duration::from_secs(30)), ..failure });
        let told = Envelope::of_ended(&failed, EffectState::Possible, CallId::random(), "t".into()).expect("it failed");
        assert!(told.retryable);
        let kept = told.for_good();
        assert_eq!((kept.retryable, kept.retry_after_seconds, kept.effect), (false, None, EffectState::Possible));
        assert!(kept.message.starts_with("it answered 503; ") && kept.message.contains("new key"), "{}", kept.message);
        assert!(!kept.in_hosts_words().message.contains("try again later"));
    }

    #[test]
    fn who_comes_again_with_the_key_of_a_call_whose_answer_is_lost_is_not_told_that_nothing_happened() {
        for (erased, error, is_retryable) in
            [(true, ErrorCode::OutcomeUnknown, false), (false, ErrorCode::AuditUnavailable, true)]
        {
            let first = CallId::random();
            let rejection = Rejection::AnswerUnreadable { first, erased };
            let told = Envelope::of_rejection(&rejection, CallId::random(), "t".into()).expect("it is an envelope");
            assert_eq!((told.error, told.effect, told.retryable), (error, EffectState::Possible, is_retryable));
            assert_eq!(told.message.contains("ask again"), is_retryable, "{}", told.message);
        }
    }

    #[test]
    fn a_guest_cannot_speak_in_the_hosts_name() {
        assert_eq!(ErrorCode::from_guest("audit_unavailable"), ErrorCode::Failed);
        assert_eq!(ErrorCode::from_guest("not_found"), ErrorCode::NotFound);
    }

    #[test]
    fn the_code_on_the_wire_is_the_code_in_the_envelope() {
        for code in [ErrorCode::BackendUnavailable, ErrorCode::IdempotencyKeyRequired, ErrorCode::Failed] {
            assert_eq!(serde_json::to_value(code).expect("a string"), Value::from(code.as_str()));
        }
    }
}
