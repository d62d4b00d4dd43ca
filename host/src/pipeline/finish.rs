//! From what the sandbox saw to the call's one outcome: is the output what was promised, may anything have changed.

use std::time::Duration;

use serde_json::Value;

use crate::ledger::Disposition;
use crate::model::{Effect, Ended, ErrorCode, Failure, Output, Sent};
use crate::outbound::{BackendFailure, OutboundCall};
use crate::registry::Tool;

/// How long to wait before trying a backend again when it did not say.
const BACKEND_RETRY_AFTER: Duration = Duration::from_secs(30);

/// The most rows of one answer: each is decided by policy.
const MAX_ROWS: usize = 10_000;

/// Holds the guest's last word to what its tool promised, and says when a failed backend may be back.
///
/// A tool that was kept from changing anything did not do what it may claim to have done.
pub fn ended(tool: &Tool, ended: Ended, outbound: &OutboundCall) -> Ended {
    match ended {
        Ended::Completed(_) | Ended::Failed(_) if outbound.met_gate() => Ended::Failed(Failure {
            code: ErrorCode::PermissionDenied,
            message: "no policy permitted the row that the call would have changed, so nothing was changed".into(),
            retry_after: None,
        }),
        Ended::Completed(output) => match check(tool, &output) {
            Ok(()) => Ended::Completed(output),
            Err(problem) => Ended::Failed(Failure { code: ErrorCode::OutputInvalid, message: problem, retry_after: None }),
        },
        Ended::Failed(failure) => {
            let retry_after = failure.retry_after.or_else(|| backend_retry(failure.code, outbound.failure()));
            Ended::Failed(Failure { retry_after, ..failure })
        }
        Ended::Trapped(_) | Ended::Cancelled => ended,
    }
}

/// A guest rarely knows when its backend will be back; the host does.
fn backend_retry(code: ErrorCode, backend: Option<BackendFailure>) -> Option<Duration> {
    let is_backend = matches!(code, ErrorCode::BackendUnavailable | ErrorCode::BackendTimeout);
    is_backend.then(|| backend.map_or(BACKEND_RETRY_AFTER, |failure| failure.retry_after))
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

/// What becomes of a call that ended so, having sent these requests, and of its idempotency key.
///
/// INVARIANT: the key of a write is released only if no unsafe request reached a backend. A read changes nothing, whatever it
/// sends: nobody has to find out what became of it.
pub fn disposition(effect: Effect, ended: &Ended, sent: &[Sent]) -> Disposition {
    let mut unsafe_requests = sent.iter().filter(|request| request.is_unsafe()).peekable();
    let nothing_left = unsafe_requests.peek().is_none();
    let unanswered = unsafe_requests.any(|request| request.status.is_none());
    match ended {
        Ended::Completed(_) => Disposition::Done,
        _ if nothing_left => Disposition::Released,
        Ended::Failed(_) if !unanswered => Disposition::Done,
        Ended::Failed(_) | Ended::Trapped(_) | Ended::Cancelled if effect == Effect::Read => Disposition::Released,
        Ended::Failed(_) | Ended::Trapped(_) | Ended::Cancelled => Disposition::Unknown,
    }
}

/// What becomes of a call that asked again for the outcome of an earlier one.
///
/// INVARIANT: only the backend's own good word about every change settles it. A failure may be about this try alone (the first
/// one still under way, credentials that are no longer valid), and a run that asked for no change has asked nothing.
pub fn disposition_again(ended: &Ended, sent: &[Sent]) -> Disposition {
    let mut unsafe_requests = sent.iter().filter(|request| request.is_unsafe()).peekable();
    let has_asked = unsafe_requests.peek().is_some();
    let is_done = unsafe_requests.all(|request| request.status.is_some_and(|status| (200..300).contains(&status)));
    match ended {
        Ended::Completed(_) if has_asked && is_done => Disposition::Done,
        _ => Disposition::Unknown,
    }
}

/// Whether the call may have changed something at a backend.
pub fn may_have_changed(effect: Effect, sent: &[Sent]) -> bool {
    effect == Effect::Write && sent.iter().any(Sent::is_unsafe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Trap;

    fn sent(method: &str, status: Option<u16>) -> Sent {
        Sent { backend: "billing".into(), method: method.into(), path: "/".into(), status, bytes_out: 0, bytes_in: 0 }
    }

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
        assert_eq!(disposition(&Ended::Trapped(Trap::DeadlineExceeded), &[sent("GET", None)]), Disposition::Released);
        assert_eq!(disposition(&Ended::Trapped(Trap::OutOfFuel), &[sent("POST", Some(200))]), Disposition::Unknown);
        assert_eq!(disposition(&Ended::Cancelled, &[sent("POST", None)]), Disposition::Unknown);
    }

    #[test]
    fn an_answered_failure_is_kept_and_an_unanswered_one_is_unknown() {
        assert_eq!(disposition(&failed(), &[sent("POST", Some(409))]), Disposition::Done);
        assert_eq!(disposition(&failed(), &[sent("POST", None)]), Disposition::Unknown);
    }

    #[test]
    fn only_a_change_that_the_backend_confirms_settles_what_is_unknown() {
        let completed = || Ended::Completed(Output::default());
        assert_eq!(disposition_again(&completed(), &[sent("GET", Some(200)), sent("POST", Some(201))]), Disposition::Done);
        let doubts = [
            (completed(), vec![]),
            (completed(), vec![sent("GET", Some(200))]),
            (completed(), vec![sent("POST", Some(409))]),
            (completed(), vec![sent("POST", Some(200)), sent("POST", None)]),
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
