//! What one run may ask of its caller: each question is answered from what is known already, or ends the run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::question;
use crate::model::{Dialogue, Digest, Question, QuestionKind};
use crate::registry::Tool;
use crate::sandbox::{AskedFor, Unanswered};

/// The most questions asked at a time.
const MAX_AT_ONCE: usize = 8;
/// The most questions of one call, whichever of its runs asks them.
const MAX_IN_ALL: usize = 32;
/// What the parameters of the questions of one run may take up, in bytes.
const MAX_BYTES: usize = 64 << 10;

/// The questions of one run.
pub struct Inquiry {
    /// What the manifest lets the tool ask for.
    may: BTreeSet<QuestionKind>,
    dialogue: Arc<Dialogue>,
    spent: Mutex<Spent>,
}

#[derive(Default)]
struct Spent {
    /// What each key stands for.
    keys: BTreeMap<String, Digest>,
    bytes: usize,
    /// What the tool's author was told of why nobody is asked.
    told: BTreeSet<&'static str>,
}

impl Inquiry {
    /// Of a run of `tool`, with what its caller has answered so far.
    pub fn new(tool: &Tool, dialogue: &Arc<Dialogue>) -> Self {
        Self { may: tool.manifest.asks.clone(), dialogue: dialogue.clone(), spent: Mutex::default() }
    }

    /// The answers to a guest's questions, in their order: nothing for what can't be asked. Why not, its author is told with `say`.
    ///
    /// INVARIANT: a run that may have changed something asks nobody: it would be run again.
    ///
    /// # Errors
    /// The caller has to be asked first, or these are no questions. The run ends.
    pub fn ask(
        &self,
        asked: Vec<AskedFor>,
        may_have_changed: bool,
        say: impl Fn(&str),
    ) -> Result<Vec<Option<String>>, Unanswered> {
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        if asked.len() > MAX_AT_ONCE {
            return Err(Unanswered::Malformed(format!("more than {MAX_AT_ONCE} at a time")));
        }
        self.spend(&asked).map_err(Unanswered::Malformed)?;
        let questions: Vec<Question> =
            asked.into_iter().map(question::read).collect::<Result<_, _>>().map_err(Unanswered::Malformed)?;
        self.tell_apart(&questions).map_err(Unanswered::Malformed)?;
        let (mut answers, mut open) = (Vec::with_capacity(questions.len()), Vec::new());
        for question in questions {
            let answer = self.dialogue.answer(&question).filter(|_| self.may.contains(&question.kind));
            // What was offered unasked may fit nothing. Then it is as good as none.
            let answer = answer.filter(|answer| question::fits(&question, answer).is_ok());
            answers.push(answer.map(ToString::to_string));
            if answer.is_none() {
                match self.why_not(&question, may_have_changed) {
                    None => open.push(question),
                    Some(why) if self.lock().told.insert(why) => say(&format!("nobody is asked `{}`: {why}", question.key)),
                    Some(_) => {}
                }
            }
        }
        if open.is_empty() { Ok(answers) } else { Err(Unanswered::Asks(open)) }
    }

    /// Why a question can't be asked.
    fn why_not(&self, question: &Question, may_have_changed: bool) -> Option<&'static str> {
        match question.kind {
            kind if !self.may.contains(&kind) => Some("the manifest does not name its kind among the tool's `asks`"),
            kind if !self.dialogue.takes.contains(&kind) => Some("the client does not take such questions"),
            _ if may_have_changed => Some("the call sent a request that may have changed something, and would be run again"),
            _ => None,
        }
    }

    /// A question may be asked again later, and then its answer is given again; under its key nothing else is asked.
    fn tell_apart(&self, questions: &[Question]) -> Result<(), String> {
        let mut spent = self.lock();
        let mut at_once = BTreeSet::new();
        for question in questions {
            let print = question.print();
            let before = spent.keys.insert(question.key.clone(), print);
            if !at_once.insert(&question.key) || before.is_some_and(|before| before != print) {
                return Err(format!("two questions have the key `{}`", question.key));
            }
        }
        // Not what came unasked: a caller must not use up what its tool may ask.
        let answered = self.dialogue.given.iter().filter(|(_, given)| given.question.is_some()).map(|(key, _)| key);
        let in_all = spent.keys.keys().chain(answered).collect::<BTreeSet<_>>().len();
        if in_all > MAX_IN_ALL { Err(format!("more than {MAX_IN_ALL} in one call")) } else { Ok(()) }
    }

    /// What is asked again costs nothing again.
    fn spend(&self, asked: &[AskedFor]) -> Result<(), String> {
        let mut spent = self.lock();
        let new = asked.iter().filter(|asked| !spent.keys.contains_key(&asked.key));
        spent.bytes += new.map(|asked| asked.params.len()).sum::<usize>();
        if spent.bytes > MAX_BYTES || asked.iter().any(|asked| asked.params.len() > MAX_BYTES) {
            return Err(format!("more than {MAX_BYTES} bytes of parameters"));
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Spent> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Given;

    /// Of a tool and a client that speak of roots, with these answers; those that came `unasked`, or others.
    fn inquiry(keys: usize, unasked: bool) -> Inquiry {
        let answer = |n: usize| {
            let question = (!unasked).then_some(Digest([1; 32]));
            (format!("before_{n}"), Given { question, answer: json!({ "roots": [] }) })
        };
        let kinds = BTreeSet::from([QuestionKind::Roots]);
        let dialogue = Dialogue { takes: kinds.clone(), given: (0..keys).map(answer).collect() };
        Inquiry { may: kinds, dialogue: Arc::new(dialogue), spent: Mutex::default() }
    }

    fn roots(key: &str) -> AskedFor {
        AskedFor { key: key.to_owned(), method: "roots/list".to_owned(), params: "{}".to_owned() }
    }

    fn is_malformed(asked: &Result<Vec<Option<String>>, Unanswered>) -> bool {
        matches!(asked, Err(Unanswered::Malformed(_)))
    }

    #[test]
    fn a_caller_can_not_use_up_what_its_tool_may_ask() {
        assert!(matches!(inquiry(1_000, true).ask(vec![roots("k")], false, |_| {}), Err(Unanswered::Asks(_))));
        assert!(is_malformed(&inquiry(MAX_IN_ALL, false).ask(vec![roots("k")], false, |_| {})), "what it was asked counts");
    }

    #[test]
    fn a_run_that_may_have_changed_something_asks_nobody_and_its_author_is_told_once() {
        let (inquiry, told) = (inquiry(0, true), Mutex::new(Vec::new()));
        for _ in 0..3 {
            let asked = inquiry.ask(vec![roots("k")], true, |why| told.lock().expect("whole").push(why.to_owned()));
            assert_eq!(asked, Ok(vec![None]));
        }
        let told = told.into_inner().expect("whole");
        assert!(told.len() == 1 && told[0].contains("may have changed something"), "{told:?}");
    }

    #[test]
    fn what_is_asked_again_costs_nothing_again_and_another_question_has_another_key() {
        let inquiry = inquiry(1, true);
        for _ in 0..1_000 {
            assert_eq!(inquiry.ask(vec![roots("before_0")], false, |_| {}), Ok(vec![Some("{\"roots\":[]}".to_owned())]));
        }
        let other = AskedFor { params: "{\"_meta\":{}}".to_owned(), ..roots("before_0") };
        assert!(is_malformed(&inquiry.ask(vec![other], false, |_| {})));
        assert!(is_malformed(&inquiry.ask(vec![roots("a"), roots("a")], false, |_| {})));
        assert_eq!(inquiry.ask(Vec::new(), false, |_| {}), Ok(Vec::new()));
    }
}
