//! The calls of this process that wait for answers: how many may, what each asks, and where answers go.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};

use super::Answered;
use crate::admission::AskLimits;
use crate::model::{CallId, Principal, Question};

/// One principal may have this part of the calls that wait for answers.
const SHARE: usize = 10;

/// The calls of this process that wait for answers.
pub struct Asking(Mutex<HashMap<CallId, Asked>>);

struct Asked {
    /// That of the place: a call that was let go may have been taken up again, under the same id.
    token: Arc<()>,
    principal: Arc<Principal>,
    /// What it takes up, with all that may be answered.
    bytes: usize,
    open: Arc<Vec<Question>>,
    /// None until what it asks is durable.
    answers: Option<mpsc::Sender<Offer>>,
}

/// A place among the calls that wait for answers, given up on drop.
pub struct Place {
    asking: Arc<Asking>,
    call: CallId,
    token: Arc<()>,
}

/// Answers on their way to a call.
pub struct Offer {
    /// Who answers: the call goes on in the name, and with the rights, that its caller has now.
    pub principal: Arc<Principal>,
    /// By the keys of the questions.
    pub responses: Map<String, Value>,
    /// Who waits to hear what came of them.
    pub taken: oneshot::Sender<Answered>,
}

impl Asking {
    /// None.
    pub fn new() -> Self {
        metrics::gauge!("tidegate_calls_asking").set(0.0);
        Self(Mutex::default())
    }

    /// What the caller of a call has to be asked; nothing if the call does not wait for answers.
    pub fn questions(&self, call: &CallId) -> Option<Arc<Vec<Question>>> {
        self.lock().get(call).filter(|asked| asked.answers.is_some()).map(|asked| asked.open.clone())
    }

    /// A place for one more call that takes up so much. `None` if there is none, or none for this principal, who may have a part of
    /// the limits.
    pub fn enter(self: &Arc<Self>, call: CallId, principal: &Arc<Principal>, bytes: usize, most: AskLimits) -> Option<Place> {
        let mut asking = self.lock();
        let is_theirs =
            |asked: &&Asked| asked.principal.issuer == principal.issuer && asked.principal.subject == principal.subject;
        let count = |(calls, taken): (usize, usize), asked: &Asked| (calls + 1, taken.saturating_add(asked.bytes));
        let (calls, taken) = asking.values().fold((1, bytes), count);
        let (own_calls, own) = asking.values().filter(is_theirs).fold((1, bytes), count);
        let is_too_much = calls > most.calls || taken > most.bytes;
        if is_too_much || own_calls > most.calls.div_ceil(SHARE) || own > most.bytes.div_ceil(SHARE) {
            return None;
        }
        let token = Arc::new(());
        asking.insert(
            call,
            Asked { token: token.clone(), principal: principal.clone(), bytes, open: Arc::default(), answers: None },
        );
        metrics::gauge!("tidegate_calls_asking").set(asking.len() as f64);
        Some(Place { asking: self.clone(), call, token })
    }

    /// Where answers to a call go, if it waits for any.
    pub fn sender(&self, call: &CallId) -> Option<mpsc::Sender<Offer>> {
        self.lock().get(call)?.answers.clone()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CallId, Asked>> {
        // Each change is one insert, one remove or one assignment: a panic elsewhere cannot leave it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// What the call asks now, and where answers go.
    pub fn asks(&self, open: Arc<Vec<Question>>, answers: &mpsc::Sender<Offer>) {
        if let Some(asked) = self.asking.lock().get_mut(&self.call) {
            (asked.open, asked.answers) = (open, Some(answers.clone()));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut asking = self.asking.lock();
        if asking.get(&self.call).is_some_and(|asked| Arc::ptr_eq(&asked.token, &self.token)) {
            asking.remove(&self.call);
        }
        metrics::gauge!("tidegate_calls_asking").set(asking.len() as f64);
    }
}
