//! What one run may ask of its caller: each question is answered from what is known already, or ends the run.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::question;
use crate::model::{Dialogue, Question, QuestionKind};
use crate::registry::Tool;
use crate::sandbox::{AskedFor, Unanswered};

/// The most questions asked at a time.
const MAX_AT_ONCE: usize = 8;
/// The most questions of one run.
const MAX_IN_ALL: usize = 32;
/// What the parameters of the questions of one run may take up, in bytes.
const MAX_BYTES: usize = 64 << 10;

/// The questions of one run.
pub struct Inquiry {
    /// What the manifest lets the tool ask for.
    may: BTreeSet<QuestionKind>,
    dialogue: Dialogue,
    spent: Mutex<Spent>,
}

#[derive(Default)]
struct Spent {
    questions: usize,
    bytes: usize,
}

impl Inquiry {
    /// Of a run of `tool`, with what its caller has answered so far.
    pub fn new(tool: &Tool, dialogue: &Dialogue) -> Self {
        Self { may: tool.manifest.asks.clone(), dialogue: dialogue.clone(), spent: Mutex::default() }
    }

    /// The answers to a guest's questions, in their order: nothing for what can't be asked.
    ///
    /// INVARIANT: a run that may have changed something asks nobody: it would be run again.
    ///
    /// # Errors
    /// The caller has to be asked first, or these are no questions. The run ends.
    pub fn ask(&self, asked: Vec<AskedFor>, may_have_changed: bool) -> Result<Vec<Option<String>>, Unanswered> {
        self.spend(&asked).map_err(Unanswered::Malformed)?;
        let questions: Vec<Question> =
            asked.into_iter().map(question::read).collect::<Result<_, _>>().map_err(Unanswered::Malformed)?;
        let mut seen = BTreeSet::new();
        if let Some(twice) = questions.iter().find(|question| !seen.insert(&question.key)) {
            return Err(Unanswered::Malformed(format!("two questions have the key `{}`", twice.key)));
        }
        let can_be_asked = |question: &Question| {
            self.may.contains(&question.kind) && self.dialogue.takes.contains(&question.kind) && !may_have_changed
        };
        // What was offered unasked may fit nothing. Then it is as good as none.
        let answer = |question: &Question| {
            let answer = self.dialogue.answer(question).filter(|_| self.may.contains(&question.kind))?;
            question::fits(question, answer).is_ok().then(|| answer.to_string())
        };
        let answers: Vec<_> = questions.iter().map(answer).collect();
        let unanswered = questions.into_iter().zip(&answers).filter(|(_, answer)| answer.is_none()).map(|(question, _)| question);
        let open: Vec<_> = unanswered.filter(can_be_asked).collect();
        if open.is_empty() { Ok(answers) } else { Err(Unanswered::Asks(open)) }
    }

    fn spend(&self, asked: &[AskedFor]) -> Result<(), String> {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.questions += asked.len();
        spent.bytes += asked.iter().map(|asked| asked.params.len()).sum::<usize>();
        if asked.len() > MAX_AT_ONCE || spent.questions > MAX_IN_ALL || spent.bytes > MAX_BYTES {
            let limits = format!("{MAX_AT_ONCE} questions at a time, {MAX_IN_ALL} in a run, {MAX_BYTES} bytes of parameters");
            return Err(format!("it asked more than it may ({limits})"));
        }
        Ok(())
    }
}
