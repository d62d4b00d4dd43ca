//! The native end of a context: how a running call reaches its stand-in for the host.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::SystemTime;

use super::script::in_words;
use super::{Decision, Progress, State, answers};
use crate::context::Facts;
use crate::http::{HttpError, Method, Request, Response};
use crate::{Failure, Level, Question};

/// The native end of a [`Context`](crate::Context).
pub(crate) struct Link {
    state: Rc<RefCell<State>>,
    /// What this call has asked whoever called.
    asked: RefCell<Vec<Question>>,
    /// Whether this call may have changed something.
    has_changed: Cell<bool>,
}

impl Link {
    pub(super) fn new(state: Rc<RefCell<State>>) -> Link {
        Link { state, asked: RefCell::default(), has_changed: Cell::new(false) }
    }

    pub(crate) fn facts(&self) -> Facts {
        self.state.borrow().facts.clone()
    }

    pub(crate) fn now(&self) -> SystemTime {
        self.state.borrow().now
    }

    pub(crate) fn progress(&self, done: u64, total: Option<u64>, message: &str) {
        self.state.borrow_mut().progress.push(Progress { done, total, message: message.to_owned() });
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        match &mut self.state.borrow_mut().patience {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }

    pub(crate) fn permits(&self, resource: &str, row: &str) -> bool {
        let Ok(row) = serde_json::from_str(row) else { return false };
        // Cloned out, so that the policy may itself look at the host.
        let policy = self.state.borrow().policy.clone();
        let permitted = policy(resource, &row);
        self.state.borrow_mut().decisions.push(Decision { resource: resource.to_owned(), row, permitted });
        permitted
    }

    pub(crate) fn log(&self, level: Level, message: &str) {
        self.state.borrow_mut().logs.push((level, message.to_owned()));
    }

    pub(crate) fn ask(&self, questions: &[Question]) -> Result<Vec<Option<String>>, Failure> {
        let before = self.asked.borrow().clone();
        answers::check(&mut self.asked.borrow_mut(), questions);
        let mut state = self.state.borrow_mut();
        state.asked.extend_from_slice(questions);
        // To ask is to be run again, and what was changed would be changed twice. What was answered before stays answered.
        if self.has_changed.get() {
            let known = |question: &Question| before.contains(question).then(|| state.answers.ready(question)).flatten();
            return Ok(questions.iter().map(known).collect());
        }
        state.answers.to(questions)
    }

    pub(crate) fn send(&self, request: &Request) -> Result<Response, HttpError> {
        let backend = request.backend.clone();
        let answer = self.answer(request);
        if is_unsafe(request) && !matches!(answer, Err(HttpError::Refused { .. })) {
            self.has_changed.set(true);
        }
        let response = answer.map_err(|error| of(error, &backend))?.answered_by(&backend);
        if response.bytes().len() > request.max_body_bytes {
            return Err(HttpError::TooLarge { backend, limit_bytes: request.max_body_bytes });
        }
        Ok(response)
    }

    fn answer(&self, request: &Request) -> Result<Response, HttpError> {
        let player = {
            let mut state = self.state.borrow_mut();
            state.requests.push(request.clone());
            if is_unsafe(request) && state.gated && !state.decisions.iter().any(|decision| decision.permitted) {
                return Err(HttpError::Refused { backend: request.backend.clone() });
            }
            if let Some(answer) = state.script.next(request) {
                return answer;
            }
            state.backends.get(&request.backend).cloned()
        };
        // Not while the state is borrowed: who plays a backend may look at the host.
        if let Some(player) = player {
            return player(request);
        }
        let state = self.state.borrow();
        if !state.script.knows(&request.backend) {
            return Err(HttpError::Refused { backend: request.backend.clone() });
        }
        let (asked, left) = (in_words(&request.backend, request.method, &request.path), state.script.left().join(", "));
        let left = if left.is_empty() { "none is left".to_owned() } else { format!("there is one for {left}") };
        drop(state);
        panic!("the tool asked for {asked}, to which no answer is ready; {left}");
    }
}

/// Whether it may change something.
fn is_unsafe(request: &Request) -> bool {
    !matches!(request.method, Method::Get | Method::Head)
}

/// The error of the backend that gave it, whatever its maker called it.
fn of(error: HttpError, name: &str) -> HttpError {
    let backend = name.to_owned();
    match error {
        HttpError::Unavailable { reason, .. } => HttpError::Unavailable { backend, reason },
        HttpError::Timeout { reason, .. } => HttpError::Timeout { backend, reason },
        other => other,
    }
}
