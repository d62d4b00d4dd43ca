//! The life of a call in the durable queue: until its turn, through a restart, to its start or its end.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument as _;

use super::attachment::Attachment;
use super::checks::{self, Authorized};
use super::handles::Live;
use super::refusal::Refusal;
use super::turn::ask;
use super::{Answer, Call, Job, Pipeline, Right, facts, span};
use crate::admission::Ticket;
use crate::ledger::{LedgerError, QueuedCall, Requeued};
use crate::model::{Arguments, Digest, Effect, Envelope, IdempotencyKey, Rejection, Timestamp, ToolName};
use crate::registry::Tool;

/// How often a call that could not be started because the ledger took nothing looks whether it does again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A call in the durable queue.
pub(super) struct Waiting {
    pub call: Call,
    pub tool: ToolName,
    /// What its caller meant: another one is another tool.
    pub meant: Meant,
    pub arguments: Arguments,
    pub key: Option<IdempotencyKey>,
    /// Its row.
    pub queued: QueuedCall,
    pub live: Live,
}

/// What has to be the same of a tool when a call of it starts as when it was queued.
#[derive(PartialEq, Eq)]
pub(super) struct Meant {
    plugin: String,
    component: Digest,
    effect: Effect,
}

impl Meant {
    /// What a caller of this tool means.
    pub fn of(tool: &Tool) -> Self {
        let plugin = &tool.plugin;
        Self { plugin: plugin.manifest.name.to_string(), component: plugin.digest, effect: tool.manifest.effect }
    }
}

impl Pipeline {
    /// Takes up the calls that were queued when the host stopped; answers how many. Blocks on the disk.
    ///
    /// # Errors
    /// The ledger can't be read.
    pub fn resume(self: &Arc<Self>) -> Result<usize, LedgerError> {
        let calls = self.parts.ledger.queued_calls()?;
        let count = calls.len();
        for call in calls {
            self.take_up(call);
        }
        Ok(count)
    }

    fn take_up(self: &Arc<Self>, requeued: Requeued) {
        let Requeued { queued, trace, principal, tool, plugin, component, effect, arguments, key, until } = requeued;
        let id = queued.call();
        let (span, trace) = span::open(&trace, id, tool.as_str());
        let call = Call {
            id,
            principal: Arc::new(principal),
            trace,
            generation: self.parts.registry.current(),
            cancelled: Default::default(),
            progress: None,
        };
        let live = self.handles.enter(id, &call.cancelled, Attachment::of_queued());
        let current = call.generation.tools.get(&tool).cloned();
        let now = Timestamp::now().as_millis();
        let waited = Duration::from_millis(now.saturating_sub(queued.queued_at().as_millis()));
        let left = Duration::from_millis(until.as_millis().saturating_sub(now));
        let ticket = current.map(|current| self.parts.admission.enter_accepted(&ask(&call, &current), waited));
        let meant = Meant { plugin, component, effect };
        let waiting = Waiting { call, tool, meant, arguments, key, queued, live };
        span.in_scope(|| match ticket {
            Some(ticket) => self.carry(waiting, ticket, left),
            None => {
                let pipeline = self.clone();
                let gone = Refusal::of(Rejection::ToolChanged, None);
                self.parts.tasks.spawn(async move { pipeline.end_unstarted(waiting, gone).await }.in_current_span());
            }
        });
    }

    /// Has the call run when its turn comes, if it comes within `left`, whoever asks for it.
    pub(super) fn carry(self: &Arc<Self>, waiting: Waiting, ticket: Ticket, left: Duration) {
        let pipeline = self.clone();
        self.parts.tasks.spawn(async move { pipeline.carried(waiting, ticket, left).await }.in_current_span());
    }

    async fn carried(self: &Arc<Self>, mut waiting: Waiting, ticket: Ticket, left: Duration) {
        let permit = tokio::select! {
            biased;
            () = waiting.call.cancelled.cancelled() => Err(Rejection::Cancelled),
            // INVARIANT: the row stays, and the next host takes it up.
            () = self.parts.shutdown.cancelled() => return,
            permit = ticket => permit.map_err(|expired| Rejection::Overloaded { retry_after: expired.retry_after }),
            () = tokio::time::sleep(left) => Err(Rejection::Overloaded { retry_after: self.parts.admission.retry_after() }),
        };
        let ready = match permit {
            Ok(permit) => self.look_again(&mut waiting).map(|ready| (permit, ready)),
            Err(rejection) => Err(Refusal::of(rejection, waiting.call.generation.tools.get(&waiting.tool).cloned()).into()),
        };
        match ready {
            Ok((permit, (tool, authorized))) => {
                let Waiting { call, arguments, key, queued, live, .. } = waiting;
                let right = Right::Queued { key, queued };
                let ran = Box::pin(self.run(Job { call, tool, arguments, authorized, right, permit, live })).await;
                if ran.is_none() {
                    self.parts.shutdown.run_until_cancelled(self.take_back()).await;
                }
            }
            Err(refusal) => self.end_unstarted(waiting, *refusal).await,
        }
    }

    /// Takes up again what is still queued because the ledger took no intent, as soon as it does.
    async fn take_back(self: &Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            if !self.parts.ledger.store().is_open() {
                continue;
            }
            let pipeline = self.clone();
            match tokio::task::spawn_blocking(move || pipeline.resume()).await {
                Ok(Ok(_)) => return,
                Ok(Err(error)) => tracing::error!(%error, "the queued calls could not be read; trying again"),
                Err(panic) => tracing::error!(%panic, "the queued calls could not be read; trying again"),
            }
        }
    }

    /// Ends a call that waited and will not run; whoever asks is told why.
    async fn end_unstarted(&self, waiting: Waiting, refusal: Refusal) {
        let Waiting { call, queued, live, .. } = waiting;
        let was_cancelled = refusal.rejection == Rejection::Cancelled;
        let structured = refusal.tool.as_ref().is_some_and(|tool| tool.output.is_none());
        let told = match self.reject(&call, refusal).await {
            // What would have been a challenge or a protocol error has nobody left to be sent to.
            Answer::Refused(rejection) => {
                let trace_id = call.trace.trace_id();
                let of = |rejection| Envelope::of_rejection(rejection, call.id, trace_id.clone());
                let envelope = of(&rejection).or_else(|| of(&Rejection::ToolChanged)).expect("a changed tool has an envelope");
                Answer::Error { envelope, structured }
            }
            answer => answer,
        };
        live.attachment.settle();
        let told = told.to_stored().expect("an envelope is an end");
        if let Err(error) = self.parts.ledger.dequeue(queued, &call.principal, &told, was_cancelled).await {
            tracing::error!(call = %call.id, %error, "the end of a queued call could not be written down");
        }
    }

    /// A call that starts out of the queue is looked up, validated and authorized again, against the generation of that moment.
    fn look_again(&self, waiting: &mut Waiting) -> Result<(Arc<Tool>, Authorized), Box<Refusal>> {
        let current = self.parts.registry.current();
        waiting.call.generation = current.clone();
        let found = current.tools.get(&waiting.tool).cloned();
        let changed = |tool: Option<Arc<Tool>>| Box::new(Refusal::of(Rejection::ToolChanged, tool));
        let Some(tool) = found.filter(|tool| Meant::of(tool) == waiting.meant) else {
            return Err(changed(current.tools.get(&waiting.tool).cloned()));
        };
        if !waiting.queued.run_by(facts::reasking(&tool, &self.parts.outbound).as_ref()) {
            return Err(changed(Some(tool)));
        }
        let arguments = std::mem::take(&mut waiting.arguments);
        let refuse = |rejection| checks::concealed(&waiting.call, &tool, rejection);
        waiting.arguments = checks::fits(&tool, arguments).map_err(refuse)?;
        let authorized = checks::authorize(&waiting.call, &tool, &waiting.arguments)?;
        Ok((tool, authorized))
    }
}
