//! The rows of one call: each is decided by policy when the guest asks and at every delivery of the answer.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde_json::Value;

use super::{Answer, Call};
use crate::model::{Arguments, CallId, Effect, Envelope, ErrorCode, Output, Principal, RowTally, RowsOutput, ToolName};
use crate::policy::{Policies, RowAccess};
use crate::registry::Tool;

/// The longest row a guest may ask about, in bytes.
const MAX_ROW: usize = 64 << 10;

/// The longest name of a resource a guest may ask about, in bytes.
const MAX_RESOURCE: usize = 128;

/// More rows than these are decided where blocking is allowed: at some microseconds each they would hold up other calls.
const FEW_ROWS: usize = 128;

/// What the policies say about the rows of one call. Cheap to clone; all clones count together.
#[derive(Clone)]
pub struct Rows(Arc<Inner>);

struct Inner {
    /// Where the rows are in the answer, and the resource they are of.
    delivered: Option<RowsOutput>,
    /// The resources whose rows only some callers may act on.
    conditional: Vec<String>,
    /// Made when the first row comes; most calls have none.
    access: OnceLock<RowAccess>,
    policies: Arc<Policies>,
    request: RowRequest,
    asked: Mutex<RowTally>,
    /// The resources of `conditional` of which no row was permitted yet.
    unpermitted: Mutex<BTreeSet<String>>,
    /// Made once: a guest may ask as often as it likes.
    hint: OnceLock<Option<String>>,
}

/// Who calls what with which arguments.
struct RowRequest {
    principal: Arc<Principal>,
    tool: ToolName,
    arguments: Arguments,
    trace_id: String,
}

impl Rows {
    /// The rows of a call, decided by the policies of the generation it started on.
    pub fn of(call: &Call, tool: &Tool, arguments: &Arguments) -> Self {
        let conditional = tool.manifest.scopes.iter().filter(|scope| !scope.conditions().is_empty());
        let conditional: Vec<String> = conditional.map(|scope| scope.resource().to_owned()).collect();
        // Without row types there is nothing to decide, and so nothing to remember the arguments for.
        let has_rows = !tool.plugin.manifest.resources.is_empty();
        Self(Arc::new(Inner {
            delivered: tool.manifest.rows_at().cloned(),
            conditional: conditional.clone(),
            access: OnceLock::new(),
            policies: call.generation.policies.clone(),
            request: RowRequest {
                principal: call.principal.clone(),
                tool: tool.manifest.name.clone(),
                arguments: if has_rows { arguments.clone() } else { Arguments::new() },
                trace_id: call.trace.trace_id(),
            },
            asked: Mutex::default(),
            unpermitted: Mutex::new(conditional.into_iter().collect()),
            hint: OnceLock::new(),
        }))
    }

    /// Whether the caller may act on a row (JSON). A text that is no row is not permitted.
    pub fn permits(&self, resource: &str, row: &str) -> bool {
        if resource.len() > MAX_RESOURCE {
            return false;
        }
        let row = if row.len() <= MAX_ROW { serde_json::from_str(row).unwrap_or_default() } else { Value::Null };
        let verdict = self.access().permits(resource, &row);
        let allowed = self.0.asked.lock().unwrap_or_else(PoisonError::into_inner).note(&verdict);
        if allowed {
            self.0.unpermitted.lock().unwrap_or_else(PoisonError::into_inner).remove(resource);
        }
        allowed
    }

    /// Whether a row was permitted of every resource that only some callers may act on with this tool. A row of a resource that
    /// any caller might change says nothing about the others.
    pub fn opens_gate(&self) -> bool {
        self.0.unpermitted.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Which rows the caller may see, as JSON, so that the guest can ask its backend for less. Never relied on.
    pub fn hint(&self) -> Option<String> {
        let resource = self.0.delivered.as_ref().map(|rows| &rows.resource).or_else(|| self.0.conditional.first())?;
        self.0.hint.get_or_init(|| self.access().hint(resource)).clone()
    }

    /// The decisions the guest asked for so far.
    pub fn asked(&self) -> RowTally {
        self.0.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the answer holds rows, so that what is kept of it may differ from what is delivered.
    pub fn are_delivered(&self) -> bool {
        self.0.delivered.is_some()
    }

    /// The answer without the rows that the caller may not see, and how many there were.
    ///
    /// INVARIANT: every answer passes through here on its way out, at every delivery.
    pub fn deliver(&self, call: &Call, tool: &Tool, answer: Answer) -> (Answer, RowTally) {
        let mut tally = RowTally::default();
        let Some(rows) = &self.0.delivered else { return (answer, tally) };
        let mut output = match answer {
            Answer::Output(output) => output,
            // A row that is not there and one that is not the caller's must look alike.
            Answer::Error { envelope, .. } if is_absent(tool, &envelope) => {
                return (withheld(tool, call.id, call.trace.trace_id()), tally);
            }
            // A tool's own words about a failure could tell of such a row.
            Answer::Error { envelope, structured } => {
                return (Answer::Error { envelope: envelope.in_hosts_words(), structured }, tally);
            }
            other => return (other, tally),
        };
        let decide = |row: &Value, tally: &mut RowTally| tally.note(&self.access().permits(&rows.resource, row));
        let is_whole = match output.structured.as_mut().and_then(|value| value.pointer_mut(&rows.pointer)) {
            Some(Value::Array(list)) if list.len() > FEW_ROWS => {
                tokio::task::block_in_place(|| list.retain(|row| decide(row, &mut tally)));
                true
            }
            Some(Value::Array(list)) => {
                list.retain(|row| decide(row, &mut tally));
                true
            }
            // No row, and one that is not the caller's, must look alike; a write that returns none has told nothing.
            Some(Value::Null) => tool.manifest.effect == Effect::Write,
            Some(row) => decide(row, &mut tally),
            // What cannot be found cannot be decided: an answer that was kept before its tool changed.
            None => false,
        };
        // Text beside the rows is of a tool that did not declare them yet.
        let fits = is_whole && output.content.is_empty() && (tally.denied == 0 || still_fits(tool, &output));
        let delivered = if fits { Answer::Output(output) } else { withheld(tool, call.id, call.trace.trace_id()) };
        (delivered, tally)
    }

    fn access(&self) -> &RowAccess {
        let RowRequest { principal, tool, arguments, trace_id } = &self.0.request;
        self.0.access.get_or_init(|| self.0.policies.row_access(principal, tool, arguments, trace_id))
    }
}

/// Whether a read found nothing, in whatever words.
fn is_absent(tool: &Tool, envelope: &Envelope) -> bool {
    tool.manifest.effect == Effect::Read && envelope.error == ErrorCode::NotFound
}

/// A schema may demand rows that are gone.
fn still_fits(tool: &Tool, output: &Output) -> bool {
    let (Some(schema), Some(value)) = (&tool.output, &output.structured) else { return true };
    schema.check(value).is_ok()
}

/// In place of an answer whose row the caller may not see. That there is one stays unsaid.
fn withheld(tool: &Tool, id: CallId, trace_id: String) -> Answer {
    let envelope = match tool.manifest.effect {
        Effect::Read => Envelope::not_found(id, trace_id),
        Effect::Write => Envelope::done_unseen(id, trace_id),
    };
    Answer::Error { envelope, structured: tool.output.is_none() }
}
