//! The life of a call in the durable queue: until its turn, through a restart, to its start or its end.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::context::FutureExt as _;
use tokio::sync::OwnedSemaphorePermit;

use super::attachment::Attachment;
use super::checks::{self, Authorized};
use super::handles::Live;
use super::refusal::Refusal;
use super::turn::{ask, room_of};
use super::{Answer, Call, Job, Pipeline, Right, facts, span};
use crate::admission::Ticket;
use crate::ledger::{Lease, LedgerError, QueuedCall, QueuedFacts, Requeued};
use crate::model::{
    Arguments, Dialogue, Digest, Effect, Envelope, IdempotencyKey, OpenSpan, Question, Rejection, Timestamp, ToolName,
};
use crate::registry::Tool;

/// How often it is looked for queued calls that nobody holds.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A call in the durable queue.
pub(super) struct Waiting {
    pub call: Call,
    /// What its caller meant.
    pub meant: Meant,
    /// Whether it may change the world.
    pub effect: Effect,
    pub arguments: Arguments,
    pub key: Option<IdempotencyKey>,
    /// Its row.
    pub queued: QueuedCall,
    pub live: Live,
    /// The room it takes up; none if it was accepted by an earlier host that had more.
    pub _room: Option<OwnedSemaphorePermit>,
    /// The span of its resumption, if it is resumed: it lasts as long as the call does.
    pub _span: Option<OpenSpan>,
}

impl Waiting {
    /// What it takes to run the call later, once its caller has answered what it `asks`.
    pub fn facts<'a>(&'a self, dialogue: &'a Dialogue, asks: &'a [Question], until: Timestamp) -> QueuedFacts<'a> {
        QueuedFacts {
            call: self.call.id,
            trace: &self.call.trace,
            principal: &self.call.principal,
            tool: &self.meant.tool,
            plugin: &self.meant.plugin,
            face: self.meant.face,
            effect: self.effect,
            arguments: &self.arguments,
            key: self.key.as_ref(),
            until,
            dialogue,
            asks,
        }
    }
}

/// What has to be the same of a tool when a call of it starts as when it was made: what its caller meant, and could go by. A version
/// that looks the same runs what waited for the one before: nobody who waits is turned away because a fault was mended.
#[derive(PartialEq, Eq)]
pub(super) struct Meant {
    tool: ToolName,
    plugin: String,
    face: Digest,
}

impl Meant {
    /// What a caller of this tool means.
    pub fn of(tool: &Tool) -> Self {
        Self { tool: tool.manifest.name.clone(), plugin: tool.plugin.manifest.name.clone(), face: tool.face }
    }

    /// Its name.
    pub fn tool(&self) -> &ToolName {
        &self.tool
    }

    /// The tool that is meant, in the generation the call is to start on.
    ///
    /// # Errors
    /// It is gone, or became another.
    pub fn find(&self, call: &Call) -> Result<Arc<Tool>, Box<Refusal>> {
        let found = call.generation.tools.get(&self.tool).cloned();
        match found {
            Some(tool) if Self::of(&tool) == *self => Ok(tool),
            other => Err(changed(call, other)),
        }
    }
}

/// The refusal of a call whose tool is not what it was.
pub(super) fn changed(call: &Call, tool: Option<Arc<Tool>>) -> Box<Refusal> {
    match tool {
        Some(tool) => checks::concealed(call, &tool, Rejection::ToolChanged),
        None => Box::new(Refusal::of(Rejection::ToolChanged, None)),
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
        let Requeued { queued, trace, principal, tool, plugin, face, effect, arguments, key, until, dialogue, asks } = requeued;
        let id = queued.call();
        let span = self.go_on(&trace, id, tool.as_str());
        let spans = span.spans();
        let _logged = span::log_context(&spans).attach();
        let call = Call {
            id,
            principal: Arc::new(principal),
            trace: spans.position().clone(),
            spans,
            generation: self.parts.registry.current(),
            cancelled: Default::default(),
            progress: None,
            dialogue: Arc::new(dialogue),
        };
        let live = self.handles.enter(id, &call.cancelled, Attachment::of_queued());
        let meant = Meant { tool, plugin, face };
        let _room = self.queue_room.clone().try_acquire_many_owned(room_of(&arguments, &call.dialogue)).ok();
        let waiting = Waiting { call, meant, effect, arguments, key, queued, live, _room, _span: Some(span) };
        if !asks.is_empty() {
            return self.ask_on(waiting, asks, until);
        }
        let Waiting { call, queued, .. } = &waiting;
        let current = call.generation.tools.get(&waiting.meant.tool).cloned();
        let now = Timestamp::now();
        let waited = Duration::from_millis(now.as_millis().saturating_sub(queued.queued_at().as_millis()));
        let ticket = match &current {
            None => Err(Rejection::ToolChanged),
            // The host was away for longer than anybody would wait for an answer.
            Some(_) if until <= now => Err(Rejection::Overloaded { retry_after: self.parts.admission.retry_after() }),
            Some(current) => Ok(self.parts.admission.enter_accepted(&ask(call, current), waited)),
        };
        match ticket {
            Ok(ticket) => self.carry(waiting, ticket),
            Err(rejection) => {
                let (pipeline, refusal) = (self.clone(), Refusal::of(rejection, current));
                self.parts.tasks.spawn(async move { pipeline.end_unstarted(waiting, refusal).await }.with_current_context());
            }
        }
    }

    /// Has the call run when its turn comes, whoever asks for it.
    pub(super) fn carry(self: &Arc<Self>, waiting: Waiting, ticket: Ticket) {
        let pipeline = self.clone();
        self.parts.tasks.spawn(async move { pipeline.carried(waiting, ticket).await }.with_current_context());
    }

    async fn carried(self: &Arc<Self>, mut waiting: Waiting, ticket: Ticket) {
        let turn = waiting.call.spans.stage("queue");
        let permit = tokio::select! {
            biased;
            () = waiting.call.cancelled.cancelled() => Err(Rejection::Cancelled),
            // INVARIANT: the row stays, and the next host takes it up.
            () = self.parts.shutdown.cancelled() => return,
            permit = ticket => permit.map_err(|expired| Rejection::Overloaded { retry_after: expired.retry_after }),
        };
        drop(turn);
        if permit.is_ok() && !self.takes_intents() {
            // INVARIANT: the row stays, and is taken up again as soon as the ledger takes intents.
            return;
        }
        let ready = match permit {
            Ok(permit) => self.look_again(&mut waiting).map(|ready| (permit, ready)),
            Err(rejection) => Err(Refusal::of(rejection, waiting.call.generation.tools.get(&waiting.meant.tool).cloned()).into()),
        };
        match ready {
            Ok((permit, (tool, authorized))) => {
                let Waiting { call, arguments, key, queued, live, .. } = waiting;
                let (right, id) = (Right::Queued { key, queued }, call.id);
                let ran = Box::pin(self.run(Job { call, tool, arguments, authorized, right, permit, live })).await;
                if ran.is_some() {
                    self.handles.forget(&id);
                }
            }
            Err(refusal) => Box::pin(self.end_unstarted(waiting, *refusal)).await,
        }
    }

    /// Looks after the durable queue until shutdown: calls that nobody in this process holds any more, because the ledger took nothing
    /// when their turn came, are taken up again as soon as it does.
    pub async fn keep_queue(self: Arc<Self>) {
        let shutdown = self.parts.shutdown.clone();
        while shutdown.run_until_cancelled(tokio::time::sleep(LOOK_AGAIN)).await.is_some() {
            if !self.parts.ledger.has_unheld_calls() || !self.takes_intents() {
                continue;
            }
            let pipeline = self.clone();
            match tokio::task::spawn_blocking(move || pipeline.resume()).await {
                Ok(Ok(resumed)) => tracing::info!(resumed, "queued calls are taken up again"),
                Ok(Err(error)) => tracing::error!(%error, "the queued calls could not be read; trying again"),
                Err(panic) => tracing::error!(%panic, "the queued calls could not be read; trying again"),
            }
        }
    }

    /// Whether an intent could be written now.
    pub(super) fn takes_intents(&self) -> bool {
        let store = self.parts.ledger.store();
        store.check().and_then(|()| store.check_space()).is_ok()
    }

    /// Until when a call that is queued now may start.
    pub(super) fn waits_until(&self) -> Timestamp {
        Timestamp::now().after(self.parts.ledger.keeps_answers())
    }

    /// Ends a call that waited and will not run; whoever asks is told why.
    pub(super) async fn end_unstarted(&self, waiting: Waiting, refusal: Refusal) {
        let Waiting { call, queued, live, .. } = waiting;
        if !refusal.rejection.is_callers_doing() {
            call.spans.fail();
        }
        let was_cancelled = refusal.rejection == Rejection::Cancelled;
        let asks_again = queued.lease().and_then(Lease::again).is_some();
        let refusal = if asks_again { refusal.after_another() } else { refusal };
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
        match self.parts.ledger.dequeue(queued, &call.principal, &told, was_cancelled).await {
            Ok(()) => {
                // In this order: whoever calls it off in between finds that nobody holds it, and looks how it ended.
                drop(live);
                self.handles.forget(&call.id);
            }
            // The row stays, and is taken up again.
            Err(error) => tracing::error!(call = %call.id, %error, "the end of a queued call could not be written down"),
        }
    }

    /// A call that starts out of the queue is looked up, validated and authorized again, against the generation of that moment.
    fn look_again(&self, waiting: &mut Waiting) -> Result<(Arc<Tool>, Authorized), Box<Refusal>> {
        waiting.call.generation = self.parts.registry.current();
        let tool = waiting.meant.find(&waiting.call)?;
        if !waiting.queued.run_by(facts::reasking(&tool, &self.parts.outbound).as_ref()) {
            return Err(changed(&waiting.call, Some(tool)));
        }
        let arguments = std::mem::take(&mut waiting.arguments);
        let refuse = |rejection| checks::concealed(&waiting.call, &tool, rejection);
        waiting.arguments = checks::fits(&tool, arguments).map_err(refuse)?;
        let authorized = checks::authorize(&waiting.call, &tool, &waiting.arguments)?;
        Ok((tool, authorized))
    }
}
