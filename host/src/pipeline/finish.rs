//! From what the sandbox saw to the call's one outcome: is the output what was promised, may anything have changed.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::Value;

use super::effects::{Word, changes, has_failed_backend, has_unconfirmed_change};
use crate::ledger::Disposition;
use crate::model::envelope::EffectState;
use crate::model::{Effect, Ended, ErrorCode, Failure, Outcome, Output, Sent, SentError, Trap};
use crate::outbound::{BackendFailure, OutboundCall};
use crate::registry::Tool;

/// How long to wait before trying a backend again when nobody knows which it is.
const BACKEND_RETRY_AFTER: Duration = Duration::from_secs(30);

/// The most rows of one answer: each is decided by policy.
const MAX_ROWS: usize = 10_000;

/// Holds the guest's last word to what its tool promised, and to what the host knows of its backends.
///
/// A tool that was kept from changing anything, by a policy or by a backend that failed, did not do what it may claim to have done.
pub fn ended(tool: &Tool, ended: Ended, outbound: &OutboundCall, sent: &[Sent]) -> Ended {
    let failed = outbound.failure();
    match ended {
        Ended::Completed(_) | Ended::Failed(_) if outbound.met_gate() => Ended::Failed(Failure {
            code: ErrorCode::PermissionDenied,
            message: "no policy permitted the row that the call would have changed, so nothing was changed".into(),
            retry_after: None,
        }),
        Ended::Completed(output) => match (check(tool, &output), failed) {
            (Err(problem), _) => Ended::Failed(Failure { code: ErrorCode::OutputInvalid, message: problem, retry_after: None }),
            // INVARIANT: a write of whose changes none was made is no success, whatever its tool asked for afterwards.
            (Ok(()), failed) if tool.manifest.effect == Effect::Write && did_nothing(sent) => {
                Ended::Failed(failed.map_or_else(|| nothing_changed(sent), in_hosts_words))
            }
            (Ok(()), _) => Ended::Completed(output),
        },
        Ended::Failed(failure) => Ended::Failed(blamed(explained(failure, outbound.refusal()), failed)),
        // INVARIANT: a call that is run again has changed nothing before.
        Ended::Asked(_) if tool.manifest.effect == Effect::Write && !nothing_changed_yet(sent) => Ended::Failed(Failure {
            code: ErrorCode::Failed,
            message:
                "the tool asked something while it was changing something, so nobody was asked; its author has to look at it"
                    .into(),
            retry_after: None,
        }),
        Ended::Asked(_) | Ended::Trapped(_) | Ended::Cancelled => ended,
    }
}

/// The backend that failed the call, for those who cannot speak for themselves.
pub fn blame(outbound: &OutboundCall) -> Option<Failure> {
    outbound.failure().map(in_hosts_words)
}

/// How the call ended for its caller: a guest that crashed or ran out of time over a failed backend is not what has to be looked at.
pub fn told(outcome: &Outcome) -> Cow<'_, Ended> {
    match (&outcome.ended, &outcome.blame) {
        (Ended::Trapped(Trap::Guest(_) | Trap::DeadlineExceeded), Some(failure)) => Cow::Owned(Ended::Failed(failure.clone())),
        (ended, _) => Cow::Borrowed(ended),
    }
}

/// A guest that was not let out does not know why; the host does.
fn explained(failure: Failure, refusal: Option<String>) -> Failure {
    match refusal {
        Some(refusal) if failure.code == ErrorCode::PermissionDenied => {
            Failure { message: format!("{}: {refusal}", failure.message), ..failure }
        }
        _ => failure,
    }
}

/// A guest rarely knows why its backend failed and when it will be back; the host does.
fn blamed(failure: Failure, failed: Option<BackendFailure>) -> Failure {
    let is_vague = matches!(failure.code, ErrorCode::BackendUnavailable | ErrorCode::BackendTimeout | ErrorCode::Failed);
    match failed {
        Some(failed) if is_vague || failure.code == failed.code => {
            let retry_after = if failed.is_known { None } else { failure.retry_after };
            let retry_after = retry_after.unwrap_or(failed.retry_after);
            let in_its_own_words = !failed.unsent && (failure.code == failed.code || failure.code == ErrorCode::Failed);
            let message = if in_its_own_words { failure.message } else { failed.in_words() };
            Failure { code: failed.code, message, retry_after: Some(retry_after) }
        }
        _ if matches!(failure.code, ErrorCode::BackendUnavailable | ErrorCode::BackendTimeout) => {
            Failure { retry_after: failure.retry_after.or(Some(BACKEND_RETRY_AFTER)), ..failure }
        }
        _ => failure,
    }
}

fn in_hosts_words(failed: BackendFailure) -> Failure {
    Failure { code: failed.code, message: failed.in_words(), retry_after: Some(failed.retry_after) }
}

/// What became of changes that no backend was there to make, when it has answered to something else since.
fn nothing_changed(sent: &[Sent]) -> Failure {
    let last = sent.iter().rfind(|sent| sent.is_unsafe());
    let was_too_often = last.is_some_and(|sent| sent.status == Some(429) || sent.error == Some(SentError::ToldToWait));
    let backend = last.map(|sent| sent.backend.as_str()).unwrap_or_default();
    Failure {
        code: if was_too_often { ErrorCode::RateLimited } else { ErrorCode::BackendUnavailable },
        message: format!("the tool's backend `{backend}` took nothing that was to be changed, so nothing was; try again later"),
        retry_after: Some(BACKEND_RETRY_AFTER),
    }
}

/// Whether a call asked for changes, and certainly none was made.
fn did_nothing(sent: &[Sent]) -> bool {
    let changes = changes(sent);
    !changes.is_empty() && changes.iter().all(|change| change.word == Word::Nothing)
}

/// Whether no change that a call asked for was, or may have been, made.
fn nothing_changed_yet(sent: &[Sent]) -> bool {
    changes(sent).iter().all(|change| change.word == Word::Nothing)
}

fn check(tool: &Tool, output: &Output) -> Result<(), String> {
    let invalid = |problem: String| format!("the tool returned something it never promised, so it is withheld: {problem}");
    if let Some(schema) = &tool.output {
        let Some(value) = &output.structured else {
            return Err(invalid("it has an output schema but no structured output".into()));
        };
        schema.check(value).map_err(|violations| invalid(violations.join("; ")))?;
    }
    if let Some(rows) = tool.manifest.rows_at() {
        // Text beside rows could say what the rows may not.
        if !output.content.is_empty() {
            return Err(invalid(
                "its rows are decided one by one, so the host writes the text; it must return no content".into(),
            ));
        }
        let found = output.structured.as_ref().and_then(|value| value.pointer(&rows.pointer));
        if let Some(Value::Array(list)) = found
            && list.len() > MAX_ROWS
        {
            return Err(invalid(format!(
                "it returned {} rows at once; more than {MAX_ROWS} have to be asked for in pages",
                list.len()
            )));
        }
        if !matches!(found, Some(Value::Array(_) | Value::Object(_) | Value::Null)) {
            return Err(invalid(format!("there is neither a list of rows nor a row at `{}`", rows.pointer)));
        }
    }
    match output.content.iter().find(|block| !is_content_block(block)) {
        None => Ok(()),
        Some(block) => {
            let kind = block.get("type").and_then(Value::as_str).unwrap_or("no type");
            Err(invalid(format!("a content block ({kind}) is not one of MCP's")))
        }
    }
}

/// The content blocks of MCP 2026-07-28 and the members each must have.
fn is_content_block(block: &Value) -> bool {
    let text = |member: &str| block.get(member).is_some_and(Value::is_string);
    match block.get("type").and_then(Value::as_str) {
        Some("text") => text("text"),
        Some("image" | "audio") => text("data") && text("mimeType"),
        Some("resource_link") => text("uri") && text("name"),
        Some("resource") => {
            let resource = &block["resource"];
            resource["uri"].is_string() && (resource["text"].is_string() || resource["blob"].is_string())
        }
        _ => false,
    }
}

/// What becomes of a call that ended so, having made these attempts, and of its idempotency key.
///
/// INVARIANT: the key of a write is released only if no request for a change was taken by a backend, and a write is no success if
/// a backend left such a request unanswered. A read changes nothing, whatever it sends: nobody has to find out what became of it.
pub fn disposition(effect: Effect, ended: &Ended, sent: &[Sent]) -> Disposition {
    let least_known = changes(sent).iter().map(|change| change.word).max().unwrap_or(Word::Nothing);
    match (ended, effect) {
        (Ended::Completed(_), Effect::Write) if least_known == Word::Unknown => Disposition::Unknown,
        (Ended::Completed(_), _) => Disposition::Done,
        (Ended::Asked(_), _) => Disposition::Released,
        _ if least_known == Word::Nothing => Disposition::Released,
        (Ended::Failed(_), _) if least_known < Word::CutOff => Disposition::Done,
        (Ended::Failed(_) | Ended::Trapped(_) | Ended::Cancelled, Effect::Read) => Disposition::Released,
        (Ended::Failed(_) | Ended::Trapped(_) | Ended::Cancelled, Effect::Write) => Disposition::Unknown,
    }
}

/// What becomes of a call that asked again for the outcome of an earlier one.
///
/// INVARIANT: only the backend's own good word about every change settles it. A failure may be about this try alone (the first
/// one still under way, credentials that are no longer valid), and a run that asked for no change has asked nothing.
pub fn disposition_again(ended: &Ended, sent: &[Sent]) -> Disposition {
    match ended {
        Ended::Completed(_) if is_confirmed(sent) => Disposition::Done,
        _ => Disposition::Unknown,
    }
}

/// Whether a call that did not complete, or is not known to have, may have changed something.
pub fn effect_state(effect: Effect, ended: &Ended, sent: &[Sent]) -> EffectState {
    let is_over = matches!(ended, Ended::Failed(Failure { code: ErrorCode::OutputInvalid, .. }));
    match effect {
        Effect::Read => EffectState::None,
        Effect::Write if changes(sent).iter().all(|change| change.word == Word::Nothing) => EffectState::None,
        // It ran to its end, and every backend said yes: only what it answered could not be passed on.
        Effect::Write if is_over && is_confirmed(sent) => EffectState::Committed,
        Effect::Write => EffectState::Possible,
    }
}

/// Whether the guest reported success although the last attempt at something it asked for failed, or a change it asked for was not
/// made: it may have made up what it says.
pub fn is_despite_backend_error(effect: Effect, outcome: &Outcome) -> bool {
    let is_denied = || effect == Effect::Write && has_unconfirmed_change(&outcome.sent);
    matches!(outcome.ended, Ended::Completed(_)) && (has_failed_backend(&outcome.sent) || is_denied())
}

/// Whether changes were asked for, and each of them is confirmed.
fn is_confirmed(sent: &[Sent]) -> bool {
    sent.iter().any(Sent::is_unsafe) && !has_unconfirmed_change(sent)
}

#[cfg(test)]
mod tests {
    use super::super::effects::tests::{sent, unsent};
    use super::*;

    fn failed() -> Ended {
        Ended::Failed(Failure { code: ErrorCode::Failed, message: String::new(), retry_after: None })
    }

    /// What becomes of a write.
    fn disposition(ended: &Ended, sent: &[Sent]) -> Disposition {
        super::disposition(Effect::Write, ended, sent)
    }

    #[test]
    fn a_read_whose_outcome_is_lost_is_released_and_one_that_ended_is_kept() {
        let read = |ended: &Ended, sent: &[Sent]| super::disposition(Effect::Read, ended, sent);
        assert_eq!(read(&Ended::Cancelled, &[sent("POST", None)]), Disposition::Released);
        assert_eq!(read(&Ended::Trapped(Trap::OutOfFuel), &[sent("GET", Some(200))]), Disposition::Released);
        assert_eq!(read(&failed(), &[sent("POST", Some(400))]), Disposition::Done);
        assert_eq!(read(&Ended::Completed(Output::default()), &[]), Disposition::Done);
    }

    #[test]
    fn a_key_is_free_again_only_if_nothing_unsafe_left_the_host() {
        assert_eq!(disposition(&failed(), &[]), Disposition::Released);
        assert_eq!(disposition(&failed(), &[sent("GET", Some(200))]), Disposition::Released);
        assert_eq!(disposition(&failed(), &[unsent("POST"), sent("POST", Some(429))]), Disposition::Released);
        assert_eq!(disposition(&Ended::Trapped(Trap::DeadlineExceeded), &[sent("GET", None)]), Disposition::Released);
        assert_eq!(disposition(&Ended::Trapped(Trap::OutOfFuel), &[sent("POST", Some(200))]), Disposition::Unknown);
        assert_eq!(disposition(&Ended::Cancelled, &[sent("POST", None)]), Disposition::Unknown);
    }

    #[test]
    fn an_answered_failure_is_kept_and_an_unanswered_one_is_unknown() {
        assert_eq!(disposition(&failed(), &[sent("POST", Some(409))]), Disposition::Done);
        assert_eq!(disposition(&failed(), &[sent("POST", None)]), Disposition::Unknown);
        assert_eq!(disposition(&failed(), &[sent("POST", Some(502))]), Disposition::Unknown);
        assert_eq!(disposition(&failed(), &[sent("POST", Some(503))]), Disposition::Unknown);
        let unkeyed = super::disposition(Effect::Write, &failed(), &[Sent { keyed: false, ..sent("POST", Some(503)) }]);
        assert_eq!(unkeyed, Disposition::Done, "nobody could be asked again");
    }

    #[test]
    fn a_write_is_no_success_if_a_backend_left_a_change_unanswered() {
        let completed = || Ended::Completed(Output::default());
        assert_eq!(disposition(&completed(), &[sent("POST", None)]), Disposition::Unknown);
        assert_eq!(disposition(&completed(), &[sent("POST", None), sent("POST", Some(200))]), Disposition::Done);
        assert_eq!(disposition(&completed(), &[sent("GET", None)]), Disposition::Done);
        let read = super::disposition(Effect::Read, &completed(), &[sent("POST", None)]);
        assert_eq!(read, Disposition::Done);
    }

    #[test]
    fn whether_something_changed_is_told_as_exactly_as_it_is_known() {
        let state = |ended: &Ended, sent: &[Sent]| effect_state(Effect::Write, ended, sent);
        let invalid = Ended::Failed(Failure { code: ErrorCode::OutputInvalid, message: String::new(), retry_after: None });
        assert_eq!(state(&failed(), &[]), EffectState::None);
        assert_eq!(state(&failed(), &[sent("GET", None), unsent("POST")]), EffectState::None);
        assert_eq!(state(&failed(), &[sent("POST", Some(200))]), EffectState::Possible);
        assert_eq!(state(&failed(), &[sent("POST", None)]), EffectState::Possible);
        assert_eq!(state(&invalid, &[sent("POST", Some(200))]), EffectState::Committed);
        assert_eq!(state(&invalid, &[sent("POST", Some(409))]), EffectState::Possible);
        assert_eq!(effect_state(Effect::Read, &failed(), &[sent("POST", None)]), EffectState::None);
    }

    #[test]
    fn only_a_change_that_the_backend_confirms_settles_what_is_unknown() {
        let completed = || Ended::Completed(Output::default());
        assert_eq!(disposition_again(&completed(), &[sent("GET", Some(200)), sent("POST", Some(201))]), Disposition::Done);
        let doubts = [
            (completed(), vec![]),
            (completed(), vec![sent("GET", Some(200))]),
            (completed(), vec![sent("POST", Some(409))]),
            (completed(), vec![sent("POST", Some(200)), Sent { request: 2, ..sent("POST", None) }]),
            (completed(), vec![sent("POST", Some(200)), Sent { request: 2, ..unsent("POST") }]),
            (failed(), vec![sent("POST", Some(200))]),
            (failed(), vec![sent("POST", Some(422))]),
            (failed(), vec![]),
            (Ended::Cancelled, vec![sent("POST", Some(200))]),
            (Ended::Trapped(Trap::DeadlineExceeded), vec![sent("POST", Some(200))]),
        ];
        for (ended, sent) in doubts {
            assert_eq!(disposition_again(&ended, &sent), Disposition::Unknown, "{ended:?} {sent:?}");
        }
    }

    #[test]
    fn content_blocks_must_be_ones_mcp_knows() {
        use serde_json::json;
        assert!(is_content_block(&json!({"type": "text", "text": "hi"})));
        assert!(is_content_block(&json!({"type": "resource", "resource": {"uri": "test://x", "text": "hi"}})));
        assert!(!is_content_block(&json!({"type": "text"})));
        assert!(!is_content_block(&json!({"type": "script", "text": "hi"})));
    }
}
