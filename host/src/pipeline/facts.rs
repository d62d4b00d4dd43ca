//! What the pipeline tells the ledger and the sandbox about one call: plain translations, no decisions.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Call, Progress};
use crate::admission::Permit;
use crate::ledger::{self, IntentFacts, Ledger, LedgerError, RejectionFacts, ToolFacts, WhyNot};
use crate::model::{Arguments, CallId, Digest, IdempotencyKey, Rejection, Timestamp};
use crate::outbound::{CallScope, DeriveKey, OutboundCall};
use crate::policy::Grant;
use crate::registry::Tool;
use crate::sandbox::{CallLimits, GuestContext, HostFunctions, Invocation};

/// What is written down before the call runs.
pub fn intent<'a>(
    call: &'a Call,
    tool: &'a Tool,
    arguments: &'a Arguments,
    grant: &'a Grant,
    permit: &Permit,
) -> IntentFacts<'a> {
    IntentFacts {
        call: call.id,
        trace: &call.trace,
        principal: &call.principal,
        tool: ToolFacts {
            name: grant.tool(),
            plugin: &tool.plugin.manifest.name,
            plugin_version: &tool.plugin.manifest.version,
            component: tool.plugin.digest,
            effect: tool.manifest.effect,
            risk: tool.manifest.risk,
            fuel_limit: permit.fuel(),
            scopes: &tool.manifest.scopes,
            redact: &tool.manifest.redact,
        },
        arguments,
        verdict: grant.verdict(),
        generation: ledger::Generation { number: call.generation.number, policies: grant.policy() },
        queued: permit.queued(),
    }
}

/// What is written down of a call that does not run.
pub fn rejection<'a>(call: &'a Call, tool_name: &'a str, why: WhyNot<'a>) -> RejectionFacts<'a> {
    // The arguments are left out: nobody promised anything about them, and most rejected calls never had valid ones.
    RejectionFacts {
        call: call.id,
        trace: &call.trace,
        principal: Some(&call.principal),
        tool: tool_name,
        arguments: None,
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

/// The first call with the key has not ended: ask again after as long as it has run so far, within reason.
pub fn in_flight(first: CallId, since: Timestamp) -> Rejection {
    let running = Duration::from_millis(Timestamp::now().as_millis().saturating_sub(since.as_millis()));
    Rejection::InFlight { first, retry_after: running.clamp(Duration::from_secs(1), Duration::from_secs(30)) }
}

/// What the call may reach, and the keys its backends see: derived from the claim, so that they name the same effect again.
pub fn call_scope(call: &Call, tool: &Tool, claim: Option<Digest>, ledger: &Ledger) -> CallScope {
    let derive = claim.map(|claim| {
        let ledger = ledger.clone();
        let derive =
            move |backend: &str, method: &str, path: &str, n: u32| ledger.outbound_key(&claim, backend, method, path, n.into());
        Arc::new(derive) as DeriveKey
    });
    CallScope { allowed: tool.plugin.manifest.sandbox.backends.clone(), trace: call.trace.clone(), key: derive }
}

/// What the sandbox runs.
pub fn invocation(
    call: &Call,
    tool: &Tool,
    arguments: &Arguments,
    key: Option<&IdempotencyKey>,
    permit: &Permit,
    outbound: &Arc<OutboundCall>,
    stop: CancellationToken,
) -> Invocation {
    let outbound = outbound.clone();
    let progress = call.progress.clone();
    let (id, trace_id) = (call.id, call.trace.trace_id());
    Invocation {
        tool: tool.manifest.name.to_string(),
        arguments: serde_json::to_string(arguments).expect("arguments were JSON when they came"),
        limits: CallLimits {
            fuel: permit.fuel(),
            memory: tool.plugin.manifest.sandbox.memory,
            deadline: tool.manifest.deadline.duration(),
        },
        context: GuestContext {
            subject: call.principal.subject.clone(),
            trace_id: trace_id.clone(),
            attempt: 1,
            idempotency_key: key.map(|key| key.as_str().to_owned()),
            row_filter: None,
        },
        host: HostFunctions {
            // No policy speaks of rows in this version, and what no policy permits is denied.
            permits: Box::new(|_, _| false),
            send: Arc::new(move |request| outbound.send(request)),
            progress: Box::new(move |done, total, message| {
                if let Some(progress) = &progress {
                    // A caller that reads slower than the guest reports misses steps, never the result.
                    let _ = progress.try_send(Progress { done, total, message });
                }
            }),
            log: Box::new(move |level, line| tracing::debug!(call = %id, trace = trace_id, level, line, "guest")),
            cancelled: call.cancelled.clone(),
        },
        stop,
    }
}

fn generation(call: &Call) -> ledger::Generation {
    ledger::Generation { number: call.generation.number, policies: call.generation.policies.hash() }
}
