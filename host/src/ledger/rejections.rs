//! Calls that did not run: what is written down about them, and how repeated ones are counted instead of written.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::basis::Basis;
use super::body::{Body, Unsealed, fresh_salt};
use super::content::{ScopeDelta, ShadowBody, TEXT_MAX, TallyBody, clip, first};
use super::facts::{Generation, RejectionFacts, WhyNot};
use super::redact::Redacted;
use super::secret::Secret;
use super::subjects::SubjectKey;
use crate::model::scope::Delta;
use crate::model::{CallId, Principal, Rejection, RowTally, Scope, Timestamp, Verdict};

/// The most kinds of rejection that are told apart at a time; what comes beyond is counted as one.
const KINDS_MAX: usize = 4096;

/// How long rejections of one kind are counted before the count is written down.
const WINDOW: Duration = Duration::from_secs(1);

/// The rejections of the moment, by kind.
///
/// The first of a kind is written down at once; further ones within a second are counted, and the count is written down as
/// one record. So no caller can buy more than one write per second and kind, and the number of kinds is bounded.
#[derive(Default)]
pub(super) struct Rejections {
    kinds: Mutex<HashMap<Kind, Window>>,
    /// Rejections of nobody in particular.
    anonymous: AtomicU64,
    /// Rejections beyond [`KINDS_MAX`].
    uncounted: AtomicU64,
}

/// What has to be alike for rejections to be counted together. Nothing in it is of the caller's free choice.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Kind {
    issuer: String,
    subject: String,
    /// Empty for tools that don't exist: their names are the caller's choice.
    tool: String,
    code: &'static str,
    replay_of: Option<CallId>,
    /// The policies that decided, the scopes that are missing, and the generation both are of: other reasons are other rejections.
    policies: Vec<String>,
    missing: Vec<Scope>,
    generation: u64,
}

/// The count of one kind since the last record of it.
struct Window {
    opened: Instant,
    count: u64,
    first: Timestamp,
    last: Latest,
    /// The rows of all answers that were given again.
    rows: RowTally,
}

/// The most recent rejection of a kind, which stands for those counted with it.
#[derive(Clone)]
struct Latest {
    at: Timestamp,
    call: CallId,
    trace_id: String,
    principal: Principal,
    generation: Generation,
}

/// A count that is due to be written down.
pub(super) struct Repetition {
    pub call: CallId,
    pub generation: Generation,
    pub principal: Principal,
    pub code: &'static str,
    body: Unsealed,
}

impl Repetition {
    /// What is written down, readable with the caller's key.
    pub fn body(self, key: &SubjectKey) -> Body {
        self.body.sealed(key)
    }
}

impl Rejections {
    /// Notes a rejection; answers whether a record of its own is to be written.
    pub fn note(&self, facts: &RejectionFacts<'_>, now: Timestamp) -> bool {
        let Some(principal) = facts.principal else {
            self.anonymous.fetch_add(1, Ordering::Relaxed);
            return false;
        };
        let code = facts.why.code();
        let exists = !matches!(facts.why, WhyNot::Rejected(Rejection::UnknownTool(_)));
        let kind = Kind {
            issuer: principal.issuer.clone(),
            subject: principal.subject.clone(),
            tool: if exists { facts.tool.to_owned() } else { String::new() },
            code,
            replay_of: facts.why.replay_of(),
            policies: facts.why.verdict().map_or_else(Vec::new, |verdict| first(&verdict.policies).to_vec()),
            missing: facts.delta.as_ref().map_or_else(Vec::new, |delta| first(&delta.missing).to_vec()),
            generation: facts.generation.number,
        };
        let latest = Latest {
            at: now,
            call: facts.call,
            trace_id: facts.trace.trace_id(),
            // Scopes and claims are not part of the record.
            principal: Principal { scopes: Vec::new(), claims: Default::default(), ..principal.clone() },
            generation: facts.generation,
        };
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(window) = kinds.get_mut(&kind) {
            if window.count == 0 {
                window.first = now;
            }
            window.count += 1;
            window.last = latest;
            if let WhyNot::Replayed { rows: Some(rows), .. } = facts.why {
                window.rows.add(rows);
            }
            return false;
        }
        if kinds.len() >= KINDS_MAX {
            self.uncounted.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        kinds.insert(kind, Window { opened: Instant::now(), count: 0, first: now, last: latest, rows: RowTally::default() });
        true
    }

    /// The counts that are due. All of them when `closing`.
    pub fn take_due(&self, closing: bool) -> Vec<Repetition> {
        let mut due = Vec::new();
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.retain(|kind, window| {
            if !closing && window.opened.elapsed() < WINDOW {
                return true;
            }
            if window.count == 0 {
                // Quiet for a whole window: the next one is written down at once again.
                return false;
            }
            due.push(window.repetition(kind));
            window.opened = Instant::now();
            window.count = 0;
            window.rows = RowTally::default();
            true
        });
        due
    }

    /// How many rejections left nothing but this count: anonymous ones, and those beyond what is told apart.
    pub fn unrecorded(&self) -> u64 {
        self.anonymous.load(Ordering::Relaxed) + self.uncounted.load(Ordering::Relaxed)
    }
}

impl Window {
    fn repetition(&self, kind: &Kind) -> Repetition {
        let latest = &self.last;
        let mut content = Content::new(&latest.principal, kind.code, kind.replay_of, &kind.tool, latest.trace_id.clone());
        content.repeated = Some(Repeated { count: self.count, first_ms: self.first.as_millis(), last_ms: latest.at.as_millis() });
        content.rows = TallyBody::of(&self.rows);
        content.policies = &kind.policies;
        let delta = Delta { missing: kind.missing.clone(), excess: Vec::new() };
        content.scopes = (!delta.missing.is_empty()).then(|| ScopeDelta::of(&delta));
        let body = content.into_body(None);
        Repetition {
            call: latest.call,
            generation: latest.generation,
            principal: latest.principal.clone(),
            code: kind.code,
            body,
        }
    }
}

/// The body of one rejection, readable with the caller's key; `None` for an anonymous one.
pub(super) fn body(secret: &Secret, key: &SubjectKey, facts: &RejectionFacts<'_>) -> Option<Body> {
    let why = &facts.why;
    let mut content = Content::new(facts.principal?, why.code(), why.replay_of(), facts.tool, facts.trace.trace_id());
    if let Some(verdict) = why.verdict() {
        content.errors = verdict.errors.iter().take(4).map(|error| clip(error, TEXT_MAX)).collect();
        content.policies = first(&verdict.policies);
        content.shadow = verdict.shadow.as_deref().map(ShadowBody::of);
    }
    if let WhyNot::Replayed { rows, .. } = why {
        content.rows = rows.and_then(TallyBody::of);
    }
    content.hidden = facts.hidden;
    content.scopes = facts.delta.as_ref().map(ScopeDelta::of);
    let salt = fresh_salt();
    let arguments = facts.arguments.map(|(arguments, pointers)| Redacted::new(secret, &salt, arguments, pointers));
    content.arguments = arguments.as_ref();
    // Arguments are known only where policies decided on them; whoever may not see the tool is told that there is none.
    let is_decision = match why {
        WhyNot::Rejected(Rejection::Denied(_) | Rejection::InsufficientScope { .. }) => true,
        WhyNot::Rejected(Rejection::UnknownTool(_)) => facts.arguments.is_some(),
        _ => false,
    };
    if let (true, Some(principal), Some(delta)) = (is_decision, facts.principal, &facts.delta) {
        content.basis = Some(Basis::of(principal, &facts.claims, delta));
    }
    Some(content.into_body(Some(&salt)).sealed(key))
}

/// The body of a rejection whose caller was erased at the last moment: about nobody.
pub(super) fn impersonal(code: &'static str) -> Body {
    Body::plain(&Impersonal { code })
}

#[derive(Serialize)]
struct Impersonal {
    code: &'static str,
}

impl WhyNot<'_> {
    /// The word that records give as the reason: an error code of the envelope, or one of the few that have no envelope.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Replayed { .. } => "replayed",
            Self::Pending => "pending",
            Self::Rejected(rejection) => match rejection {
                Rejection::Unauthenticated(_) => "unauthenticated",
                Rejection::UnknownTool(_) => "unknown_tool",
                Rejection::ClientLacks(_) => "client_lacks",
                Rejection::InvalidArguments(_) => "invalid_arguments",
                Rejection::InsufficientScope { .. } => "insufficient_scope",
                Rejection::Denied(_) => "permission_denied",
                Rejection::KeyRequired => "idempotency_key_required",
                Rejection::KeyReused { .. } => "idempotency_key_reused",
                Rejection::InFlight { .. } => "idempotency_in_flight",
                Rejection::OutcomeUnknown { .. } | Rejection::AnswerUnreadable { erased: true, .. } => "outcome_unknown",
                Rejection::RateLimited { .. } => "rate_limited",
                Rejection::Overloaded { .. } => "overloaded",
                Rejection::TooCostly { .. } => "fuel_exhausted",
                Rejection::Cancelled => "cancelled",
                Rejection::ToolChanged => "tool_changed",
                Rejection::StateInvalid => "request_state_invalid",
                Rejection::AnswersTooLarge => "answers_too_large",
                Rejection::Unanswered => "unanswered",
                Rejection::AuditUnavailable(_) | Rejection::AnswerUnreadable { erased: false, .. } => "audit_unavailable",
                Rejection::ShuttingDown => "shutting_down",
            },
        }
    }

    fn verdict(&self) -> Option<&Verdict> {
        match self {
            Self::Rejected(Rejection::Denied(verdict)) => Some(verdict),
            Self::Replayed { verdict, .. } => Some(verdict),
            Self::Rejected(_) | Self::Pending => None,
        }
    }

    fn replay_of(&self) -> Option<CallId> {
        match self {
            Self::Replayed { of, .. } => Some(*of),
            Self::Rejected(_) | Self::Pending => None,
        }
    }
}

/// The JSON of a rejection's body, members in canonical order.
#[derive(Serialize)]
struct Content<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'a Redacted<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    basis: Option<Basis<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    code: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<&'a str>,
    /// The caller was told that there is no such tool.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    hidden: bool,
    issuer: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    policies: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    repeated: Option<Repeated>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay_of: Option<CallId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<TallyBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scopes: Option<ScopeDelta<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shadow: Option<ShadowBody<'a>>,
    subject: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    tool: &'a str,
    trace_id: String,
}

/// How often a rejection was repeated, and over which time.
#[derive(Serialize)]
struct Repeated {
    count: u64,
    first_ms: u64,
    last_ms: u64,
}

impl<'a> Content<'a> {
    fn new(principal: &'a Principal, code: &'static str, replay_of: Option<CallId>, tool: &'a str, trace_id: String) -> Self {
        Self {
            arguments: None,
            basis: None,
            client: principal.client.as_deref(),
            code,
            errors: Vec::new(),
            hidden: false,
            issuer: &principal.issuer,
            policies: &[],
            repeated: None,
            replay_of,
            rows: None,
            scopes: None,
            shadow: None,
            subject: &principal.subject,
            tenant: principal.tenant.as_deref(),
            tool: clip(tool, TEXT_MAX),
            trace_id,
        }
    }

    /// The body, shortened until it fits into a row: a rejection never buys a file.
    fn into_body(mut self, salt: Option<&[u8; 32]>) -> Unsealed {
        let fresh = fresh_salt();
        let salt = salt.unwrap_or(&fresh);
        let body = Unsealed::new(salt, &self);
        if body.is_inline() {
            return body;
        }
        (self.arguments, self.basis) = (None, None);
        let body = Unsealed::new(salt, &self);
        if body.is_inline() {
            return body;
        }
        self.scopes.iter_mut().for_each(ScopeDelta::forget_excess);
        let body = Unsealed::new(salt, &self);
        if body.is_inline() {
            return body;
        }
        // What is left is short but for names from the token and from policy files; 64 bytes of each always fit.
        (self.errors, self.policies, self.scopes, self.shadow) = (Vec::new(), &[], None, None);
        self.rows.iter_mut().for_each(TallyBody::forget_reasons);
        (self.issuer, self.subject, self.tool) = (clip(self.issuer, 64), clip(self.subject, 64), clip(self.tool, 64));
        self.client = self.client.map(|client| clip(client, 64));
        self.tenant = self.tenant.map(|tenant| clip(tenant, 64));
        Unsealed::new(salt, &self)
    }
}
