//! The life of one call, top to bottom: the only place where the order of the stages exists.
//!
//! Each stage returns a proof that the next one demands (`Arc<Tool>`, `Grant`, `Lease`, `Permit`, `Intent`), so a wrong order
//! does not compile.

mod catalogue;
mod checks;
mod ending;
mod facts;
mod finish;
pub mod keys;
mod refusal;
mod reply;
mod rows;
mod span;
mod stages;

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::admission::{Admission, Ask, Permit};
use crate::auth::{AuthError, Authenticator};
use crate::ledger::{Claim, ClaimRequest, Lease, Ledger, Replay};
use crate::model::{
    Arguments, CallId, CallRequest, Credentials, Effect, Envelope, IdempotencyKey, OfferedKey, Outcome, Principal, Rejection,
    TestHook, TraceContext,
};
use crate::outbound::Outbound;
use crate::registry::{Generation, Registry, Tool};
use crate::sandbox::Sandbox;

use checks::Authorized;
use refusal::Refusal;
pub use reply::{Answer, Progress, Readiness, Replayed, Reply};
use rows::Rows;
use stages::{Stage, Stages};

/// What a pipeline is made of.
pub struct Parts {
    /// Decides who is calling.
    pub authenticator: Authenticator,
    /// The tools and policies.
    pub registry: Arc<Registry>,
    /// Writes everything down.
    pub ledger: Ledger,
    /// Decides who runs now.
    pub admission: Admission,
    /// Runs guests.
    pub sandbox: Arc<Sandbox>,
    /// Reaches backends.
    pub outbound: Outbound,
    /// Where running calls live, so that shutdown can wait for them.
    pub tasks: TaskTracker,
    /// No call starts once cancelled.
    pub shutdown: CancellationToken,
    /// Running calls are ended once cancelled: the drain took too long.
    pub stop: CancellationToken,
}

/// The call path.
pub struct Pipeline {
    parts: Parts,
    stages: Stages,
}

/// The connection's half of a call: how to stop it, where its progress goes.
pub struct Caller {
    /// Cancelled when the caller went away or cancelled. Stops what is queued; what runs may ask and end early.
    pub cancelled: CancellationToken,
    /// Where progress goes, if the caller wants it.
    pub progress: Option<mpsc::Sender<Progress>>,
}

/// One call, as every stage sees it.
struct Call {
    id: CallId,
    principal: Arc<Principal>,
    trace: TraceContext,
    /// The generation it started on, and finishes on.
    generation: Arc<Generation>,
    cancelled: CancellationToken,
    progress: Option<mpsc::Sender<Progress>>,
}

/// What the stages before admission found.
enum Claimed {
    Run { tool: Arc<Tool>, arguments: Arguments, authorized: Authorized, key: Option<Keyed> },
    Replay { tool: Arc<Tool>, arguments: Arguments, authorized: Authorized, replay: Replay },
}

/// Everything that has said yes, handed to the task that owns the call from here on.
struct Job {
    call: Call,
    tool: Arc<Tool>,
    arguments: Arguments,
    authorized: Authorized,
    key: Option<Keyed>,
    permit: Permit,
}

/// A write's idempotency key, and the right to be the one call that runs with it.
struct Keyed {
    key: IdempotencyKey,
    lease: Lease,
}

impl Pipeline {
    /// A pipeline of these parts.
    pub fn new(parts: Parts) -> Self {
        Self { parts, stages: Stages::new() }
    }

    /// Who presents these credentials.
    ///
    /// # Errors
    /// They are missing or do not verify, or can't be verified now. Only counted, not audited: nobody may buy disk writes without
    /// a name.
    pub async fn authenticate(&self, credentials: &Credentials) -> Result<Arc<Principal>, AuthError> {
        let authenticated = self.parts.authenticator.authenticate(credentials).await;
        authenticated.inspect_err(|refused| {
            metrics::counter!("tidegate_unauthenticated_total", "reason" => refused.as_str()).increment(1);
        })
    }

    /// Calls a tool. Every call ends as exactly one rejection or one outcome, and both are written down.
    pub async fn call(self: &Arc<Self>, principal: Arc<Principal>, request: CallRequest, caller: Caller) -> Reply {
        let id = CallId::random();
        let (span, trace) = span::open(&request.trace, id, &request.tool);
        let mut call = Call {
            id,
            principal,
            trace: trace.clone(),
            generation: self.parts.registry.current(),
            cancelled: caller.cancelled,
            progress: caller.progress,
        };
        let answered = async {
            match self.claim(&call, request) {
                Ok(Claimed::Replay { tool, arguments, authorized, replay }) => {
                    self.replay(&call, &tool, &arguments, &authorized, replay).await
                }
                Ok(Claimed::Run { tool, arguments, authorized, key }) => {
                    let again = key.as_ref().is_some_and(|key| key.lease.again().is_some());
                    let ready = match self.admit(&call, &tool).await {
                        Ok(permit) => {
                            self.recheck(&mut call, &tool, &arguments, authorized).map(|authorized| (permit, authorized))
                        }
                        Err(rejection) => Err(Refusal::of(rejection, Some(tool.clone())).into()),
                    };
                    match ready {
                        Ok((permit, authorized)) => {
                            (None, self.start(Job { call, tool, arguments, authorized, key, permit }).await)
                        }
                        Err(refusal) if again => (None, self.reject(&call, refusal.after_another()).await),
                        Err(refusal) => (None, self.reject(&call, *refusal).await),
                    }
                }
                Err(refusal) => (None, self.reject(&call, *refusal).await),
            }
        };
        let (replayed, answer) = answered.instrument(span.clone()).await;
        span::close(&span, &answer);
        Reply { call_id: id, trace, replayed, answer }
    }

    /// Everything that may still say no before the call has to wait: look up, validate, authorize, claim.
    fn claim(&self, call: &Call, request: CallRequest) -> Result<Claimed, Box<Refusal>> {
        if self.parts.shutdown.is_cancelled() {
            return Err(Refusal::of(Rejection::ShuttingDown, None).into());
        }
        let CallRequest { tool: name, mut arguments, offered_keys, client_capabilities, .. } = request;
        let timer = self.stages.start(Stage::LookUp);
        let tool = call.generation.tools.get(name.as_str()).cloned();
        let tool = tool.ok_or_else(|| Refusal::of(Rejection::UnknownTool(name), None))?;
        drop(timer);
        let refuse = |rejection| checks::concealed(call, &tool, rejection);

        let timer = self.stages.start(Stage::Validate);
        let key_argument = keys::take_key_argument(&tool.manifest, &mut arguments).map_err(refuse)?;
        let arguments = checks::validate(&tool, arguments, &client_capabilities).map_err(refuse)?;
        drop(timer);

        let timer = self.stages.start(Stage::Authorize);
        let authorized = checks::authorize(call, &tool, &arguments)?;
        drop(timer);

        let _timer = self.stages.start(Stage::Claim);
        fail::fail_point!("call::claim", |_| std::process::abort());
        let offered: Vec<OfferedKey> = key_argument.into_iter().chain(offered_keys).collect();
        let key = keys::resolve(&tool.manifest, &arguments, offered).map_err(refuse)?;
        let key = match key {
            None => None,
            Some(key) => match self.claim_key(call, &tool, &key, &arguments).map_err(refuse)? {
                Claim::Fresh(lease) => Some(Keyed { key, lease }),
                Claim::Replay(replay) => return Ok(Claimed::Replay { tool, arguments, authorized, replay }),
                Claim::InFlight { first, since } => return Err(refuse(facts::in_flight(first, since))),
                Claim::Unknown { first } => return Err(refuse(Rejection::OutcomeUnknown { first })),
                Claim::Reused { first } => return Err(refuse(Rejection::KeyReused { first })),
            },
        };
        Ok(Claimed::Run { tool, arguments, authorized, key })
    }

    /// A call that had to wait starts under the policies of the moment it starts, and no others.
    fn recheck(
        &self,
        call: &mut Call,
        tool: &Arc<Tool>,
        arguments: &Arguments,
        authorized: Authorized,
    ) -> Result<Authorized, Box<Refusal>> {
        let current = self.parts.registry.current();
        if current.number == call.generation.number {
            return Ok(authorized);
        }
        call.generation = current;
        match call.generation.tools.get(&tool.manifest.name) {
            Some(same) if Arc::ptr_eq(same, tool) => checks::authorize(call, tool, arguments),
            _ => Err(Refusal::of(Rejection::UnknownTool(tool.manifest.name.to_string()), None).into()),
        }
    }

    fn claim_key(&self, call: &Call, tool: &Tool, key: &IdempotencyKey, arguments: &Arguments) -> Result<Claim, Rejection> {
        let request = ClaimRequest {
            issuer: &call.principal.issuer,
            subject: &call.principal.subject,
            plugin: &tool.plugin.manifest.name,
            tool: &tool.manifest.name,
            key,
            arguments,
            call: call.id,
            reasking: facts::reasking(tool, &self.parts.outbound),
        };
        self.parts.ledger.claim(&request).map_err(|error| Rejection::AuditUnavailable(error.to_string()))
    }

    /// Waits for a slot; a caller that goes away leaves the queue.
    async fn admit(&self, call: &Call, tool: &Tool) -> Result<Permit, Rejection> {
        let _timer = self.stages.start(Stage::Admit);
        tokio::select! {
            // In this order: a call whose caller is gone must not start because a slot happens to be free.
            biased;
            () = call.cancelled.cancelled() => Err(Rejection::Cancelled),
            () = self.parts.shutdown.cancelled() => Err(Rejection::ShuttingDown),
            permit = async {
                let (principal, tool) = (&*call.principal, &*tool);
                let memory = tool.plugin.manifest.sandbox.memory;
                let ask = Ask { principal, tool: &tool.manifest.name, fuel: tool.manifest.fuel, memory };
                let ticket = self.parts.admission.enter(&ask).map_err(facts::refused_entry)?;
                ticket.await.map_err(|expired| Rejection::Overloaded { retry_after: expired.retry_after })
            } => permit,
        }
    }

    /// INVARIANT: from here on the host, not the connection, owns the call. The intent is written inside the spawned task;
    /// written before, a client that disconnects at that moment would strand it without an outcome.
    async fn start(self: &Arc<Self>, job: Job) -> Answer {
        let (id, trace) = (job.call.id, job.call.trace.trace_id());
        let (structured, effect) = (job.tool.output.is_none(), job.tool.manifest.effect);
        let pipeline = self.clone();
        let run = self.parts.tasks.spawn(async move { pipeline.run(job).await }.in_current_span());
        // A panic drops the intent, which then closes itself; until somebody looks, nobody knows what happened.
        run.await.unwrap_or_else(|_| {
            let envelope = match effect {
                Effect::Read => Envelope::interrupted(id, trace),
                Effect::Write => Envelope::outcome_unknown(id, trace),
            };
            Answer::Error { envelope, structured }
        })
    }

    /// Records the intent, executes, records the outcome. Never cancelled by a caller.
    async fn run(&self, job: Job) -> Answer {
        let Job { call, tool, arguments, authorized, key, permit } = job;
        fail::fail_point!("call::claimed", |_| std::process::abort());
        let timer = self.stages.start(Stage::Intent);
        let (key, lease) = key.map(|Keyed { key, lease }| (key, lease)).unzip();
        let claim = lease.as_ref().map(Lease::claim);
        let attempt = lease.as_ref().and_then(Lease::again).map_or(1, |again| again.attempt);
        let claims = facts::claims(&call, &tool);
        let facts = facts::intent(&call, &tool, &arguments, &authorized, &claims, &permit);
        let intent = match self.parts.ledger.record_intent(&facts, lease).await {
            Ok(intent) => intent,
            Err(error) => {
                let refusal = Refusal::of(facts::refused_intent(error), Some(tool));
                let refusal = if attempt > 1 { refusal.after_another() } else { refusal };
                return self.reject(&call, refusal).await;
            }
        };
        drop(timer);

        fail::fail_point!("call::intended", |_| std::process::abort());
        let timer = self.stages.start(Stage::Execute);
        let outbound = self.parts.outbound.begin(facts::call_scope(&call, &tool, claim, &self.parts.ledger, &permit));
        let (started, stop) = (Instant::now(), self.parts.stop.clone());
        let rows = Rows::of(&call, &tool, &arguments);
        let invocation = facts::invocation(&call, &tool, &arguments, attempt, key.as_ref(), &permit, &outbound, &rows, stop);
        let execution = self.parts.sandbox.execute(&tool.plugin.program, invocation).await;
        drop(timer);

        fail::fail_point!("call::executed", |_| std::process::abort());
        let timer = self.stages.start(Stage::Outcome);
        let charged = permit.settle(execution.fuel, execution.memory_peak);
        self.stages.burned(charged);
        let outcome = Outcome {
            ended: finish::ended(&tool, execution.ended, &outbound),
            fuel: charged,
            memory_peak: execution.memory_peak,
            latency: started.elapsed(),
            sent: outbound.sent(),
            log: execution.log,
        };
        let answer = self.conclude(&call, &tool, &rows, intent, &outcome).await;
        drop(timer);
        fail::fail_point!("call::concluded", |_| std::process::abort());
        if tool.manifest.test_hook == Some(TestHook::ToolsChanged) {
            self.parts.registry.announce_change();
        }
        answer
    }
}
