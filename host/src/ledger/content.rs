//! What the records of a call that ran say: the JSON of their bodies.
//!
//! A body's own members stand in canonical order (RFC 8785). What came from outside, arguments and answers, stands in it as it
//! came, so that nothing is lost to number formats.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::basis::Basis;
use super::body::{Body, Unsealed, fresh_salt};
use super::facts::{IntentFacts, OutcomeFacts};
use super::hex::{Hex, Sha256Hex};
use super::log_tail::LogTail;
use super::redact::{Redacted, Scrubber, Secrets};
use super::requests::{self, SentBody};
use super::secret::Secret;
use super::subjects::SubjectKey;
use crate::model::scope::Delta;
use crate::model::{CallId, Decision, Digest, Effect, Ended, Risk, RowTally, Scope, ToolName, Trap, Verdict};

/// The longest answer that is written down in full with an unkeyed call's outcome, in bytes; of a longer one, its digest.
const ANSWER_MAX: usize = 2048;
/// The same for a call that claimed an idempotency key.
const KEYED_ANSWER_MAX: usize = 1 << 20;
/// The most scopes, policies, errors or requests listed in one record.
pub(super) const LIST_MAX: usize = 16;
/// The longest single text, in bytes.
pub(super) const TEXT_MAX: usize = 256;
/// How much of the guest's log is kept, in bytes.
const LOG_MAX: usize = 1024;

/// What an outcome repeats of its intent, so that it can be found and kept on its own.
pub(super) struct About {
    pub tool: ToolName,
    pub risk: Risk,
    pub trace_id: String,
    /// The key of the caller.
    pub key: Arc<SubjectKey>,
    pub secrets: Secrets,
}

/// The body of an intent, and the values redacted from it. `claim` is the claim and the fingerprint, `reask_of` the call for whose
/// outcome it asks again.
pub(super) fn of_intent(
    secret: &Secret,
    key: &SubjectKey,
    facts: &IntentFacts<'_>,
    claim: Option<(&Digest, &Digest)>,
    reask_of: Option<CallId>,
) -> (Body, Secrets) {
    let salt = fresh_salt();
    let (principal, tool) = (facts.principal, &facts.tool);
    let mut arguments = Redacted::new(secret, &salt, facts.arguments, tool.redact);
    let answers = facts.dialogue.answers();
    let answers = (!answers.is_empty()).then(|| Redacted::new(secret, &salt, &answers, &[]));
    if let Some(answers) = &answers {
        arguments.secrets.join(&answers.secrets);
    }
    let mut content = IntentBody {
        answers: answers.as_ref(),
        arguments: &arguments,
        basis: Basis::of(principal, facts.claims, facts.delta),
        claim: claim.map(|(claim, _)| Hex(claim)),
        client: principal.client.as_deref(),
        component: Hex(&tool.component),
        decision: decision(facts.verdict),
        effect: tool.effect.as_str(),
        fuel_limit: tool.fuel_limit,
        issuer: &principal.issuer,
        plugin: tool.plugin,
        plugin_version: tool.plugin_version,
        policies: first(&facts.verdict.policies),
        print: claim.map(|(_, print)| Hex(print)),
        queued_us: micros(facts.queued),
        reask_of,
        risk: tool.risk.as_str(),
        scopes: ScopeDelta::of(facts.delta),
        shadow: facts.verdict.shadow.as_deref().map(ShadowBody::of),
        subject: &principal.subject,
        tenant: principal.tenant.as_deref(),
        tool: tool.name.as_str(),
        trace_id: facts.trace.trace_id(),
    };
    let mut body = Unsealed::new(&salt, &content);
    if !body.is_inline() {
        // To decide again later is worth a few bytes of the log, not a file per call.
        content.basis = Basis::forgotten();
        let shorter = Unsealed::new(&salt, &content);
        if shorter.is_inline() {
            body = shorter;
        }
    }
    (body.sealed(key), arguments.secrets)
}

/// The body of the intent of a call that has waited, and whose caller was erased at the last moment: about nobody.
pub(super) fn of_nobody(effect: Effect, risk: Risk) -> Body {
    Body::plain(&NobodyBody { effect: effect.as_str(), risk: risk.as_str() })
}

/// The body of an outcome. An unkeyed call's is shortened until it fits into a row: answering reads must not wait for files.
pub(super) fn of_outcome(
    secret: &Secret,
    facts: &OutcomeFacts<'_>,
    answer: &[u8],
    intent: u64,
    keyed: bool,
    about: &About,
) -> Body {
    let outcome = facts.outcome;
    let salt = fresh_salt();
    let fit = Scrubber { secret, salt: &salt, secrets: &about.secrets };
    let in_full = answer.len() <= if keyed { KEYED_ANSWER_MAX } else { ANSWER_MAX };
    let mut content = OutcomeBody {
        answer: in_full.then(|| fit.value(&facts.answer.value, answer)),
        answer_bytes: answer.len(),
        answer_sha256: (!in_full).then(|| Sha256Hex::of(answer)),
        detail: detail(&outcome.ended).map(|text| fit.text(text)).map(|text| clip(&text, TEXT_MAX).to_owned()),
        disposition: facts.disposition.as_str(),
        ended: ended(&outcome.ended),
        error: facts.error.map(|code| code.as_str()),
        fuel: outcome.fuel,
        intent,
        is_error: facts.answer.is_error,
        latency_us: micros(outcome.latency),
        log: LogTail::of(&outcome.log, LOG_MAX, &fit),
        memory_peak: outcome.memory_peak,
        permits: TallyBody::of(facts.asked),
        risk: about.risk.as_str(),
        rows: TallyBody::of(facts.delivered),
        sent: requests::listed(&outcome.sent, true, &fit),
        sent_count: requests::count(&outcome.sent, true),
        succeeded_despite_backend_error: facts.despite_backend_error,
        tool: about.tool.as_str(),
        trace_id: &about.trace_id,
        unsent: requests::listed(&outcome.sent, false, &fit),
        unsent_count: requests::count(&outcome.sent, false),
    };
    let body = Unsealed::new(&salt, &content);
    if keyed || body.is_inline() {
        return body.sealed(&about.key);
    }
    content.answer = None;
    content.answer_sha256 = Some(Sha256Hex::of(answer));
    let body = Unsealed::new(&salt, &content);
    if body.is_inline() {
        return body.sealed(&about.key);
    }
    content.log = LogTail::forgotten(&outcome.log);
    (content.sent, content.unsent) = (Vec::new(), Vec::new());
    // The counts stay, whatever else has to go.
    [&mut content.permits, &mut content.rows].into_iter().flatten().for_each(TallyBody::forget_reasons);
    Unsealed::new(&salt, &content).sealed(&about.key)
}

/// The body of an outcome that nobody could tell: the intent came to nothing, or the host lost track of the call; or of one whose
/// caller was erased at the last moment.
///
/// It is about nobody: after a crash it has to be written without asking for anybody's key.
pub(super) fn of_lost(disposition: &'static str, ended: &'static str, intent: u64, risk: Risk) -> Body {
    Body::plain(&LostBody { disposition, ended, intent, risk: risk.as_str() })
}

#[derive(Serialize)]
struct NobodyBody {
    effect: &'static str,
    risk: &'static str,
}

#[derive(Serialize)]
struct IntentBody<'a> {
    /// What its caller answered to what the tool asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    answers: Option<&'a Redacted<'a>>,
    arguments: &'a Redacted<'a>,
    basis: Basis<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claim: Option<Hex<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    component: Hex<'a>,
    decision: &'static str,
    effect: &'static str,
    fuel_limit: u64,
    issuer: &'a str,
    plugin: &'a str,
    plugin_version: &'a str,
    policies: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    print: Option<Hex<'a>>,
    queued_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reask_of: Option<CallId>,
    risk: &'static str,
    scopes: ScopeDelta<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shadow: Option<ShadowBody<'a>>,
    subject: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    tool: &'a str,
    trace_id: String,
}

/// The scopes held beyond what is needed, and those needed and not held.
#[derive(Serialize)]
pub(super) struct ScopeDelta<'a> {
    excess: &'a [Scope],
    missing: &'a [Scope],
}

impl<'a> ScopeDelta<'a> {
    pub(super) fn of(delta: &'a Delta) -> Self {
        Self { excess: first(&delta.excess), missing: first(&delta.missing) }
    }

    /// Keeps what is missing alone: a token can hold far more than fits.
    pub(super) fn forget_excess(&mut self) {
        self.excess = &[];
    }
}

#[derive(Serialize)]
struct OutcomeBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Cow<'a, Value>>,
    answer_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer_sha256: Option<Sha256Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    disposition: &'static str,
    ended: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    fuel: u64,
    intent: u64,
    is_error: bool,
    latency_us: u64,
    #[serde(skip_serializing_if = "LogTail::is_empty")]
    log: LogTail<'a>,
    memory_peak: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    permits: Option<TallyBody<'a>>,
    risk: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<TallyBody<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sent: Vec<SentBody<'a>>,
    sent_count: usize,
    /// It ended well although the last attempt at one of its backends failed.
    #[serde(skip_serializing_if = "is_false")]
    succeeded_despite_backend_error: bool,
    tool: &'a str,
    trace_id: &'a str,
    /// Attempts that never left the host. Apart, because whoever reads `sent` counts on it that those did.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unsent: Vec<SentBody<'a>>,
    #[serde(skip_serializing_if = "is_none_at_all")]
    unsent_count: usize,
}

/// What would have been decided if policies on trial counted.
#[derive(Serialize)]
pub(super) struct ShadowBody<'a> {
    decision: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    policies: &'a [String],
}

impl<'a> ShadowBody<'a> {
    pub(super) fn of(verdict: &'a Verdict) -> Self {
        let errors = verdict.errors.iter().take(4).map(|error| clip(error, TEXT_MAX)).collect();
        Self { decision: decision(verdict), errors, policies: first(&verdict.policies) }
    }
}

fn decision(verdict: &Verdict) -> &'static str {
    match verdict.decision {
        Decision::Allow => "allow",
        Decision::Deny => "deny",
    }
}

/// Decisions about rows.
#[derive(Clone, Debug, Serialize)]
pub(super) struct TallyBody<'a> {
    allowed: u64,
    denied: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    policies: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    trials: Vec<&'a str>,
    #[serde(skip_serializing_if = "is_zero")]
    would_differ: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn is_none_at_all(count: &usize) -> bool {
    *count == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl<'a> TallyBody<'a> {
    /// What is written down of `tally`; nothing if nothing was decided.
    pub(super) fn of(tally: &'a RowTally) -> Option<Self> {
        let errors = tally.errors.iter().take(4).map(|error| clip(error, TEXT_MAX)).collect();
        let policies = tally.policies.iter().map(String::as_str).collect();
        let trials = tally.trials.iter().map(String::as_str).collect();
        let (allowed, denied, would_differ) = (tally.allowed, tally.denied, tally.would_differ);
        (!tally.is_empty()).then_some(Self { allowed, denied, errors, policies, trials, would_differ })
    }

    /// Keeps the counts alone.
    pub(super) fn forget_reasons(&mut self) {
        (self.errors, self.policies, self.trials) = (Vec::new(), Vec::new(), Vec::new());
    }
}

#[derive(Serialize)]
struct LostBody {
    disposition: &'static str,
    ended: &'static str,
    intent: u64,
    risk: &'static str,
}

/// How a call came to its end, in a word.
pub(super) fn ended(ended: &Ended) -> &'static str {
    match ended {
        Ended::Completed(_) => "completed",
        Ended::Failed(_) => "failed",
        Ended::Trapped(Trap::OutOfFuel) => "out_of_fuel",
        Ended::Trapped(Trap::OutOfMemory) => "out_of_memory",
        Ended::Trapped(Trap::DeadlineExceeded) => "deadline_exceeded",
        Ended::Trapped(Trap::Guest(_)) => "trapped",
        Ended::Asked(_) => "asked",
        Ended::Cancelled => "cancelled",
    }
}

/// The text that operators get beyond what the caller is told.
fn detail(ended: &Ended) -> Option<&str> {
    match ended {
        Ended::Trapped(Trap::Guest(text)) => Some(text),
        Ended::Failed(failure) => Some(&failure.message),
        _ => None,
    }
}

pub(super) fn first<T>(list: &[T]) -> &[T] {
    &list[..list.len().min(LIST_MAX)]
}

/// The start of a text, at most `max` bytes.
pub(super) fn clip(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
