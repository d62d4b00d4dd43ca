//! The life of one call, top to bottom: the only place where the order of the stages exists.
//!
//! Each stage returns a proof that the next one demands (`Arc<Tool>`, `Grant`, `Lease`, `Permit`, `Intent`), so a wrong order
//! does not compile.

mod asking;
mod attachment;
mod catalogue;
mod checks;
mod effects;
mod ending;
mod facts;
mod finish;
mod form;
mod guest;
mod handles;
mod inquiry;
pub mod installer;
pub mod keys;
mod poll;
mod question;
mod queued;
mod refusal;
mod reload;
mod reply;
mod rows;
mod run;
mod span;
mod stages;
mod turn;

use std::sync::Arc;

use opentelemetry::context::FutureExt as _;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::Admission;
use crate::auth::{AuthError, Authenticator};
use crate::ledger::{Claim, ClaimRequest, Lease, Ledger, Replay};
use crate::model::{
    Arguments, CallId, CallRequest, Credentials, Dialogue, IdempotencyKey, OfferedKey, Principal, Rejection, Spans, Timestamp,
    TraceContext, Watcher,
};
use crate::outbound::Outbound;
use crate::registry::{Generation, Registry, Reloader, Tool};
use crate::sandbox::Sandbox;

pub use asking::Answered;
use asking::{Asker, Asking};
use checks::Authorized;
use handles::Handles;
use installer::InstallRules;
pub use poll::{Cancelled, Ended, Pending, PendingState, Polled};
use queued::Meant;
use refusal::Refusal;
pub use reply::{Answer, Progress, Readiness, Replayed, Reply};
use run::{Job, Right};
use stages::{Stage, Stages};
use turn::{Attached, Ready};

/// What a pipeline is made of.
pub struct Parts {
    /// Decides who is calling.
    pub authenticator: Authenticator,
    /// The tools and policies.
    pub registry: Arc<Registry>,
    /// Builds other ones.
    pub reloader: Reloader,
    /// What may be installed.
    pub install: InstallRules,
    /// Writes everything down.
    pub ledger: Ledger,
    /// Decides who runs now.
    pub admission: Admission,
    /// Runs guests.
    pub sandbox: Arc<Sandbox>,
    /// Reaches backends.
    pub outbound: Outbound,
    /// Who is told of spans.
    pub watcher: Option<Arc<Watcher>>,
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
    handles: Arc<Handles>,
    asking: Arc<Asking>,
    /// Room for what queued calls ask for, in KiB.
    queue_room: Arc<Semaphore>,
}

/// The connection's half of a call: how to stop it, where its progress goes.
pub struct Caller {
    /// Cancelled when the caller went away or cancelled. Stops what is queued; what runs may ask and end early.
    pub cancelled: CancellationToken,
    /// Where progress goes, if the caller wants it.
    pub progress: Option<mpsc::Sender<Progress>>,
}

/// One call, as every stage sees it.
#[derive(Clone)]
struct Call {
    id: CallId,
    principal: Arc<Principal>,
    trace: TraceContext,
    /// Where its parts are noted.
    spans: Spans,
    /// The generation it started on, and finishes on.
    generation: Arc<Generation>,
    cancelled: CancellationToken,
    progress: Option<mpsc::Sender<Progress>>,
    /// What its caller can be asked, and has answered so far.
    dialogue: Arc<Dialogue>,
}

/// What the stages before admission found.
enum Claimed {
    Run { tool: Arc<Tool>, arguments: Arguments, authorized: Authorized, key: Option<Keyed>, dialogue: Dialogue },
    InFlight { tool: Arc<Tool>, first: CallId, since: Timestamp, handle: bool },
    Replay { tool: Arc<Tool>, arguments: Arguments, authorized: Authorized, replay: Replay },
}

/// A write's idempotency key, and the right to be the one call that runs with it.
struct Keyed {
    key: IdempotencyKey,
    lease: Lease,
}

impl Pipeline {
    /// A pipeline of these parts.
    pub fn new(parts: Parts) -> Self {
        let kib = parts.admission.queue_bytes().as_usize().div_ceil(1024);
        let queue_room = Arc::new(Semaphore::new(kib.min(Semaphore::MAX_PERMITS)));
        Self { parts, stages: Stages::new(), handles: Arc::default(), asking: Arc::new(Asking::new()), queue_room }
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

    /// Who speaks over the local sockets and stdio, with what that user holds at the moment.
    pub fn local_user(&self) -> Arc<Principal> {
        self.parts.authenticator.local()
    }

    /// Calls a tool. Every call ends as exactly one rejection or one outcome, and both are written down.
    pub async fn call(self: &Arc<Self>, principal: Arc<Principal>, request: CallRequest, caller: Caller) -> Reply {
        let id = CallId::random();
        let (spans, trace) = (request.spans.clone(), request.spans.position().clone());
        let context = span::log_context(&spans);
        let until = Instant::now() + self.parts.admission.sync_budget();
        let Caller { cancelled: gone, progress } = caller;
        let takes_tasks = request.takes_tasks();
        let mut caller = Attached { gone, until };
        let call = Call {
            id,
            principal,
            trace: trace.clone(),
            spans,
            generation: self.parts.registry.current(),
            // Not the connection's: a call that goes on without its caller must not notice that the connection ended.
            cancelled: CancellationToken::new(),
            progress,
            dialogue: Arc::default(),
        };
        let answered = async {
            match self.claim(&call, request) {
                Ok(Claimed::Run { tool, arguments, authorized, key, dialogue }) => {
                    if tool.manifest.slow && takes_tasks {
                        caller.until = Instant::now();
                    }
                    let call = Call { dialogue: Arc::new(dialogue), ..call };
                    (None, self.take_turn(Ready { call, tool, arguments, authorized, key }, &caller).await)
                }
                Ok(Claimed::InFlight { tool, first, since, handle }) => {
                    (None, self.join(&call, &tool, first, since, handle).await)
                }
                Ok(Claimed::Replay { tool, arguments, authorized, replay }) => {
                    Box::pin(self.replay(&call, &caller, &tool, &arguments, &authorized, replay)).await
                }
                Err(refusal) => (None, self.reject(&call, *refusal).await),
            }
        };
        let (replayed, answer) = answered.with_context(context).await;
        Reply { call_id: id, trace, replayed, answer }
    }

    /// Everything that may still say no before the call has to wait: look up, validate, authorize, claim.
    fn claim(&self, call: &Call, request: CallRequest) -> Result<Claimed, Box<Refusal>> {
        if self.parts.shutdown.is_cancelled() {
            return Err(Refusal::of(Rejection::ShuttingDown, None).into());
        }
        let CallRequest {
            tool: name, mut arguments, offered_keys, client_capabilities, takes_questions, offered_answers, ..
        } = request;
        let timer = self.stages.start(Stage::LookUp, &call.spans);
        let tool = call.generation.tools.get(name.as_str()).cloned();
        // Before anything is said of the tool, so that whoever tries names is slowed down as well.
        if let Err(retry_after) = self.parts.admission.throttle(&call.principal) {
            return Err(Refusal::of(Rejection::RateLimited { retry_after }, tool).into());
        }
        let tool = tool.ok_or_else(|| Refusal::of(Rejection::UnknownTool(name), None))?;
        drop(timer);
        let refuse = |rejection| checks::concealed(call, &tool, rejection);

        let timer = self.stages.start(Stage::Validate, &call.spans);
        let key_argument = keys::take_key_argument(&tool.manifest, &mut arguments).map_err(refuse)?;
        let arguments = checks::validate(&tool, arguments, &client_capabilities).map_err(refuse)?;
        drop(timer);

        let mut timer = self.stages.start(Stage::Authorize, &call.spans);
        let authorized = checks::authorize(call, &tool, &arguments);
        timer.span.set("tidegate.policy.decision", if authorized.is_ok() { "allow" } else { "deny" });
        let authorized = authorized?;
        drop(timer);

        let mut timer = self.stages.start(Stage::Claim, &call.spans);
        fail::fail_point!("call::claim", |_| std::process::abort());
        let offered: Vec<OfferedKey> = key_argument.into_iter().chain(offered_keys).collect();
        let key = keys::resolve(&tool.manifest, &arguments, offered).map_err(refuse)?;
        let key = match key {
            None => None,
            Some(key) => match self
                .claim_key(call, &tool, &key, &arguments)
                .inspect(|claim| timer.span.set("tidegate.claim", span::claim(claim)))
                .map_err(refuse)?
            {
                Claim::Fresh(lease) => Some(Keyed { key, lease }),
                Claim::Replay(replay) => return Ok(Claimed::Replay { tool, arguments, authorized, replay }),
                Claim::InFlight { first, since, handle } => return Ok(Claimed::InFlight { tool, first, since, handle }),
                Claim::Unknown { first } => return Err(refuse(Rejection::OutcomeUnknown { first })),
                Claim::Unreadable { first, why } => return Err(refuse(facts::unreadable(call, first, &why))),
                Claim::Reused { first } => return Err(refuse(Rejection::KeyReused { first })),
            },
        };
        // Behind the claim: whoever comes again with a key is given its answer, however old the questions are.
        let asker = Asker { call, tool: &tool, arguments: &arguments, key: key.as_ref().map(|keyed| &keyed.key) };
        let dialogue = self.dialogue(&asker, takes_questions, offered_answers).map_err(|rejection| {
            let again = key.as_ref().is_some_and(|keyed| keyed.lease.again().is_some());
            let refusal = *refuse(rejection);
            if again { refusal.after_another() } else { refusal }
        })?;
        Ok(Claimed::Run { tool, arguments, authorized, key, dialogue })
    }

    /// A call that had to wait starts on the generation of the moment it starts, and no other: with its tool, if that is still what
    /// its caller meant, under its policies.
    fn recheck(&self, ready: &mut Ready) -> Result<(), Box<Refusal>> {
        let current = self.parts.registry.current();
        if current.number == ready.call.generation.number {
            return Ok(());
        }
        ready.call.generation = current;
        // Its arguments fit: what has the same face has the same schema.
        ready.tool = Meant::of(&ready.tool).find(&ready.call)?;
        ready.authorized = checks::authorize(&ready.call, &ready.tool, &ready.arguments)?;
        let executor = facts::reasking(&ready.tool, &self.parts.outbound);
        if ready.key.as_mut().is_none_or(|key| key.lease.run_by(executor.as_ref())) {
            return Ok(());
        }
        Err(queued::changed(&ready.call, Some(ready.tool.clone())))
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
}
