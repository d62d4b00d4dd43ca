//! What the policies said about a call, kept whole for the audit log.

use serde::Serialize;

/// Allow or deny. There is no third answer: whatever is not clearly allowed is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// At least one policy permits, none forbids, none failed.
    Allow,
    /// Everything else.
    Deny,
}

/// A decision and its reasons.
///
/// INVARIANT: `decision` is `Allow` only when `errors` is empty. Cedar skips a policy that errors, `forbid` included, so any
/// evaluation error denies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// What was decided.
    pub decision: Decision,
    /// The ids of the policies that determined the decision, sorted.
    pub policies: Vec<String>,
    /// Evaluation errors, each of which denies.
    pub errors: Vec<String>,
    /// What would have been decided if the policies that only watch counted too, where that differs. It changes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Box<Verdict>>,
}

impl Verdict {
    /// A denial that no policy determined: nothing permits.
    pub fn denied() -> Self {
        Self { decision: Decision::Deny, policies: Vec::new(), errors: Vec::new(), shadow: None }
    }
}
