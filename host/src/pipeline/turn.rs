//! Waiting for a turn: within the sync budget at the caller's side, beyond it in the durable queue.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attachment::Attachment;
use super::checks::{self, Authorized};
use super::queued::{Meant, Waiting};
use super::refusal::Refusal;
use super::stages::Stage;
use super::{Answer, Call, Job, Keyed, Pending, PendingState, Pipeline, Right, facts};
use crate::admission::{Ask, Permit, Ticket};
use crate::ledger::{LedgerError, WhyNot};
use crate::model::{Arguments, CallId, Dialogue, Rejection, Timestamp};
use crate::registry::Tool;
use crate::store::StoreError;

/// A call that nothing speaks against, but whose turn has not come.
pub(super) struct Ready {
    pub call: Call,
    pub tool: Arc<Tool>,
    pub arguments: Arguments,
    pub authorized: Authorized,
    pub key: Option<Keyed>,
}

/// The caller of a call, as long as it waits for the answer.
pub(super) struct Attached {
    /// Cancelled when the caller went away or cancelled.
    pub gone: CancellationToken,
    /// When it is told *pending* instead of waiting on.
    pub until: Instant,
}

/// Whether the call's turn came while its caller waited.
enum Turn {
    Now(Permit),
    Later(Ticket),
}

impl Pipeline {
    /// Runs the call when its turn comes, and answers with how it ended; or with *pending*, when its caller has waited enough.
    pub(super) async fn take_turn(self: &Arc<Self>, mut ready: Ready, caller: &Attached) -> Answer {
        let again = ready.key.as_ref().is_some_and(|key| key.lease.again().is_some());
        let timer = self.stages.start(Stage::Admit, &ready.call.spans);
        let turn = self.wait(&ready, caller).await;
        drop(timer);
        let permit = match turn {
            Ok(Turn::Now(permit)) => self.recheck(&mut ready).map(|()| permit),
            // Boxed, as what follows below: ten thousand callers may wait above, and none of them needs room for this yet.
            Ok(Turn::Later(ticket)) => return Box::pin(self.queue(ready, ticket, caller)).await,
            Err(rejection) => Err(Refusal::of(rejection, Some(ready.tool.clone())).into()),
        };
        let Ready { call, tool, arguments, authorized, key } = ready;
        match permit {
            Ok(permit) => {
                let live = self.handles.enter(call.id, &call.cancelled, Attachment::of_caller());
                Box::pin(self.start(Job { call, tool, arguments, authorized, right: Right::Claimed(key), permit, live }, caller))
                    .await
            }
            Err(refusal) if again => self.reject(&call, refusal.after_another()).await,
            Err(refusal) => self.reject(&call, *refusal).await,
        }
    }

    /// Waits for the turn of a call while its caller does.
    async fn wait(&self, ready: &Ready, caller: &Attached) -> Result<Turn, Rejection> {
        let mut ticket = self.parts.admission.enter(&ask(&ready.call, &ready.tool)).map_err(facts::refused_entry)?;
        // Told at once rather than at the end of the budget: a connection that is held costs memory, and a caller its patience. At half
        // of it, because an estimate may be off by so much, and then a whole crowd would have to be told at the same moment.
        let left = caller.until.saturating_duration_since(Instant::now());
        if left.is_zero() || ticket.is_waiting() && ticket.estimated_wait() > left / 2 {
            return Ok(Turn::Later(ticket));
        }
        tokio::select! {
            // In this order: a call whose caller is gone must not start because a slot happens to be free.
            biased;
            () = caller.gone.cancelled() => Err(Rejection::Cancelled),
            permit = &mut ticket => permit.map(Turn::Now).map_err(|expired| Rejection::Overloaded { retry_after: expired.retry_after }),
            // What waits when the host stops is run by the next one.
            () = self.parts.shutdown.cancelled() => Ok(Turn::Later(ticket)),
            () = tokio::time::sleep_until(caller.until) => Ok(Turn::Later(ticket)),
        }
    }

    /// Makes a waiting call durable, and tells its caller how to ask for the answer.
    async fn queue(self: &Arc<Self>, ready: Ready, ticket: Ticket, caller: &Attached) -> Answer {
        let Ready { call, tool, arguments, key, .. } = ready;
        let (key, lease) = key.map(|Keyed { key, lease }| (key, lease)).unzip();
        let again = lease.as_ref().is_some_and(|lease| lease.again().is_some());
        let Ok(room) = self.queue_room.clone().try_acquire_many_owned(room_of(&arguments, &call.dialogue)) else {
            let rejection = Rejection::Overloaded { retry_after: self.parts.admission.retry_after() };
            let refusal = Refusal::of(rejection, Some(tool.clone()));
            return self.reject(&call, if again { refusal.after_another() } else { refusal }).await;
        };
        let facts = facts::queued(&call, &tool, &arguments, key.as_ref(), self.waits_until());
        let queued = match self.parts.ledger.enqueue(&facts, lease).await {
            Ok(queued) => queued,
            Err(error) => {
                // What came too late to be waited for is taken back; if the host ends before that, the next one runs it.
                let may_run = matches!(error, LedgerError::Store(StoreError::Timeout { .. }));
                let refusal = Refusal::of(facts::refused_intent(error), Some(tool.clone()));
                let refusal = if again || may_run { refusal.after_another() } else { refusal };
                return self.reject(&call, refusal).await;
            }
        };
        fail::fail_point!("call::queued", |_| std::process::abort());
        let pending = self.pending(call.id, PendingState::Queued, Timestamp::now(), ticket.estimated_wait());
        let live = self.handles.enter(call.id, &call.cancelled, Attachment::of_queued());
        let (noted, meant) = (call.clone(), Meant::of(&tool));
        let effect = tool.manifest.effect;
        self.carry(Waiting { call, meant, effect, arguments, key, queued, live, _room: Some(room), _span: None }, ticket);
        self.note_pending(&noted, &tool).await;
        if caller.gone.is_cancelled() {
            // Nobody was told of the handle, so nobody would ever ask.
            self.call_off(noted.id);
        }
        Answer::Pending(pending)
    }

    /// Waits for a turn to work on the answer of an earlier call, for as long as the caller does.
    pub(super) async fn take_brief_turn(&self, call: &Call, tool: &Tool, caller: &Attached) -> Result<Permit, Rejection> {
        let ticket = self.parts.admission.enter(&ask(call, tool)).map_err(facts::refused_entry)?;
        tokio::select! {
            biased;
            () = caller.gone.cancelled() => Err(Rejection::Cancelled),
            permit = ticket => permit.map_err(|expired| Rejection::Overloaded { retry_after: expired.retry_after }),
            () = self.parts.shutdown.cancelled() => Err(Rejection::ShuttingDown),
            () = tokio::time::sleep_until(caller.until) => Err(Rejection::Overloaded { retry_after: self.parts.admission.retry_after() }),
        }
    }

    /// Writes down that a call was queued.
    pub(super) async fn note_pending(&self, call: &Call, tool: &Tool) {
        let facts = facts::rejection(call, tool.manifest.name.as_str(), Some(tool), None, WhyNot::Pending);
        if let Err(error) = self.parts.ledger.record_rejection(&facts).await {
            tracing::error!(call = %call.id, %error, "that a call was queued could not be written down");
        }
    }

    /// What whoever has a handle is told while the call has not ended.
    pub(super) fn pending(&self, call: CallId, state: PendingState, created: Timestamp, wait: Duration) -> Pending {
        // One look at it: its last answer may come between two.
        let asks = self.asking.questions(&call).filter(|_| state == PendingState::Asking);
        let state = if state == PendingState::Asking && asks.is_none() { PendingState::Queued } else { state };
        Pending {
            call,
            state,
            created,
            updated: Timestamp::now(),
            asks,
            retry_after: self.parts.admission.poll_after(wait),
            kept_for: self.parts.ledger.keeps_answers(),
        }
    }

    /// What whoever comes with the key of a call that has not ended is told: that call's handle, if there is one yet.
    pub(super) async fn join(&self, call: &Call, tool: &Arc<Tool>, first: CallId, since: Timestamp, handle: bool) -> Answer {
        let refusal = *checks::concealed(call, tool, facts::in_flight(first, since));
        let has_handle = handle && !refusal.hidden;
        let answer = self.reject(call, refusal).await;
        match answer {
            Answer::Error { envelope, .. } if has_handle => {
                let wait = Duration::from_secs(envelope.retry_after_seconds.unwrap_or(1));
                let state = match self.handles.state(&first) {
                    _ if self.asking.questions(&first).is_some() => PendingState::Asking,
                    state => state.unwrap_or(PendingState::Running),
                };
                Answer::Pending(self.pending(first, state, since, wait))
            }
            answer => answer,
        }
    }
}

/// The room that a queued call takes up, in KiB.
pub(super) fn room_of(arguments: &Arguments, dialogue: &Dialogue) -> u32 {
    let length = serde_json::to_vec(&(arguments, &dialogue.given)).map_or(usize::MAX, |json| json.len());
    u32::try_from(length.div_ceil(1024)).unwrap_or(u32::MAX).max(1)
}

/// What admission needs to know of a call.
pub(super) fn ask<'a>(call: &'a Call, tool: &'a Tool) -> Ask<'a> {
    Ask {
        principal: &call.principal,
        tool: &tool.manifest.name,
        fuel: tool.manifest.fuel,
        memory: tool.plugin.manifest.sandbox.memory,
    }
}
