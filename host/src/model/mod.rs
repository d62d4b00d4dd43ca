//! Plain data that every layer speaks: no I/O, no engine types, no clocks but the ones handed in.

pub mod call;
pub mod code;
pub mod dialogue;
pub mod document;
pub mod envelope;
pub mod face;
pub mod generation;
pub mod id;
pub mod manifest;
pub mod origin;
pub mod outcome;
pub mod policy_set;
pub mod principal;
pub mod refusal;
pub mod rejection;
pub mod scope;
pub mod sent;
pub mod spans;
pub mod standing;
pub mod tally;
pub mod tool;
pub mod trace;
pub mod unit;
pub mod verdict;
pub mod widening;

pub use call::{
    ADMIN_TOKEN_FILE, Arguments, CallRequest, Credentials, IdempotencyKey, KeySource, OfferedKey, TASKS_EXTENSION, argument_at,
};
pub use code::ErrorCode;
pub use dialogue::{Dialogue, Given, OfferedAnswers, Question, QuestionKind};
pub use document::DocumentError;
pub use envelope::Envelope;
pub use face::{Face, Published};
pub use generation::{ChangeSource, Contents, GenerationChange, Part, PluginChange, PluginVersion};
pub use id::{CallId, Digest, Timestamp};
pub use manifest::{MAX_TOOLS, Manifest, ResourceManifest, Rows, RowsOutput, TestHook, ToolManifest};
pub use origin::{Origin, OriginError};
pub use outcome::{Ended, Failure, GuestLog, Outcome, Output, Trap};
pub use policy_set::{PolicyFileDigest, PolicyVersion};
pub use principal::Principal;
pub use refusal::{LoadProblem, LoadRefusal};
pub use rejection::Rejection;
pub use scope::Scope;
pub use sent::{Sent, SentError};
pub use spans::{OpenSpan, SpanKind, Spans, Watcher};
pub use standing::Standing;
pub use tally::RowTally;
pub use tool::{Effect, POLL_TOOL, Risk, ToolName};
pub use trace::TraceContext;
pub use unit::{Bytes, Span};
pub use verdict::{Decision, Verdict};
pub use widening::{Aspect, Change, Weight};
