//! `tidegate:plugin/host`: what a running call may ask of the host.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::bindings::tidegate::plugin::host;
use super::logs::escaped;
use super::meter::{PERMITS, REPORT};
use super::state::State;
use super::{AskedFor, GuestContext, HostFunctions, SendRequest, Unanswered};
use crate::model::Question;

/// Progress reports passed on per call; the rest is dropped.
const MAX_REPORTS: u32 = 1_000;
/// The longest text of a progress report, in bytes.
const MAX_REPORT_LENGTH: usize = 1_024;

/// What a byte of a question costs, in bytes that are merely passed on: it is parsed, and the schema of a form compiled.
const READING: usize = 64;

/// The stack that deciding takes at most, and then some.
const STACK: usize = 1 << 20;

/// A running call, as the guest sees it.
pub(super) struct Call {
    context: GuestContext,
    functions: HostFunctions,
    reports_left: u32,
    reported: Option<u64>,
}

impl Call {
    /// A call that has not reported anything yet.
    pub(super) fn new(context: GuestContext, functions: HostFunctions) -> Self {
        Self { context, functions, reports_left: MAX_REPORTS, reported: None }
    }

    /// The way out to backends.
    pub(super) fn send(&self) -> SendRequest {
        Arc::clone(&self.functions.send)
    }

    /// Whether requests may name `https`.
    pub(super) fn speaks_https(&self) -> bool {
        self.functions.https
    }

    fn cancelled(&self) -> &CancellationToken {
        &self.functions.cancelled
    }

    /// Whether a report goes on: progress grows, and there is a limit to it.
    fn accepts(&mut self, done: u64) -> bool {
        let grows = self.reported.is_none_or(|before| done > before);
        if !grows || self.reports_left == 0 {
            return false;
        }
        self.reports_left -= 1;
        self.reported = Some(done);
        true
    }
}

impl host::Host for State {
    fn get_context(&mut self) -> wasmtime::Result<host::Context> {
        let Some(call) = &self.call else {
            wasmtime::bail!("`get-context` was called while describing, where there is no call");
        };
        // Making it takes about as long as deciding on a row or two.
        self.meter.charge(PERMITS);
        let (context, row_filter) = (call.context.clone(), on_own_stack(|| (call.functions.row_filter)()));
        Ok(host::Context {
            subject: context.subject,
            trace_id: context.trace_id,
            attempt: context.attempt,
            idempotency_key: context.idempotency_key,
            row_filter,
        })
    }

    fn progress(&mut self, done: u64, total: Option<u64>, mut message: String) -> wasmtime::Result<()> {
        self.meter.charge(REPORT);
        self.meter.charge_bytes(message.len());
        if let Some(call) = &mut self.call
            && call.accepts(done)
        {
            message.truncate(message.floor_char_boundary(MAX_REPORT_LENGTH));
            (call.functions.progress)(done, total, escaped(&message));
        }
        Ok(())
    }

    fn is_cancelled(&mut self) -> wasmtime::Result<bool> {
        Ok(self.call.as_ref().is_some_and(|call| call.cancelled().is_cancelled()))
    }

    fn permits(&mut self, resource: String, row: String) -> wasmtime::Result<bool> {
        self.meter.charge(PERMITS);
        self.meter.charge_bytes(resource.len() + row.len());
        // Without a call there is nobody to permit anything to.
        Ok(self.call.as_ref().is_some_and(|call| on_own_stack(|| (call.functions.permits)(&resource, &row))))
    }

    fn log(&mut self, level: u8, message: String) -> wasmtime::Result<()> {
        self.meter.charge(REPORT);
        self.meter.charge_bytes(message.len());
        // What the log has no room for does not reach the caller either.
        if self.log.line(level, &message)
            && let Some(call) = &self.call
        {
            (call.functions.log)(level.min(7), &escaped(&message));
        }
        Ok(())
    }

    fn ask(&mut self, questions: Vec<host::Question>) -> wasmtime::Result<Vec<Option<String>>> {
        let Some(call) = &self.call else {
            wasmtime::bail!("`ask` was called while describing, where there is nobody to ask");
        };
        self.meter.charge(PERMITS);
        for question in &questions {
            self.meter.charge(PERMITS);
            self.meter.charge_bytes(question.key.len() + question.method.len());
            self.meter.charge_bytes(question.params.len().saturating_mul(READING));
        }
        let asked_for = |host::Question { key, method, params }| AskedFor { key, method, params };
        let questions = questions.into_iter().map(asked_for).collect();
        match on_own_stack(|| (call.functions.ask)(questions)) {
            Ok(answers) => {
                self.meter.charge_bytes(answers.iter().flatten().map(String::len).sum());
                Ok(answers)
            }
            Err(Unanswered::Asks(questions)) => Err(Asks(questions).into()),
            Err(Unanswered::Malformed(problem)) => wasmtime::bail!("`ask` was called with what is no question: {problem}"),
        }
    }
}

/// Ends a run that asked what its caller has to be asked first.
#[derive(Debug, thiserror::Error)]
#[error("the run ends here: its caller is asked first")]
pub(super) struct Asks(pub Vec<Question>);

/// Runs `work` on a stack of its own. Host functions run on the guest's, and whoever looks how much of the thread's stack is left,
/// as the policy engine does before each decision, finds none there.
fn on_own_stack<T>(work: impl FnOnce() -> T) -> T {
    stacker::grow(STACK, work)
}
