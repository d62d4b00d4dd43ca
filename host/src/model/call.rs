//! One call as it arrives: tool, arguments and the idempotency keys offered with it; and the credentials it came with.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::{OfferedAnswers, QuestionKind, Spans};

/// A tool's arguments: always a JSON object.
pub type Arguments = Map<String, Value>;

/// The argument that `pointer` (RFC 6901) leads to. The one reading of such pointers: policies, scopes and keys must agree.
pub fn argument_at<'a>(arguments: &'a Arguments, pointer: &str) -> Option<&'a Value> {
    let inner = pointer.strip_prefix('/')?;
    let (first, rest) = inner.split_at(inner.find('/').unwrap_or(inner.len()));
    arguments.get(&first.replace("~1", "/").replace("~0", "~"))?.pointer(rest)
}

/// What the transport knows about one call before anything has been decided.
#[derive(Clone, Debug)]
pub struct CallRequest {
    /// The tool asked for; may not exist.
    pub tool: String,
    /// The arguments, not yet validated; may hold the host's own `idempotency_key`.
    pub arguments: Arguments,
    /// Idempotency keys offered outside the arguments.
    pub offered_keys: Vec<OfferedKey>,
    /// Where the call stands in its trace, and where its parts are noted.
    pub spans: Spans,
    /// The MCP capabilities the client declared, such as `sampling`, and the extensions it knows, such as [`TASKS_EXTENSION`].
    pub client_capabilities: Vec<String>,
    /// The kinds of questions that the client takes while a call waits for the answers.
    pub takes_questions: BTreeSet<QuestionKind>,
    /// The answers to questions that an earlier run of the same call asked.
    pub offered_answers: OfferedAnswers,
}

/// The MCP extension under which a call may be answered with a task instead of a result (ext-tasks 2026-07-28).
pub const TASKS_EXTENSION: &str = "io.modelcontextprotocol/tasks";

impl CallRequest {
    /// Whether the client can be told a task.
    pub fn takes_tasks(&self) -> bool {
        self.client_capabilities.iter().any(|name| name == TASKS_EXTENSION)
    }
}

/// The file among a host's secrets with what the operator proves it with; the names of those about to take its place begin like that.
pub const ADMIN_TOKEN_FILE: &str = "admin-token";

/// How a caller proves who it is.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing was presented.
    Anonymous,
    /// A bearer token (RFC 6750), not yet verified.
    Bearer(String),
}

/// The token never reaches a log.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Bearer(_) => "Bearer(..)",
        })
    }
}

/// The client's name for one intended effect: 1 to 255 visible ASCII characters.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The longest key, in characters.
    pub const MAX_LENGTH: usize = 255;

    /// The key as the client wrote it. Audit records hold only its hash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A key names an effect and may be guessable; logs never show it.
impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdempotencyKey(..)")
    }
}

impl FromStr for IdempotencyKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if (1..=Self::MAX_LENGTH).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "an idempotency key is 1 to {} visible ASCII characters without spaces; a UUID is best",
                Self::MAX_LENGTH
            ))
        }
    }
}

/// A key and the way it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedKey {
    /// The way it came.
    pub source: KeySource,
    /// The text, not yet checked.
    pub text: String,
}

/// The ways an idempotency key can reach the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The `idempotency_key` argument that the host adds to every write tool's schema.
    Argument,
    /// The argument that the manifest's `key_from` points to.
    KeyFrom,
    /// `_meta["dev.tidegate/idempotency-key"]`.
    Meta,
    /// The HTTP header `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07).
    Header,
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Argument => "the `idempotency_key` argument",
            Self::KeyFrom => "the argument that serves as the key",
            Self::Meta => "`_meta[\"dev.tidegate/idempotency-key\"]`",
            Self::Header => "the `Idempotency-Key` header",
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pointer_leads_through_objects_lists_and_strange_names() {
        let arguments = json!({"a/b": {"": [10, {"~": true}]}, "": 1});
        let arguments = arguments.as_object().expect("an object");
        let at = |pointer: &str| argument_at(arguments, pointer).cloned();
        assert_eq!((at("/a~1b//0"), at("/a~1b//1/~0"), at("/")), (Some(json!(10)), Some(json!(true)), Some(json!(1))));
        assert_eq!((at(""), at("a~1b"), at("/a~1b//2"), at("/a~1b//00")), (None, None, None, None));
    }
}
