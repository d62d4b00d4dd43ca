//! What the pipeline tells the ledger and the sandbox about one call: plain translations, no decisions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use opentelemetry::context::FutureExt as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::checks::Authorized;
use super::guest::Guest;
use super::inquiry::Inquiry;
use super::rows::Rows;
use super::span::log_context;
use super::{Call, Progress};
use crate::admission::{Drawn, Permit, Refused};
use crate::ledger::{self, IntentFacts, Ledger, LedgerError, QueuedFacts, Reasking, RejectionFacts, ToolFacts, WhyNot};
use crate::model::scope::{Bindings, Delta};
use crate::model::{Arguments, CallId, Digest, Effect, IdempotencyKey, Origin, Rejection, Timestamp};
use crate::outbound::{CallScope, Commit, DeriveKey, Outbound, OutboundCall};
use crate::registry::Tool;
use crate::sandbox::{CallLimits, Fuel, GuestContext, HostFunctions, Invocation, Supply};

/// What is written down before the call runs.
pub fn intent<'a>(
    call: &'a Call,
    tool: &'a Tool,
    arguments: &'a Arguments,
    authorized: &'a Authorized,
    claims: &'a BTreeMap<&'a str, &'a Value>,
    permit: &Permit,
) -> IntentFacts<'a> {
    let Authorized { grant, delta } = authorized;
    IntentFacts {
        call: call.id,
        trace: &call.trace,
        principal: &call.principal,
        tool: ToolFacts {
            name: grant.tool(),
            plugin: &tool.plugin.manifest.name,
            plugin_version: &tool.plugin.manifest.version,
            component: tool.plugin.version.component,
            effect: tool.manifest.effect,
            risk: tool.manifest.risk,
            fuel_limit: permit.fuel(),
            redact: &tool.manifest.redact,
        },
        arguments,
        dialogue: &call.dialogue,
        verdict: grant.verdict(),
        delta,
        claims,
        generation: ledger::Generation { number: call.generation.number, policies: grant.policy() },
        queued: permit.queued(),
    }
}

/// What it takes to run the call later.
pub fn queued<'a>(
    call: &'a Call,
    tool: &'a Tool,
    arguments: &'a Arguments,
    key: Option<&'a IdempotencyKey>,
    until: Timestamp,
) -> QueuedFacts<'a> {
    QueuedFacts {
        call: call.id,
        trace: &call.trace,
        principal: &call.principal,
        tool: &tool.manifest.name,
        plugin: &tool.plugin.manifest.name,
        face: tool.face,
        effect: tool.manifest.effect,
        arguments,
        key,
        until,
        dialogue: &call.dialogue,
        asks: &[],
    }
}

/// The claims that decisions about the call may depend on.
pub fn claims<'a>(call: &'a Call, tool: &Tool) -> BTreeMap<&'a str, &'a Value> {
    call.generation.policies.claims_read(&call.principal, &tool.manifest.name)
}

/// What is written down of a call that does not run.
///
/// The arguments are told only where policies decided on them: of others nobody promised anything.
pub fn rejection<'a>(
    call: &'a Call,
    tool_name: &'a str,
    tool: Option<&'a Tool>,
    arguments: Option<&'a Arguments>,
    why: WhyNot<'a>,
) -> RejectionFacts<'a> {
    let bindings = Bindings { principal: &call.principal, arguments };
    RejectionFacts {
        call: call.id,
        trace: &call.trace,
        principal: Some(&call.principal),
        tool: tool_name,
        arguments: tool
            .filter(|_| !matches!(why, WhyNot::Replayed { .. }))
            .and_then(|tool| Some((arguments?, &tool.manifest.redact[..]))),
        hidden: false,
        delta: tool.map(|tool| Delta::of(&call.principal.scopes, &tool.manifest.scopes, &bindings)),
        claims: tool.map_or_else(BTreeMap::new, |tool| claims(call, tool)),
        generation: generation(call),
        why,
    }
}

/// Why the ledger did not take an intent, for the caller.
pub fn refused_intent(error: LedgerError) -> Rejection {
    match error {
        LedgerError::Claimed { first } => in_flight(first, Timestamp::now()),
        error => Rejection::AuditUnavailable(error.to_string()),
    }
}

/// Why the answer of the first call with the key is not given again, for the caller; the rest is for operators.
pub fn unreadable(call: &Call, first: CallId, why: &LedgerError) -> Rejection {
    let erased = matches!(why, LedgerError::Refused { .. });
    if !erased {
        tracing::error!(call = %call.id, %first, problem = %why, "an answer could not be replayed");
    }
    Rejection::AnswerUnreadable { first, erased }
}

/// Why the gate let a call not even wait, for the caller.
pub fn refused_entry(refused: Refused) -> Rejection {
    match refused {
        Refused::Overloaded { retry_after } => Rejection::Overloaded { retry_after },
        Refused::TooCostly { fuel, most } => Rejection::TooCostly { fuel, most },
    }
}

/// The first call with the key has not ended: ask again after as long as it has run so far, within reason.
pub fn in_flight(first: CallId, since: Timestamp) -> Rejection {
    let running = Duration::from_millis(Timestamp::now().as_millis().saturating_sub(since.as_millis()));
    Rejection::InFlight { first, retry_after: running.clamp(Duration::from_secs(1), Duration::from_secs(30)) }
}

/// What the call may reach, and the keys its backends see: derived from the claim, so that they name the same effect again.
///
/// INVARIANT: a write sets aside all it may still burn before its first unsafe request, so that it is not parked halfway.
pub fn call_scope(call: &Call, tool: &Tool, claim: Option<Digest>, ledger: &Ledger, permit: &Permit) -> CallScope {
    let purse = permit.purse().clone();
    let commit = (tool.manifest.effect == Effect::Write)
        .then(|| Arc::new(move || Box::pin(purse.commit()) as BoxFuture<'static, ()>) as Commit);
    let derive = claim.map(|claim| {
        let ledger = ledger.clone();
        let derive =
            move |backend: &str, method: &str, path: &str, n: u32| ledger.outbound_key(&claim, backend, method, path, n.into());
        Arc::new(derive) as DeriveKey
    });
    let sandbox = &tool.plugin.manifest.sandbox;
    CallScope {
        allowed: sandbox.backends.iter().cloned().chain(sandbox.origins.iter().map(Origin::to_string)).collect(),
        trace: call.spans.clone(),
        key: derive,
        keyed: tool.manifest.backend_keyed,
        deadline: tool.manifest.deadline.duration(),
        gated: is_gated(tool),
        effect: tool.manifest.effect,
        commit,
    }
}

/// What it takes to ask the tool's backends again for an outcome that nobody knows; `None` if it must not be done: they make no
/// promise about keys, or the tool can reach others than them.
pub fn reasking(tool: &Tool, outbound: &Outbound) -> Option<Reasking> {
    let sandbox = &tool.plugin.manifest.sandbox;
    if tool.manifest.effect == Effect::Read || !tool.manifest.backend_keyed || !sandbox.origins.is_empty() {
        return None;
    }
    let (window, places) = outbound.keyed(&sandbox.backends).filter(|(window, _)| !window.is_zero())?;
    let executor = Sha256::new().chain_update(tool.plugin.version.component.0).chain_update(places.0);
    Some(Reasking { executor: Digest(executor.finalize().into()), window })
}

/// Whether a call of the tool sends nothing unsafe before a row was permitted: it changes rows, and its scopes say which.
fn is_gated(tool: &Tool) -> bool {
    let has_conditions = tool.manifest.scopes.iter().any(|scope| !scope.conditions().is_empty());
    tool.manifest.effect == Effect::Write && has_conditions
}

/// What the sandbox runs.
#[expect(clippy::too_many_arguments, reason = "each is one of the proofs and parts that the call has gathered")]
pub fn invocation(
    call: &Call,
    tool: &Tool,
    arguments: &Arguments,
    attempt: u32,
    key: Option<&IdempotencyKey>,
    permit: &Permit,
    outbound: &Arc<OutboundCall>,
    rows: &Rows,
    stop: CancellationToken,
    guest: &Guest,
) -> Invocation {
    let (outbound, gate) = (outbound.clone(), outbound.clone());
    let (permits, hint) = (rows.clone(), rows.clone());
    let (progress, is_silent) = (call.progress.clone(), rows.are_delivered());
    let (inquiry, changes, asker) = (Inquiry::new(tool, &call.dialogue), outbound.clone(), guest.clone());
    let (effect, logged) = (tool.manifest.effect, log_context(guest.spans()));
    let (trace_id, heard) = (call.trace.trace_id(), guest.clone());
    Invocation {
        tool: tool.manifest.name.to_string(),
        arguments: serde_json::to_string(arguments).expect("arguments were JSON when they came"),
        limits: CallLimits {
            fuel: permit.fuel(),
            memory: tool.plugin.manifest.sandbox.memory,
            deadline: tool.manifest.deadline.duration(),
        },
        supply: supply(permit),
        context: GuestContext {
            subject: call.principal.subject.clone(),
            trace_id,
            attempt,
            idempotency_key: key.map(|key| key.as_str().to_owned()),
        },
        host: HostFunctions {
            permits: Box::new(move |resource, row| {
                let allowed = permits.permits(resource, row);
                if allowed && permits.opens_gate() {
                    gate.allow_unsafe();
                }
                allowed
            }),
            row_filter: Box::new(move || hint.hint()),
            ask: Box::new(move |questions| {
                let may_have_changed = effect == Effect::Write && changes.asked_for_changes();
                inquiry.ask(questions, may_have_changed, |why| asker.say(4, why))
            }),
            // On a task of the sandbox's own, whose log lines belong to the call all the same.
            send: Arc::new(move |request, patience| outbound.send_within(request, patience).with_context(logged.clone()).boxed()),
            https: tool.plugin.manifest.sandbox.origins.iter().any(Origin::is_https),
            progress: Box::new(move |done, total, message| {
                if let Some(progress) = &progress {
                    // What a tool says of rows beside them could tell of rows that are not the caller's.
                    let message = if is_silent { String::new() } else { message };
                    // A caller that reads slower than the guest reports misses steps, never the result.
                    let _ = progress.try_send(Progress { done, total, message });
                }
            }),
            log: Box::new(move |level, line| heard.say(level, line)),
            cancelled: call.cancelled.clone(),
        },
        stop,
    }
}

/// Where the guest's fuel and memory come from: the purse that the permit came with.
fn supply(permit: &Permit) -> Supply {
    let (purse, memory) = (permit.purse().clone(), permit.purse().clone());
    Supply {
        share: purse.share(),
        drawn: purse.drawn(),
        draw: Arc::new(move |total| match purse.draw(total) {
            Drawn::Now(drawn) => Fuel::Now(drawn),
            Drawn::Later(parked) => Fuel::Later(parked),
        }),
        may_grow: Box::new(move |total| memory.grow(total)),
    }
}

fn generation(call: &Call) -> ledger::Generation {
    ledger::Generation { number: call.generation.number, policies: call.generation.policies.hash() }
}
