//! How a call ends for its caller: with the outcome of its own run, or with the answer of an earlier call.

use std::sync::Arc;

use super::asking::Asker;
use super::checks::Authorized;
use super::handles::Live;
use super::refusal::Refusal;
use super::rows::Rows;
use super::turn::Attached;
use super::{Answer, Call, PendingState, Pipeline, Replayed, facts, finish};
use crate::ledger::{Disposition, Intent, OutcomeFacts, Replay, WhyNot};
use crate::model::{Arguments, Effect, Ended, Envelope, IdempotencyKey, Outcome, Rejection};
use crate::registry::Tool;

impl Pipeline {
    /// Writes the outcome down, and says what the caller is told.
    #[expect(clippy::too_many_arguments, reason = "each is one of the proofs and parts that the call has gathered")]
    pub(super) async fn conclude(
        &self,
        call: &Call,
        tool: &Tool,
        arguments: &Arguments,
        rows: &Rows,
        intent: Intent,
        key: Option<&IdempotencyKey>,
        outcome: &Outcome,
        live: &Live,
    ) -> Answer {
        let is_write = tool.manifest.effect == Effect::Write;
        let structured = tool.output.is_none();
        let asked_for = intent.asks_for();
        let disposition = match asked_for {
            Some(_) => finish::disposition_again(&outcome.ended, &outcome.sent),
            None => finish::disposition(tool.manifest.effect, &outcome.ended, &outcome.sent),
        };
        // INVARIANT: what a key stands for is durable before it is given: whoever was answered is answered so again.
        let is_replayed = intent.is_keyed() && disposition == Disposition::Done;
        let handle_given = live.attachment.settle();
        let unknown = || {
            let envelope = match asked_for {
                Some(first) => Envelope::still_unknown(first, call.id, call.trace.trace_id()),
                None => Envelope::outcome_unknown(call.id, call.trace.trace_id()),
            };
            match facts::reasking(tool, &self.parts.outbound) {
                Some(_) => envelope.or_ask_again(outcome.blame.as_ref().and_then(|failure| failure.retry_after)),
                None => envelope,
            }
        };
        let (ended, effect) = (finish::told(outcome), finish::effect_state(tool.manifest.effect, &outcome.ended, &outcome.sent));
        let envelope = match disposition {
            // A call that asks again for an outcome may ask its caller too: nothing is known then that was not known before.
            Disposition::Unknown if !matches!(*ended, Ended::Asked(_)) => Some(unknown()),
            _ => Envelope::of_ended(&ended, effect, call.id, call.trace.trace_id()),
        };
        let whole = match (envelope, &*ended) {
            (Some(envelope), _) if is_replayed => Answer::Error { envelope: envelope.for_good(), structured },
            (Some(envelope), _) => Answer::Error { envelope, structured },
            (None, Ended::Completed(output)) => Answer::Output(output.clone()),
            (None, Ended::Asked(questions)) => self.asked(&Asker { call, tool, arguments, key }, questions),
            (None, _) => Answer::Error { envelope: unknown(), structured },
        };
        // INVARIANT: kept is the whole answer, delivered what the policies allow: whoever gets it later has it decided afresh.
        let is_kept = handle_given || is_replayed || matches!(whole, Answer::Asked { .. });
        let kept = is_kept.then(|| match &whole {
            // It was told that the call goes on while it still had another caller, who has to be asked.
            Answer::Asked { .. } => {
                let envelope = Envelope::asked_another(call.id, call.trace.trace_id());
                Answer::Error { envelope, structured }.kept_of(tool, None)
            }
            whole => whole.kept_of(tool, rows.are_delivered().then_some(arguments)),
        });
        let (answer, delivered) = rows.deliver(call, tool, whole);
        let told = answer.to_stored().expect("neither results nor errors are refusals");
        let facts = OutcomeFacts {
            outcome,
            answer: &told,
            kept: kept.as_ref().unwrap_or(&told),
            error: answer.error(),
            disposition,
            asked: &rows.asked(),
            delivered: &delivered,
            handle_given,
            cancelled: false,
            despite_backend_error: finish::is_despite_backend_error(tool.manifest.effect, outcome),
        };
        match self.parts.ledger.record_outcome(intent, &facts).await {
            Ok(()) => answer,
            // INVARIANT: a write whose outcome could not be committed is unknown, whatever it seemed to be.
            Err(error) => {
                tracing::error!(call = %call.id, %error, "an outcome could not be written down");
                match (is_write, is_replayed) {
                    (true, _) => Answer::Error { envelope: unknown(), structured },
                    (false, true) => {
                        Answer::Error { envelope: Envelope::interrupted(call.id, call.trace.trace_id()), structured }
                    }
                    (false, false) => answer,
                }
            }
        }
    }

    /// Hands out the answer of an earlier call with the same key, and writes down that it did.
    pub(super) async fn replay(
        &self,
        call: &Call,
        caller: &Attached,
        tool: &Arc<Tool>,
        arguments: &Arguments,
        authorized: &Authorized,
        replay: Replay,
    ) -> (Option<Replayed>, Answer) {
        let rows = Rows::of(call, tool, arguments);
        // Deciding on rows is work, and work waits its turn; if that takes too long, whoever asks with the first call's handle later.
        let _permit = match rows.are_delivered() {
            true => match self.take_brief_turn(call, tool, caller).await {
                Ok(permit) => Some(permit),
                Err(Rejection::Overloaded { retry_after }) => {
                    self.note_pending(call, tool).await;
                    let state = PendingState::Running;
                    return (None, Answer::Pending(self.pending(replay.first, state, replay.completed_at, retry_after)));
                }
                Err(rejection) => {
                    let refusal = Refusal::of(rejection, Some(tool.clone())).after_another();
                    return (None, self.reject(call, refusal).await);
                }
            },
            false => None,
        };
        let stored = Answer::from_stored(replay.response, tool.output.is_none()).map_err(|error| error.to_string());
        let delivered = stored.map(|(whole, _)| rows.deliver(call, tool, whole));
        let rows = delivered.as_ref().ok().map(|(_, rows)| rows);
        let why = WhyNot::Replayed { of: replay.first, verdict: authorized.grant.verdict(), rows };
        let facts = facts::rejection(call, tool.manifest.name.as_str(), Some(tool), Some(arguments), why);
        let recorded = self.parts.ledger.record_rejection(&facts).await;
        match recorded.map_err(|error| error.to_string()).and(delivered) {
            Ok((answer, _)) => (Some(Replayed { first: replay.first, completed_at: replay.completed_at }), answer),
            Err(problem) => {
                tracing::error!(call = %call.id, first = %replay.first, problem, "an answer could not be replayed");
                let envelope = Envelope::replay_unavailable(call.id, call.trace.trace_id());
                (None, Answer::Error { envelope, structured: tool.output.is_none() })
            }
        }
    }
}
