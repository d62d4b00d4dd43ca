//! The rows of one call: each is decided by policy when the guest asks and at every delivery of the answer.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde_json::Value;

use super::{Answer, Call};
use crate::model::{Arguments, CallId, Effect, Envelope, ErrorCode, Output, Principal, RowTally, RowsOutput, ToolName};
use crate::policy::{Policies, RowAccess};
use crate::registry::Tool;

/// The longest row a guest may ask about, in bytes.
const MAX_ROW: usize = 64 << 10;

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
        // Without row types there is nothing to decide, and so nothing to remember the arguments for.
        let has_rows = !tool.plugin.manifest.resources.is_empty();
        Self(Arc::new(Inner {
            delivered: tool.manifest.rows_at().cloned(),
            conditional: conditional.map(|scope| scope.resource().to_owned()).collect(),
            access: OnceLock::new(),
            policies: call.generation.policies.clone(),
            request: RowRequest {
                principal: call.principal.clone(),
                tool: tool.manifest.name.clone(),
                arguments: if has_rows { arguments.clone() } else { Arguments::new() },
                trace_id: call.trace.trace_id(),
            },
            asked: Mutex::default(),
        }))
    }

    /// Whether the caller may act on a row (JSON). A text that is no row is not permitted.
    pub fn permits(&self, resource: &str, row: &str) -> bool {
        let row = if row.len() <= MAX_ROW { serde_json::from_str(row).unwrap_or_default() } else { Value::Null };
        let verdict = self.access().permits(resource, &row);
        self.0.asked.lock().unwrap_or_else(PoisonError::into_inner).note(&verdict)
    }

    /// Whether only some callers may act on the rows of `resource` with this tool.
    pub fn is_conditional(&self, resource: &str) -> bool {
        self.0.conditional.iter().any(|conditional| conditional == resource)
    }

    /// Which rows the caller may see, as JSON, so that the guest can ask its backend for less. Never relied on.
    pub fn hint(&self) -> Option<String> {
        let resource = self.0.delivered.as_ref().map(|rows| &rows.resource).or_else(|| self.0.conditional.first());
        self.access().hint(resource?)
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
            other => return (other, tally),
        };
        let decide = |row: &Value, tally: &mut RowTally| tally.note(&self.access().permits(&rows.resource, row));
        let is_whole = match output.structured.as_mut().and_then(|value| value.pointer_mut(&rows.pointer)) {
            Some(Value::Array(list)) => {
                list.retain(|row| decide(row, &mut tally));
                true
            }
            Some(Value::Null) => true,
            Some(row) => decide(row, &mut tally),
            // What cannot be found cannot be decided: an answer that was kept before its tool changed.
            None => false,
        };
        let fits = is_whole && (tally.denied == 0 || still_fits(tool, &output));
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
