//! From Cedar's answers to verdicts: any error denies.

use cedar_policy::{AuthorizationError, EvaluationError};

use crate::model::{Decision, Verdict};

/// The denial of what cannot be decided.
pub(super) fn failed(error: String) -> Verdict {
    Verdict { errors: vec![error], ..Verdict::denied() }
}

/// What some policies come to, by id; what several sets of policies come to can be put together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// The policies that permit; not told where some of the same set forbid.
    permits: Vec<String>,
    forbids: Vec<String>,
    /// The policies that failed, and how.
    errors: Vec<(String, String)>,
}

impl Tally {
    /// Reads Cedar's answer. Cedar itself skips a policy that fails, a `forbid` included.
    pub(super) fn of(response: &cedar_policy::Response) -> Self {
        let errors = response.diagnostics().errors().map(|AuthorizationError::PolicyEvaluationError(error)| {
            let id = id_text(error.policy_id());
            let text = format!("policy `{id}` failed: {}", cause(error.inner()));
            (id, text)
        });
        let reasons = response.diagnostics().reason().map(id_text).collect();
        let (permits, forbids) = match response.decision() {
            cedar_policy::Decision::Allow => (reasons, Vec::new()),
            cedar_policy::Decision::Deny => (Vec::new(), reasons),
        };
        Self { permits, forbids, errors: errors.collect() }
    }

    /// Adds what of `other` comes from policies whose id `counts`.
    pub(super) fn add(&mut self, other: &Self, counts: impl Fn(&str) -> bool) {
        self.permits.extend(other.permits.iter().filter(|id| counts(id)).cloned());
        self.forbids.extend(other.forbids.iter().filter(|id| counts(id)).cloned());
        self.errors.extend(other.errors.iter().filter(|(id, _)| counts(id)).cloned());
    }

    /// The verdict of all policies together: any that forbids or fails denies.
    pub(super) fn verdict(mut self) -> Verdict {
        self.errors.sort();
        let allows = self.forbids.is_empty() && self.errors.is_empty() && !self.permits.is_empty();
        // A permit does not determine a denial; the policies that failed do.
        let mut policies = if allows { self.permits } else { self.forbids };
        policies.extend(self.errors.iter().map(|(id, _)| id.clone()));
        policies.sort();
        Verdict {
            decision: if allows { Decision::Allow } else { Decision::Deny },
            policies,
            errors: self.errors.into_iter().map(|(_, text)| text).collect(),
            shadow: None,
        }
    }
}

/// The id as it was written; Cedar's own display escapes it.
fn id_text(id: &cedar_policy::PolicyId) -> String {
    let text: &str = id.as_ref();
    text.to_owned()
}

/// The kind of an evaluation error. Cedar's own text quotes values, and arguments may be such that must not be stored.
fn cause(error: &EvaluationError) -> &'static str {
    match error {
        EvaluationError::IntegerOverflow(_) => "a number left the range of 64 bits",
        EvaluationError::EntityDoesNotExist(_) => "it asks for an entity that does not exist",
        EvaluationError::EntityAttrDoesNotExist(_) => "it asks for an attribute or tag that is not there",
        EvaluationError::RecordAttrDoesNotExist(_) => "it asks for an argument that is not there",
        EvaluationError::TypeError(_) => "a value has the wrong type",
        EvaluationError::RecursionLimit(_) => "it is nested too deeply",
        _ => "it cannot be evaluated",
    }
}
