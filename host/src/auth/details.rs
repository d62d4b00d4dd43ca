//! Scopes in the richer form of RFC 9396: `authorization_details` of the type `tidegate_scope`.
//!
//! ```json
//! [{ "type": "tidegate_scope", "actions": ["read"], "datatypes": ["invoices"], "where": ["user_id='u1'"] }]
//! ```
//!
//! means the scope `read:invoices.where(user_id='u1')`; several actions and datatypes mean every pair of them.

use serde::Deserialize;
use serde_json::Value;

use super::claims::MAX_SCOPES;
use super::problem::Problem;
use crate::model::Scope;
use crate::model::scope::Condition;

/// The type of authorization details that says the same as scopes.
pub const DETAILS_TYPE: &str = "tidegate_scope";

/// One authorization detail. Members we don't know would narrow it in ways we can't keep, so they are refused (RFC 9396 §5).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Detail {
    #[serde(rename = "type")]
    _type: String,
    actions: Vec<String>,
    datatypes: Vec<String>,
    locations: Option<Vec<String>>,
    #[serde(default, rename = "where")]
    conditions: Vec<String>,
}

/// The scopes in the claim `authorization_details`. Details of other types, or for other places than `is_here`, mean nothing here.
///
/// # Errors
/// The claim is no list of details, or one of our type is malformed: it must not count for more, or less, than it says.
pub(super) fn scopes(claim: &Value, is_here: impl Fn(&str) -> bool) -> Result<Vec<Scope>, Problem> {
    let malformed = |problem: String| Problem::Details(problem);
    let details = claim.as_array().ok_or_else(|| malformed("the claim is not a list".into()))?;
    let mut scopes = Vec::new();
    for (index, detail) in details.iter().enumerate() {
        let kind = detail.get("type").and_then(Value::as_str);
        let kind = kind.ok_or_else(|| malformed(format!("the detail at index {index} has no `type`")))?;
        if kind != DETAILS_TYPE {
            continue;
        }
        let in_detail = |problem: String| malformed(format!("the detail at index {index}: {problem}"));
        let detail = Detail::deserialize(detail).map_err(|error| in_detail(error.to_string()))?;
        if detail.locations.as_ref().is_some_and(|locations| !locations.iter().any(|location| is_here(location))) {
            continue;
        }
        if detail.actions.is_empty() || detail.datatypes.is_empty() {
            return Err(in_detail("`actions` and `datatypes` each need at least one entry".into()));
        }
        if detail.actions.len().saturating_mul(detail.datatypes.len()) > MAX_SCOPES {
            return Err(Problem::TooMany("scopes", MAX_SCOPES));
        }
        let conditions: Result<Vec<Condition>, _> = detail.conditions.iter().map(|condition| condition.parse()).collect();
        let conditions = conditions.map_err(|error| in_detail(error.to_string()))?;
        for action in &detail.actions {
            for datatype in &detail.datatypes {
                scopes.push(Scope::new(action, datatype, &conditions).map_err(|error| in_detail(error.to_string()))?);
            }
        }
        if scopes.len() > MAX_SCOPES {
            return Err(Problem::TooMany("scopes", MAX_SCOPES));
        }
    }
    Ok(scopes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(claim: Value) -> Result<Vec<String>, String> {
        let scopes = scopes(&claim, |location| location == "https://here/mcp").map_err(|problem| problem.to_string())?;
        Ok(scopes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_detail_means_every_pair_of_action_and_datatype_under_its_conditions() {
        let claim = json!([{
            "type": DETAILS_TYPE, "actions": ["read", "list"], "datatypes": ["invoices"],
            "locations": ["https://elsewhere", "https://here/mcp"], "where": ["user_id='u1'", "amount_cents<=100"],
        }]);
        let conditions = ".where(user_id='u1',amount_cents<=100)";
        assert_eq!(texts(claim), Ok(vec![format!("read:invoices{conditions}"), format!("list:invoices{conditions}")]));
    }

    #[test]
    fn details_of_others_mean_nothing_here() {
        let payment = json!({"type": "payment_initiation", "instructedAmount": {"amount": "1"}});
        let elsewhere =
            json!({"type": DETAILS_TYPE, "actions": ["read"], "datatypes": ["x"], "locations": ["https://elsewhere"]});
        assert_eq!(texts(json!([payment, elsewhere])), Ok(vec![]));
    }

    #[test]
    fn a_malformed_detail_of_ours_is_refused_with_its_reason() {
        let ours = |more: Value| {
            let mut detail = json!({"type": DETAILS_TYPE, "actions": ["read"], "datatypes": ["invoices"]});
            detail.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            texts(json!([detail])).expect_err("malformed")
        };
        for (more, reason) in [
            (json!({"where": ["user_id~'u1'"]}), "column 8"),
            (json!({"where": "user_id='u1'"}), "expected a sequence"),
            (json!({"privileges": ["admin"]}), "privileges"),
            (json!({"actions": []}), "at least one"),
            (json!({"actions": ["read it"]}), "not a scope"),
        ] {
            let problem = ours(more.clone());
            assert!(problem.contains(reason) && problem.contains("index 0"), "{more}: {problem}");
        }
        assert!(texts(json!({})).is_err() && texts(json!([{}])).is_err());
    }
}
