//! What a running tool asks of whoever called, and what it was answered (MCP 2026-07-28, multi round-trip requests).
//!
//! A run that asks what has not been answered ends there, and the tool is run again with the answers. So an answer is kept with
//! the question it was given to, word for word: whoever said yes to one thing has not said yes to another.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::Digest;

/// What kind of thing is asked for. Spelled as a manifest's `asks` spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum QuestionKind {
    /// Something that a person fills in (`elicitation/create`, form mode).
    #[serde(rename = "elicitation")]
    Form,
    /// That a person opens a page, for what must not pass through the client (`elicitation/create`, URL mode).
    #[serde(rename = "elicitation/url")]
    Url,
    /// A message of the client's language model (`sampling/createMessage`).
    #[serde(rename = "sampling")]
    Sampling,
    /// The folders that the client works in (`roots/list`).
    #[serde(rename = "roots")]
    Roots,
}

impl QuestionKind {
    /// The kind as manifests spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Form => "elicitation",
            Self::Url => "elicitation/url",
            Self::Sampling => "sampling",
            Self::Roots => "roots",
        }
    }

    /// The MCP request that asks for it.
    pub fn method(self) -> &'static str {
        match self {
            Self::Form | Self::Url => "elicitation/create",
            Self::Sampling => "sampling/createMessage",
            Self::Roots => "roots/list",
        }
    }
}

/// One question of a tool, found well-formed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// Its name among the questions of the call.
    pub key: String,
    /// What is asked for.
    pub kind: QuestionKind,
    /// The parameters of the MCP request.
    pub params: Map<String, Value>,
}

impl Question {
    /// What tells it from every other question.
    pub fn print(&self) -> Digest {
        let words = serde_json::to_vec(&(self.kind, &self.params)).expect("parsed JSON serializes");
        Digest(Sha256::digest(words).into())
    }

    /// The question as MCP has it, an `InputRequest`.
    pub fn to_request(&self) -> Value {
        json!({ "method": self.kind.method(), "params": self.params })
    }
}

/// Questions as MCP has them: `inputRequests`, by key.
pub fn to_requests(questions: &[Question]) -> Map<String, Value> {
    questions.iter().map(|question| (question.key.clone(), question.to_request())).collect()
}

/// What can be asked of a call's caller, and what it has answered so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Dialogue {
    /// The kinds of questions that its client takes.
    pub takes: BTreeSet<QuestionKind>,
    /// The answers, by the keys of the questions.
    pub given: BTreeMap<String, Given>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Given {
    /// The print of the question it was given to; none if it came unasked, from a client that knew what would be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<Digest>,
    /// The result of the MCP request.
    pub answer: Value,
}

impl Dialogue {
    /// Whether nobody can be asked and nothing was answered.
    pub fn is_empty(&self) -> bool {
        self.takes.is_empty() && self.given.is_empty()
    }

    /// The answer to this question, if there is one.
    ///
    /// INVARIANT: what was answered to another question under the same key is no answer to this one.
    pub fn answer(&self, question: &Question) -> Option<&Value> {
        let given = self.given.get(&question.key)?;
        given.question.is_none_or(|print| print == question.print()).then_some(&given.answer)
    }

    /// The answers alone, for records.
    pub fn answers(&self) -> Map<String, Value> {
        self.given.iter().map(|(key, given)| (key.clone(), given.answer.clone())).collect()
    }
}

/// What came along with a call for questions that it was asked before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OfferedAnswers {
    /// `inputResponses`: the results of MCP requests, by the keys of the questions; not yet held to them.
    pub responses: Map<String, Value>,
    /// `requestState`, as the client has it: it may be anything.
    pub state: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(message: &str) -> Question {
        let params = json!({ "message": message });
        Question { key: "ok".into(), kind: QuestionKind::Form, params: params.as_object().expect("an object").clone() }
    }

    #[test]
    fn an_answer_counts_for_the_question_it_was_given_to_alone() {
        let (asked, other) = (question("pay 100?"), question("pay 500?"));
        let given = Given { question: Some(asked.print()), answer: json!({ "action": "accept" }) };
        let mut dialogue = Dialogue { given: BTreeMap::from([("ok".to_owned(), given)]), ..Dialogue::default() };
        assert!(dialogue.answer(&asked).is_some());
        assert_eq!(dialogue.answer(&other), None);
        assert_eq!(dialogue.answer(&Question { kind: QuestionKind::Url, ..asked.clone() }), None);
        assert_eq!(dialogue.answer(&Question { key: "else".into(), ..asked.clone() }), None);

        dialogue.given.get_mut("ok").expect("it is there").question = None;
        assert!(dialogue.answer(&other).is_some(), "what came unasked is for whatever is asked under its key");
    }

    #[test]
    fn a_kind_is_spelled_as_manifests_spell_it() {
        for kind in [QuestionKind::Form, QuestionKind::Url, QuestionKind::Sampling, QuestionKind::Roots] {
            assert_eq!(serde_json::to_value(kind).expect("a text"), kind.as_str());
        }
    }
}
