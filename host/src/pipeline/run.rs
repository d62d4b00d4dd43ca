//! A call from its start to its end: intent, execution, outcome. Owned by the host, not by a connection.

use std::sync::Arc;
use std::time::Instant;

use opentelemetry::context::FutureExt as _;

use super::asking::Asker;
use super::checks::Authorized;
use super::guest::Guest;
use super::handles::Live;
use super::refusal::Refusal;
use super::rows::Rows;
use super::stages::Stage;
use super::turn::Attached;
use super::{Answer, Call, Keyed, Pipeline, facts, finish};
use crate::admission::Permit;
use crate::ledger::{Lease, Origin, QueuedCall};
use crate::model::{Arguments, Effect, Ended, Envelope, IdempotencyKey, Outcome, TestHook, Timestamp};
use crate::outbound::CallScope;
use crate::registry::Tool;

/// Everything that has said yes, handed to the task that owns the call from here on.
pub(super) struct Job {
    pub call: Call,
    pub tool: Arc<Tool>,
    pub arguments: Arguments,
    pub authorized: Authorized,
    pub right: Right,
    pub permit: Permit,
    pub live: Live,
}

/// What makes the call the one that may run: its key, or its row in the durable queue.
pub(super) enum Right {
    /// It never waited in the durable queue.
    Claimed(Option<Keyed>),
    /// It did.
    Queued { key: Option<IdempotencyKey>, queued: QueuedCall },
}

impl Right {
    fn lease(&self) -> Option<&Lease> {
        match self {
            Self::Claimed(keyed) => keyed.as_ref().map(|keyed| &keyed.lease),
            Self::Queued { queued, .. } => queued.lease(),
        }
    }

    fn into_origin(self) -> (Option<IdempotencyKey>, Origin) {
        match self {
            Self::Claimed(keyed) => {
                let (key, lease) = keyed.map(|Keyed { key, lease }| (key, lease)).unzip();
                (key, Origin::New(lease))
            }
            Self::Queued { key, queued } => (key, Origin::Queued(queued)),
        }
    }
}

impl Pipeline {
    /// INVARIANT: from here on the host, not the connection, owns the call. The intent is written inside the spawned task;
    /// written before, a client that disconnects at that moment would strand it without an outcome.
    pub(super) async fn start(self: &Arc<Self>, job: Job, caller: &Attached) -> Answer {
        let (id, trace, cancelled) = (job.call.id, job.call.trace.trace_id(), job.call.cancelled.clone());
        let (structured, effect) = (job.tool.output.is_none(), job.tool.manifest.effect);
        let (attachment, started) = (job.live.attachment.clone(), Timestamp::now());
        let pipeline = self.clone();
        let mut run = self.parts.tasks.spawn(async move { pipeline.run(job).await }.with_current_context());
        let parted = async {
            tokio::select! {
                () = caller.gone.cancelled() => {
                    // The guest may ask, and end early; nobody is left to be told anything.
                    cancelled.cancel();
                    std::future::pending().await
                }
                () = tokio::time::sleep_until(caller.until) => attachment.detach().await,
            }
        };
        let ended = tokio::select! {
            biased;
            ended = &mut run => ended,
            Some(state) = parted => {
                let wait = self.parts.admission.retry_after();
                return Answer::Pending(self.pending(id, state, started, wait));
            }
            else => run.await,
        };
        // A panic drops the intent, which then closes itself; until somebody looks, nobody knows what happened.
        ended.ok().flatten().unwrap_or_else(|| {
            let envelope = match effect {
                Effect::Read => Envelope::interrupted(id, trace),
                Effect::Write => Envelope::outcome_unknown(id, trace),
            };
            Answer::Error { envelope, structured }
        })
    }

    /// Records the intent, executes, records the outcome. Never cancelled by a caller.
    ///
    /// `None` if the call is in the durable queue, because no intent could be written, or because it asked something and waits for
    /// the answers.
    pub(super) async fn run(self: &Arc<Self>, job: Job) -> Option<Answer> {
        let Job { call, tool, arguments, authorized, right, permit, live } = job;
        fail::fail_point!("call::claimed", |_| std::process::abort());
        self.stages.waited(permit.queued());
        let timer = self.stages.start(Stage::Intent, &call.spans);
        let claim = right.lease().map(Lease::claim);
        let attempt = right.lease().and_then(Lease::again).map_or(1, |again| again.attempt);
        let was_queued = matches!(right, Right::Queued { .. });
        let (key, origin) = right.into_origin();
        let claims = facts::claims(&call, &tool);
        let facts = facts::intent(&call, &tool, &arguments, &authorized, &claims, &permit);
        let mut intent = match self.parts.ledger.record_intent(&facts, origin).await {
            Ok(intent) => intent,
            Err(error) if was_queued => {
                tracing::error!(call = %call.id, %error, "a queued call could not be started");
                return None;
            }
            Err(error) => {
                let refusal = Refusal::of(facts::refused_intent(error), Some(tool));
                let refusal = if attempt > 1 { refusal.after_another() } else { refusal };
                return Some(self.reject(&call, refusal).await);
            }
        };
        drop(timer);
        live.attachment.begun();

        fail::fail_point!("call::intended", |_| std::process::abort());
        let timer = self.stages.start(Stage::Execute, &call.spans);
        let scrub = || self.parts.ledger.scrub(&arguments, &tool.manifest.redact, &call.dialogue);
        let guest = Guest::begin(&timer.span.below(&call.spans), &tool, call.id, scrub);
        let scope = facts::call_scope(&call, &tool, claim, &self.parts.ledger, &permit);
        let outbound = self.parts.outbound.begin(CallScope { trace: guest.spans().clone(), ..scope });
        let (started, stop) = (Instant::now(), self.parts.stop.clone());
        let rows = Rows::of(&call, &tool, &arguments);
        let invocation =
            facts::invocation(&call, &tool, &arguments, attempt, key.as_ref(), &permit, &outbound, &rows, stop, &guest);
        let execution = self.parts.sandbox.execute(&tool.plugin.program, invocation).await;
        // A request of the guest's may be a poll away from its connection: from here on none is, and everything below is told the same.
        let sent = outbound.close();
        guest.end(&execution);
        drop(timer);

        fail::fail_point!("call::executed", |_| std::process::abort());
        let timer = self.stages.start(Stage::Outcome, &call.spans);
        let charged = permit.settle(execution.fuel, execution.memory_peak);
        self.stages.burned(charged);
        let mut outcome = Outcome {
            ended: finish::ended(&tool, execution.ended, &outbound, &sent),
            fuel: charged,
            memory_peak: execution.memory_peak,
            latency: started.elapsed(),
            sent,
            blame: finish::blame(&outbound),
            log: execution.log,
        };
        if let Ended::Asked(questions) = &outcome.ended
            && live.attachment.settle()
        {
            let asker = Asker { call: &call, tool: &tool, arguments: &arguments, key: key.as_ref() };
            match Box::pin(self.ask_later(&asker, questions, &rows, intent, &outcome)).await {
                Ok(()) | Err(None) => return None,
                Err(Some((owed, instead))) => (intent, outcome.ended) = (owed, instead),
            }
        }
        let answer = self.conclude(&call, &tool, &arguments, &rows, intent, key.as_ref(), &outcome, &live).await;
        drop(timer);
        if answer.error().is_some_and(|code| !code.is_callers_doing()) {
            call.spans.fail();
        }
        fail::fail_point!("call::concluded", |_| std::process::abort());
        if tool.manifest.test_hook == Some(TestHook::ToolsChanged) {
            self.parts.registry.announce_change();
        }
        Some(answer)
    }
}
