//! Calls whose callers are asked something. Whoever waits at the other end is told the questions and comes again with the answers;
//! a call whose handle somebody has stays, durably, and goes on once they are there.

mod places;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::context::FutureExt as _;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};

pub use self::places::Asking;
use self::places::{Offer, Place};
use super::attachment::Attachment;
use super::queued::{Meant, Waiting, changed};
use super::refusal::Refusal;
use super::rows::Rows;
use super::turn::{ask, room_of};
use super::{Answer, Call, Pipeline, facts, question};
use crate::admission::AskLimits;
use crate::ledger::{CallStatus, Disposition, Intent, NotAsked, OutcomeFacts, QueuedFacts, RequestState, StateOf};
use crate::model::{
    Arguments, CallId, Dialogue, Ended, ErrorCode, Failure, Given, IdempotencyKey, OfferedAnswers, Outcome, Principal, Question,
    QuestionKind, Rejection, RowTally, Timestamp,
};
use crate::registry::Tool;

/// What the answers of one call may take up, in bytes.
const MAX_ANSWERS: usize = 64 << 10;

const TOO_LARGE: &str = "the answers of one call may take up 64 KiB in all";

/// What came of answering a call's questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The answers are kept. Those that nobody asked for, or that were given before, are ignored.
    Taken,
    /// The call is there, and asks nothing now.
    NothingAsked,
    /// They do not fit what was asked, each line says which; none of them is kept.
    Invalid(Vec<String>),
    /// There is no such call, or it is somebody else's.
    Unknown,
    /// They could not be written down, or nobody is there to take them now.
    Unavailable,
    /// The principal calls, and answers, more often than it may.
    TooMany {
        /// When it may again.
        retry_after: Duration,
    },
}

/// A call that may ask, in whichever of its runs.
pub(super) struct Asker<'a> {
    pub call: &'a Call,
    pub tool: &'a Tool,
    pub arguments: &'a Arguments,
    /// Its idempotency key, if it has one.
    pub key: Option<&'a IdempotencyKey>,
}

impl Pipeline {
    /// What can be asked of the caller of a call, and what it has answered so far.
    ///
    /// # Errors
    /// It came with a state that is none of this call, or with more than anybody would answer.
    pub(super) fn dialogue(
        &self,
        asker: &Asker<'_>,
        takes: impl IntoIterator<Item = QuestionKind>,
        offered: OfferedAnswers,
    ) -> Result<Dialogue, Rejection> {
        let asks = &asker.tool.manifest.asks;
        if asks.is_empty() {
            return Ok(Dialogue::default());
        }
        let OfferedAnswers { responses, state } = offered;
        let (mut given, open) = match state {
            None => (BTreeMap::new(), None),
            Some(text) => {
                let state = self.parts.ledger.open_state(&asker.state_of(), &text).ok_or(Rejection::StateInvalid)?;
                (state.given, Some(state.open))
            }
        };
        for (key, answer) in responses {
            let question = match &open {
                // What nobody asked for is ignored, as is what was answered before (MCP 2026-07-28, MRTR).
                Some(open) => match open.get(&key) {
                    Some(print) => Some(*print),
                    None => continue,
                },
                None => None,
            };
            given.insert(key, Given { question, answer });
        }
        let dialogue = Dialogue { takes: takes.into_iter().filter(|kind| asks.contains(kind)).collect(), given };
        if size(&dialogue.given) > MAX_ANSWERS {
            return Err(Rejection::AnswersTooLarge);
        }
        Ok(dialogue)
    }

    /// The questions of a run, for a caller who is told them and comes again.
    pub(super) fn asked(&self, asker: &Asker<'_>, questions: &[Question]) -> Answer {
        count(questions);
        let state = RequestState {
            until: self.parts.admission.asks_until(Timestamp::now()),
            given: asker.call.dialogue.given.clone(),
            open: questions.iter().map(|question| (question.key.clone(), question.print())).collect(),
        };
        let state = self.parts.ledger.seal_state(&asker.state_of(), &state);
        Answer::Asked { questions: questions.to_vec(), state }
    }

    /// Has a call wait for answers whose handle somebody has.
    ///
    /// # Errors
    /// It can't. If its intent is still owed an outcome, the intent and what to say instead.
    pub(super) async fn ask_later(
        self: &Arc<Self>,
        asker: &Asker<'_>,
        questions: &[Question],
        rows: &Rows,
        intent: Intent,
        outcome: &Outcome,
    ) -> Result<(), Option<(Intent, Ended)>> {
        let Asker { call, tool, arguments, key } = *asker;
        let is_another = |question: &&Question| {
            let given = call.dialogue.given.get(&question.key).and_then(|given| given.question);
            given.is_some_and(|answered| answered != question.print())
        };
        if let Some(again) = questions.iter().find(is_another) {
            // A key stands for one question for as long as a task lives (ext-tasks): a client may have put it away for good.
            let failure = Failure {
                code: ErrorCode::Conflict,
                message: format!(
                    "what the tool asks as `{}` is not what was answered: things have changed since, and nothing was done; call it again to be \
                     asked anew",
                    again.key
                ),
                retry_after: None,
            };
            return Err(Some((intent, Ended::Failed(failure))));
        }
        let bytes = size(arguments) + size(&questions) + MAX_ANSWERS;
        let Some(place) = self.asking.enter(call.id, &call.principal, bytes, self.parts.admission.asks()) else {
            let failure = Failure {
                code: ErrorCode::Overloaded,
                message:
                    "the tool has to ask something, and too many calls wait for answers; nothing was changed, try again later"
                        .into(),
                retry_after: Some(self.parts.admission.retry_after()),
            };
            return Err(Some((intent, Ended::Failed(failure))));
        };
        let until = self.parts.admission.asks_until(Timestamp::now());
        let queued = facts::queued(call, tool, arguments, key, until);
        let queued = QueuedFacts { asks: questions, ..queued };
        let told = Answer::Asked { questions: questions.to_vec(), state: String::new() };
        let told = told.to_stored().expect("questions are written down");
        let facts = OutcomeFacts {
            outcome,
            answer: &told,
            kept: &told,
            error: None,
            disposition: Disposition::Waiting,
            asked: &rows.asked(),
            delivered: &RowTally::default(),
            handle_given: true,
            cancelled: false,
            despite_backend_error: false,
        };
        let queued = match self.parts.ledger.record_question(intent, &facts, &queued).await {
            Ok(queued) => queued,
            Err(NotAsked { error, intent }) => {
                tracing::error!(call = %call.id, %error, "what a tool asks could not be written down");
                let failure = Failure {
                    code: ErrorCode::AuditUnavailable,
                    message: "what the tool has to ask could not be written down; nothing was changed, try again later".into(),
                    retry_after: None,
                };
                return Err(intent.map(|intent| (intent, Ended::Failed(failure))));
            }
        };
        fail::fail_point!("call::asked", |_| std::process::abort());
        count(questions);
        let live = self.handles.enter(call.id, &call.cancelled, Attachment::of_queued());
        let waiting = Waiting {
            // Nobody is connected any more.
            call: Call { progress: None, ..call.clone() },
            meant: Meant::of(tool),
            effect: tool.manifest.effect,
            arguments: arguments.clone(),
            key: key.cloned(),
            queued,
            live,
            // It is in no queue yet.
            _room: None,
            _span: None,
        };
        self.await_answers(waiting, place, questions.to_vec(), until);
        Ok(())
    }

    /// Takes up a call that asked when the host stopped. More of them may wait than may be added.
    pub(super) fn ask_on(self: &Arc<Self>, waiting: Waiting, open: Vec<Question>, until: Timestamp) {
        let bytes = size(&waiting.arguments) + size(&open) + MAX_ANSWERS;
        let place = self.asking.enter(waiting.call.id, &waiting.call.principal, bytes, AskLimits::NONE);
        let place = place.expect("there is no limit");
        self.await_answers(waiting, place, open, until);
    }

    /// Keeps a call until its questions are answered, it is called off, or nobody answers in time.
    fn await_answers(self: &Arc<Self>, waiting: Waiting, place: Place, open: Vec<Question>, until: Timestamp) {
        let (answers, offers) = mpsc::channel(1);
        let open = Arc::new(open);
        place.asks(open.clone(), &answers);
        let pipeline = self.clone();
        let wait = async move { pipeline.awaiting(waiting, place, open, until, (answers, offers)).await };
        self.parts.tasks.spawn(wait.with_current_context());
    }

    async fn awaiting(
        self: &Arc<Self>,
        mut waiting: Waiting,
        place: Place,
        mut open: Arc<Vec<Question>>,
        until: Timestamp,
        (answers, mut offers): (mpsc::Sender<Offer>, mpsc::Receiver<Offer>),
    ) {
        let left = Duration::from_millis(until.as_millis().saturating_sub(Timestamp::now().as_millis()));
        let (cancelled, over) = (waiting.call.cancelled.clone(), tokio::time::sleep(left));
        let mut changes = self.changes();
        tokio::pin!(over);
        let rejection = loop {
            // It holds on to no generation but the one in force: nobody knows how long it waits.
            waiting.call.generation = self.parts.registry.current();
            let offer = tokio::select! {
                biased;
                () = cancelled.cancelled() => break Rejection::Cancelled,
                // INVARIANT: the row stays, and the next host takes it up.
                () = self.parts.shutdown.cancelled() => return,
                () = &mut over => break Rejection::Unanswered,
                Some(offer) = offers.recv() => offer,
                Ok(()) = changes.changed() => continue,
            };
            let Offer { principal, responses, taken } = offer;
            let answered = self.take_answers(&mut waiting, &mut open, principal, responses, until).await;
            let is_over = open.is_empty();
            // Whoever answered may be gone; what was answered is kept all the same.
            let tell = move || drop(taken.send(answered));
            if is_over {
                // In this order: whoever asks next must not be asked what it has answered.
                drop(place);
                tell();
                let tool = waiting.call.generation.tools.get(waiting.meant.tool()).cloned();
                let Some(tool) = tool else {
                    let refusal = *changed(&waiting.call, None);
                    return self.end_unstarted(waiting, refusal).await;
                };
                waiting._room =
                    self.queue_room.clone().try_acquire_many_owned(room_of(&waiting.arguments, &waiting.call.dialogue)).ok();
                let ticket = self.parts.admission.enter_accepted(&ask(&waiting.call, &tool), Duration::ZERO);
                return self.carry(waiting, ticket);
            }
            place.asks(open.clone(), &answers);
            tell();
        };
        drop(place);
        let tool = waiting.call.generation.tools.get(waiting.meant.tool()).cloned();
        self.end_unstarted(waiting, Refusal::of(rejection, tool)).await;
    }

    /// Holds answers to what was asked, and keeps them, durably.
    async fn take_answers(
        &self,
        waiting: &mut Waiting,
        open: &mut Arc<Vec<Question>>,
        principal: Arc<Principal>,
        responses: Map<String, Value>,
        until: Timestamp,
    ) -> Answered {
        let (mut dialogue, mut rest) = (Dialogue::clone(&waiting.call.dialogue), Vec::clone(open));
        let mut problems = Vec::new();
        for (key, answer) in responses {
            let Some(at) = rest.iter().position(|question| question.key == key) else { continue };
            match question::fits(&rest[at], &answer) {
                Ok(()) => {
                    let question = Some(rest.remove(at).print());
                    dialogue.given.insert(key, Given { question, answer });
                }
                Err(problem) => problems.push(format!("the answer to `{key}`: {problem}")),
            }
        }
        if size(&dialogue.given) > MAX_ANSWERS {
            problems.push(TOO_LARGE.to_owned());
        }
        if !problems.is_empty() {
            return Answered::Invalid(problems);
        }
        if rest.len() == open.len() {
            return Answered::Taken;
        }
        waiting.call.principal = principal;
        // With all answers it waits for its turn, for as long as any call would.
        let until = if rest.is_empty() { self.waits_until() } else { until };
        let facts = waiting.facts(&dialogue, &rest, until);
        match self.parts.ledger.record_answers(&waiting.queued, &facts).await {
            Ok(()) => {
                (waiting.call.dialogue, *open) = (Arc::new(dialogue), Arc::new(rest));
                Answered::Taken
            }
            Err(error) => {
                tracing::error!(call = %waiting.call.id, %error, "answers could not be written down");
                Answered::Unavailable
            }
        }
    }

    /// Answers the questions of a call of this principal. Durable on return.
    pub async fn answer(&self, principal: &Arc<Principal>, call: CallId, responses: Map<String, Value>) -> Answered {
        // An answer costs as much as a call does until it is admitted.
        if let Err(retry_after) = self.parts.admission.throttle(principal) {
            return Answered::TooMany { retry_after };
        }
        match self.parts.ledger.standing(&call) {
            Ok(Some(state)) if state.is_of(principal) && state.status != CallStatus::Asking => return Answered::NothingAsked,
            Ok(Some(state)) if state.is_of(principal) => {}
            Ok(_) => return Answered::Unknown,
            Err(error) => {
                tracing::error!(%call, %error, "a call could not be looked up");
                return Answered::Unavailable;
            }
        }
        if size(&responses) > MAX_ANSWERS {
            return Answered::Invalid(vec![TOO_LARGE.to_owned()]);
        }
        let (taken, answered) = oneshot::channel();
        let offer = Offer { principal: principal.clone(), responses, taken };
        let told = match self.asking.sender(&call) {
            // An offer that nobody comes to is dropped, and with it the other end of this.
            Some(sender) if sender.send(offer).await.is_ok() => answered.await.ok(),
            _ => None,
        };
        // Another answer, or the end of the call, was there first; unless the host is stopping, or the ledger took nothing for a while:
        // then it asks on, once somebody holds it again.
        let may_ask_on = || self.parts.shutdown.is_cancelled() || self.parts.ledger.has_unheld_calls() || !self.takes_intents();
        told.unwrap_or_else(|| if may_ask_on() { Answered::Unavailable } else { Answered::NothingAsked })
    }
}

impl<'a> Asker<'a> {
    fn state_of(&self) -> StateOf<'a> {
        StateOf {
            principal: &self.call.principal,
            plugin: &self.tool.plugin.manifest.name,
            tool: &self.tool.manifest.name,
            key: self.key,
            arguments: self.arguments,
        }
    }
}

fn size(json: &impl Serialize) -> usize {
    serde_json::to_vec(json).map_or(usize::MAX, |json| json.len())
}

fn count(questions: &[Question]) {
    for question in questions {
        metrics::counter!("tidegate_questions_total", "kind" => question.kind.as_str()).increment(1);
    }
}
