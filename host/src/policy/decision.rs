//! From Cedar's answers to verdicts: any error denies.

use cedar_policy::{AuthorizationError, EvaluationError};

use crate::model::{Decision, Verdict};

/// The denial of what cannot be decided.
pub(super) fn failed(error: String) -> Verdict {
    Verdict { errors: vec![error], ..Verdict::denied() }
}

/// Reads Cedar's answer, and denies on any error: Cedar itself skips a policy that fails, a `forbid` included.
pub(super) fn verdict(response: &cedar_policy::Response) -> Verdict {
    let mut errors: Vec<(String, String)> = response
        .diagnostics()
        .errors()
        .map(|AuthorizationError::PolicyEvaluationError(error)| {
            let id = id_text(error.policy_id());
            let text = format!("policy `{id}` failed: {}", cause(error.inner()));
            (id, text)
        })
        .collect();
    errors.sort();
    let decision = match response.decision() {
        cedar_policy::Decision::Allow if errors.is_empty() => Decision::Allow,
        _ => Decision::Deny,
    };
    // A permit does not determine a denial; the policies that failed do.
    let reasons =
        response.diagnostics().reason().filter(|_| response.decision() == cedar_policy::Decision::Deny || errors.is_empty());
    let mut policies: Vec<String> = reasons.map(id_text).chain(errors.iter().map(|(id, _)| id.clone())).collect();
    policies.sort();
    Verdict { decision, policies, errors: errors.into_iter().map(|(_, text)| text).collect(), shadow: None }
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
