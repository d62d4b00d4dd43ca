//! Questions of tools on the wire: what a client takes, what it is asked, and what it answers (MCP 2026-07-28, multi round-trip
//! requests).

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};

use super::convert::ResultMeta;
use super::era::Era;
use super::meta::Meta;
use super::rpc::RpcError;
use crate::model::dialogue::to_requests;
use crate::model::{OfferedAnswers, Question, QuestionKind};

/// The result of a `tools/call` whose tool asks something first (InputRequiredResult).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InputRequired {
    result_type: &'static str,
    input_requests: Map<String, Value>,
    /// None for a call that is here already: its id is all that it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_state: Option<String>,
    #[serde(rename = "_meta")]
    meta: ResultMeta,
}

impl InputRequired {
    /// These questions.
    pub fn new(questions: &[Question], state: Option<String>, meta: ResultMeta) -> Self {
        Self { result_type: "input_required", input_requests: to_requests(questions), request_state: state, meta }
    }
}

/// The kinds of questions that a client takes which declares these capabilities. Those of the handshake protocols are asked in
/// another way, which takes a session.
pub fn taken(meta: Meta<'_>, era: Era) -> BTreeSet<QuestionKind> {
    let Some(declared) = meta.capabilities().filter(|_| era == Era::Modern) else { return BTreeSet::new() };
    let has = |name: &str| declared.get(name).is_some_and(Value::is_object);
    let elicits = declared.get("elicitation").and_then(Value::as_object);
    // One that names no mode means forms.
    let declares = |mode: &str| elicits.is_some_and(|modes| modes.get(mode).is_some_and(Value::is_object));
    let opens_pages = declares("url");
    let draws_forms = declares("form") || elicits.is_some_and(|modes| !modes.contains_key("form")) && !opens_pages;
    let kinds = [
        (QuestionKind::Form, draws_forms),
        (QuestionKind::Url, opens_pages),
        (QuestionKind::Sampling, has("sampling")),
        (QuestionKind::Roots, has("roots")),
    ];
    kinds.into_iter().filter_map(|(kind, taken)| taken.then_some(kind)).collect()
}

/// The answers that came with a request, taken out of its parameters.
///
/// # Errors
/// They are malformed (-32602).
pub fn offered(params: &mut Map<String, Value>) -> Result<OfferedAnswers, RpcError> {
    let state = match params.remove("requestState") {
        None => None,
        Some(Value::String(state)) => Some(state),
        Some(_) => return Err(RpcError::invalid_params("`params.requestState` must be the text that came with the questions")),
    };
    let responses = if params.contains_key("inputResponses") { responses(params)? } else { Map::new() };
    Ok(OfferedAnswers { responses, state })
}

/// The answers that a request must come with, taken out of its parameters.
///
/// # Errors
/// They are missing or malformed (-32602).
pub fn responses(params: &mut Map<String, Value>) -> Result<Map<String, Value>, RpcError> {
    match params.remove("inputResponses") {
        Some(Value::Object(responses)) => Ok(responses),
        _ => Err(RpcError::invalid_params("`params.inputResponses` must be an object: an answer for each question, by its key")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn taken_of(capabilities: &Value, era: Era) -> Vec<&'static str> {
        let params = json!({ "_meta": { "io.modelcontextprotocol/clientCapabilities": capabilities } });
        let meta = Meta::of(params.as_object().expect("an object")).expect("an object");
        taken(meta, era).into_iter().map(QuestionKind::as_str).collect()
    }

    #[test]
    fn a_client_is_asked_what_it_declares_and_nothing_else() {
        let modern = |capabilities: Value| taken_of(&capabilities, Era::Modern);
        assert_eq!(modern(json!({ "elicitation": {} })), ["elicitation"]);
        assert_eq!(modern(json!({ "elicitation": { "form": {} } })), ["elicitation"]);
        assert_eq!(modern(json!({ "elicitation": { "url": {} } })), ["elicitation/url"]);
        assert_eq!(
            modern(json!({ "elicitation": { "form": {}, "url": {} }, "roots": {} })),
            ["elicitation", "elicitation/url", "roots"]
        );
        assert_eq!(modern(json!({ "sampling": {}, "elicitation": true })), ["sampling"]);
        assert_eq!(modern(json!({ "elicitation": { "url": null } })), ["elicitation"]);
        assert_eq!(modern(json!({ "elicitation": { "form": false } })), [""; 0]);
        assert_eq!(modern(json!({})), [""; 0]);
        assert_eq!(taken_of(&json!({ "elicitation": {} }), Era::Legacy), [""; 0]);
    }

    #[test]
    fn answers_that_are_none_are_refused() {
        let offered = |params: Value| offered(&mut params.as_object().expect("an object").clone());
        assert_eq!(offered(json!({})), Ok(OfferedAnswers::default()));
        let responses = json!({ "name": { "action": "decline" } });
        let whole = offered(json!({ "inputResponses": responses, "requestState": "s" })).expect("both are there");
        assert_eq!((Value::Object(whole.responses), whole.state.as_deref()), (responses, Some("s")));
        for params in [json!({ "inputResponses": null }), json!({ "inputResponses": [] }), json!({ "requestState": 7 })] {
            assert_eq!(offered(params).expect_err("malformed").code, -32602);
        }
    }
}
