//! Calls that do not run: what is written down about them, and what their callers are told.

use std::sync::Arc;

use super::{Answer, Call, Pipeline, facts};
use crate::ledger::{RejectionFacts, WhyNot};
use crate::model::envelope::EffectState;
use crate::model::{Arguments, Envelope, Rejection};
use crate::registry::Tool;

/// A refusal, the tool it is about, if one was found, and the arguments, if they are what was decided on.
pub struct Refusal {
    /// Why the call does not run.
    pub rejection: Rejection,
    /// The caller must not learn that there is such a tool. The log tells the truth.
    pub hidden: bool,
    /// The tool.
    pub tool: Option<Arc<Tool>>,
    /// The arguments.
    pub arguments: Option<Arguments>,
    /// An earlier call with the same key ran, and may have changed something although this one did not.
    pub follows: bool,
}

impl Refusal {
    /// A refusal that hides nothing.
    pub fn of(rejection: Rejection, tool: Option<Arc<Tool>>) -> Self {
        Self { rejection, hidden: false, tool, arguments: None, follows: false }
    }

    /// The same, of a call whose key has been used: nobody must read that nothing has happened with it.
    pub fn after_another(self) -> Self {
        Self { follows: true, ..self }
    }
}

impl Pipeline {
    /// Writes the rejection down, and says what the caller is told.
    pub(super) async fn reject(&self, call: &Call, Refusal { rejection, hidden, tool, arguments, follows }: Refusal) -> Answer {
        let name = match (&rejection, &tool) {
            (Rejection::UnknownTool(name), _) => name.clone(),
            (_, tool) => tool.as_ref().map_or_else(String::new, |tool| tool.manifest.name.to_string()),
        };
        if let Rejection::Denied(verdict) = &rejection {
            let source =
                |id: &String| call.generation.policies.source(id).map(|source| format!("{}:{}", source.file, source.line));
            let decided_by: Vec<_> = verdict.policies.iter().map(|id| (id, source(id))).collect();
            tracing::info!(call = %call.id, subject = call.principal.subject, tool = name, ?decided_by, errors = ?verdict.errors, "denied");
        }
        metrics::counter!("tidegate_rejections_total", "reason" => rejection.as_str()).increment(1);
        let facts = facts::rejection(call, &name, tool.as_deref(), arguments.as_ref(), WhyNot::Rejected(&rejection));
        let facts = RejectionFacts { hidden, ..facts };
        if let Err(error) = self.parts.ledger.record_rejection(&facts).await {
            tracing::error!(call = %call.id, %error, "a rejection could not be written down");
        }
        // Nobody has looked yet whether the caller may know of the tool: the answer must not depend on what it promises.
        let may_know = !matches!(rejection, Rejection::RateLimited { .. });
        let told = if hidden { Rejection::UnknownTool(name) } else { rejection };
        match self.refusal(call, told, may_know && tool.is_none_or(|tool| tool.output.is_none())) {
            Answer::Error { envelope, structured } if follows => {
                Answer::Error { envelope: Envelope { effect: EffectState::Possible, ..envelope }, structured }
            }
            answer => answer,
        }
    }

    fn refusal(&self, call: &Call, rejection: Rejection, structured: bool) -> Answer {
        // A missing scope is a challenge over HTTP, and an envelope elsewhere; the server decides.
        if matches!(rejection, Rejection::InsufficientScope { .. }) {
            return Answer::Refused(rejection);
        }
        match Envelope::of_rejection(&rejection, call.id, call.trace.trace_id()) {
            Some(envelope) => Answer::Error { envelope, structured },
            None => Answer::Refused(rejection),
        }
    }
}
