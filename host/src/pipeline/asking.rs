//! Calls whose callers are asked something. Whoever waits at the other end is told the questions and comes again with the answers;
//! a call whose handle somebody has stays, durably, and goes on once they are there.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry::context::FutureExt as _;
use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::attachment::Attachment;
use super::queued::{Meant, Waiting, changed};
use super::refusal::Refusal;
use super::rows::Rows;
use super::turn::{ask, room_of};
use super::{Answer, Call, Pipeline, facts, question};
use crate::ledger::{CallStatus, Disposition, Intent, NotAsked, OutcomeFacts, QueuedFacts, RequestState, StateOf};
use crate::model::{
    Arguments, CallId, Dialogue, Ended, ErrorCode, Failure, Given, IdempotencyKey, OfferedAnswers, Outcome, Principal, Question,
    QuestionKind, Rejection, RowTally, Timestamp,
};
use crate::registry::Tool;

/// What the answers of one call may take up, in bytes.
const MAX_ANSWERS: usize = 64 << 10;

/// One principal may have this part of the calls that wait for answers.
const SHARE: usize = 10;

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
    /// They could not be written down.
    Unavailable,
}

/// The calls of this process that wait for answers.
#[derive(Default)]
pub struct Asking(Mutex<HashMap<CallId, Asked>>);

struct Asked {
    principal: Arc<Principal>,
    open: Arc<Vec<Question>>,
    answers: mpsc::Sender<Offer>,
}

/// Answers on their way to a call.
struct Offer {
    responses: Map<String, Value>,
    taken: oneshot::Sender<Answered>,
}

impl Asking {
    /// What the caller of a call has to be asked; nothing if the call does not wait for answers.
    pub fn questions(&self, call: &CallId) -> Option<Arc<Vec<Question>>> {
        self.lock().get(call).map(|asked| asked.open.clone())
    }

    /// Whether one more call of this principal may wait for answers, of `max` in all.
    fn has_room(&self, principal: &Principal, max: usize) -> bool {
        let asking = self.lock();
        let is_theirs =
            |asked: &&Asked| asked.principal.issuer == principal.issuer && asked.principal.subject == principal.subject;
        asking.len() < max && asking.values().filter(is_theirs).count() < max.div_ceil(SHARE)
    }

    fn enter(&self, call: CallId, asked: Asked) {
        let mut asking = self.lock();
        asking.insert(call, asked);
        metrics::gauge!("tidegate_calls_asking").set(asking.len() as f64);
    }

    fn ask_for(&self, call: &CallId, open: Arc<Vec<Question>>) {
        if let Some(asked) = self.lock().get_mut(call) {
            asked.open = open;
        }
    }

    fn leave(&self, call: &CallId) {
        let mut asking = self.lock();
        asking.remove(call);
        metrics::gauge!("tidegate_calls_asking").set(asking.len() as f64);
    }

    fn sender(&self, call: &CallId) -> Option<mpsc::Sender<Offer>> {
        self.lock().get(call).map(|asked| asked.answers.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CallId, Asked>> {
        // Each change is one insert or one remove: a panic elsewhere cannot leave it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run that ended with questions.
pub(super) struct Asker<'a> {
    pub call: &'a Call,
    pub tool: &'a Tool,
    pub arguments: &'a Arguments,
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
        check_size(&dialogue).map_err(|problem| Rejection::InvalidArguments(vec![problem]))?;
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
        let Some(room) = self.room_to_ask(call, arguments, questions) else {
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
            _room: Some(room),
            _span: None,
        };
        self.await_answers(waiting, questions.to_vec(), until);
        Ok(())
    }

    /// Keeps a call until its questions are answered, it is called off, or nobody answers in time.
    pub(super) fn await_answers(self: &Arc<Self>, waiting: Waiting, open: Vec<Question>, until: Timestamp) {
        let (answers, offers) = mpsc::channel(1);
        let open = Arc::new(open);
        self.asking.enter(waiting.call.id, Asked { principal: waiting.call.principal.clone(), open: open.clone(), answers });
        let pipeline = self.clone();
        let wait = async move { pipeline.awaiting(waiting, open, until, offers).await };
        self.parts.tasks.spawn(wait.with_current_context());
    }

    async fn awaiting(
        self: &Arc<Self>,
        mut waiting: Waiting,
        mut open: Arc<Vec<Question>>,
        until: Timestamp,
        mut offers: mpsc::Receiver<Offer>,
    ) {
        let id = waiting.call.id;
        let left = Duration::from_millis(until.as_millis().saturating_sub(Timestamp::now().as_millis()));
        let (cancelled, over) = (waiting.call.cancelled.clone(), tokio::time::sleep(left));
        tokio::pin!(over);
        let rejection = loop {
            let offer = tokio::select! {
                biased;
                () = cancelled.cancelled() => break Some(Rejection::Cancelled),
                // INVARIANT: the row stays, and the next host takes it up.
                () = self.parts.shutdown.cancelled() => return self.asking.leave(&id),
                () = &mut over => break Some(Rejection::Unanswered { waited: self.parts.admission.ask_timeout() }),
                Some(offer) = offers.recv() => offer,
            };
            let Offer { responses, taken } = offer;
            let answered = self.take_answers(&mut waiting, &mut open, responses, until).await;
            self.asking.ask_for(&id, open.clone());
            // Whoever answered may be gone; what was answered is kept all the same.
            let _ = taken.send(answered);
            if open.is_empty() {
                break None;
            }
        };
        self.asking.leave(&id);
        let tool = self.parts.registry.current().tools.get(waiting.meant.tool()).cloned();
        let refusal = match (rejection, tool) {
            (Some(rejection), tool) => Refusal::of(rejection, tool),
            (None, None) => *changed(&waiting.call, None),
            (None, Some(tool)) => {
                let ticket = self.parts.admission.enter_accepted(&ask(&waiting.call, &tool), Duration::ZERO);
                return self.carry(waiting, ticket);
            }
        };
        self.end_unstarted(waiting, refusal).await;
    }

    /// Holds answers to what was asked, and keeps them, durably.
    async fn take_answers(
        &self,
        waiting: &mut Waiting,
        open: &mut Arc<Vec<Question>>,
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
        problems.extend(check_size(&dialogue).err());
        if !problems.is_empty() {
            return Answered::Invalid(problems);
        }
        if rest.len() == open.len() {
            return Answered::Taken;
        }
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
    pub async fn answer(&self, principal: &Principal, call: CallId, responses: Map<String, Value>) -> Answered {
        let sender = match self.parts.ledger.standing(&call) {
            Ok(Some(state)) if state.is_of(principal) => match state.status {
                CallStatus::Asking => self.asking.sender(&call),
                _ => None,
            },
            Ok(_) => return Answered::Unknown,
            Err(error) => {
                tracing::error!(%call, %error, "a call could not be looked up");
                return Answered::Unavailable;
            }
        };
        let Some(sender) = sender else { return Answered::NothingAsked };
        let (taken, answered) = oneshot::channel();
        if sender.send(Offer { responses, taken }).await.is_err() {
            return Answered::NothingAsked;
        }
        // It ended, or the host stops, before it came to this.
        answered.await.unwrap_or(Answered::Unavailable)
    }

    fn room_to_ask(&self, call: &Call, arguments: &Arguments, questions: &[Question]) -> Option<OwnedSemaphorePermit> {
        if !self.asking.has_room(&call.principal, self.parts.admission.max_asking()) {
            return None;
        }
        let length = serde_json::to_vec(questions).map_or(usize::MAX, |json| json.len());
        let kib = u32::try_from(length.div_ceil(1024)).ok()?;
        self.queue_room.clone().try_acquire_many_owned(room_of(arguments).checked_add(kib)?).ok()
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

fn check_size(dialogue: &Dialogue) -> Result<(), String> {
    let length = serde_json::to_vec(&dialogue.given).map_or(usize::MAX, |json| json.len());
    if length <= MAX_ANSWERS { Ok(()) } else { Err(format!("the answers take up more than {MAX_ANSWERS} bytes")) }
}

fn count(questions: &[Question]) {
    for question in questions {
        metrics::counter!("tidegate_questions_total", "kind" => question.kind.as_str()).increment(1);
    }
}
