//! Answers that whoever called has ready, each for the question of one key.

use std::collections::HashMap;

use serde_json::Value;

use super::INPUT_REQUIRED;
use crate::{Failure, Question};

/// The kinds of questions, as manifests name them.
const KINDS: [&str; 4] = ["elicitation", "elicitation/url", "sampling", "roots"];

/// How many questions a call may ask at a time.
const AT_A_TIME: usize = 8;

/// How many questions a call may ask.
const IN_A_CALL: usize = 32;

/// How long the parameters of all questions of a call may be.
const PARAMS_BYTES: usize = 64 << 10;

/// Whoever called, as far as they can be asked.
#[derive(Default)]
pub(super) struct Answers {
    ready: HashMap<String, Value>,
    unaskable: Vec<String>,
}

impl Answers {
    pub(super) fn add(&mut self, key: &str, answer: Value) {
        self.ready.insert(key.to_owned(), answer);
    }

    pub(super) fn refuse(&mut self, kind: &str) {
        assert!(KINDS.contains(&kind), "`{kind}` is no kind of question; there are `{}`", KINDS.join("`, `"));
        self.unaskable.push(kind.to_owned());
    }

    /// The answer to a question, if it can be asked and there is one.
    pub(super) fn ready(&self, question: &Question) -> Option<String> {
        let can_ask = !self.unaskable.iter().any(|kind| kind == question.kind());
        can_ask.then(|| self.ready.get(question.key())).flatten().map(Value::to_string)
    }

    /// An answer for each question, or the failure that stands for the end of the run.
    pub(super) fn to(&self, questions: &[Question]) -> Result<Vec<Option<String>>, Failure> {
        let (mut answers, mut open) = (Vec::new(), Vec::new());
        for question in questions {
            let can_ask = !self.unaskable.iter().any(|kind| kind == question.kind());
            let answer = self.ready(question);
            if can_ask && answer.is_none() {
                open.push(format!("`{}` ({})", question.key(), question.kind()));
            }
            answers.push(answer);
        }
        if open.is_empty() {
            return Ok(answers);
        }
        Err(Failure::new(INPUT_REQUIRED, format!("the run ends here until there is an answer to {}", open.join(", "))))
    }
}

/// Sees to it that a call asks no more than the real host lets it. `asked` is what it has asked so far.
///
/// # Panics
///
/// If it does: at the real host such a run ends as a crash does.
pub(super) fn check(asked: &mut Vec<Question>, questions: &[Question]) {
    assert!(questions.len() <= AT_A_TIME, "the tool asks {} questions at a time; {AT_A_TIME} is the most", questions.len());
    for (at, question) in questions.iter().enumerate() {
        let key = question.key();
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '-');
        let is_key = (1..=64).contains(&key.len()) && key.chars().all(is_plain);
        assert!(is_key, "`{key}` is no key of a question; that is 1 to 64 characters of `A-Z a-z 0-9 _ . -`");
        let in_round = questions[..at].iter().any(|other| other.key() == key);
        match asked.iter().find(|other| other.key() == key) {
            // To ask again what was answered is to read the answer again.
            Some(other) => assert!(!in_round && other == question, "the tool asks two questions under the key `{key}`"),
            None => asked.push(question.clone()),
        }
    }
    assert!(asked.len() <= IN_A_CALL, "the tool asks {} questions; {IN_A_CALL} is the most of a call", asked.len());
    let bytes: usize = asked.iter().map(|question| question.params().to_string().len()).sum();
    assert!(
        bytes <= PARAMS_BYTES,
        "the parameters of the tool's questions are {bytes} bytes; {PARAMS_BYTES} is the most of a call"
    );
}
