//! A stand-in for the host, so that tools run in native unit tests.
//!
//! ```
//! use serde_json::json;
//! use tidegate_plugin_sdk::testing::{Host, reply};
//!
//! let host = Host::new()
//!     .subject("u1")
//!     .permits(|resource, row| resource == "invoices" && row["user_id"] == "u1")
//!     .backend("billing", |request| Ok(reply(200, &json!({ "path": request.path }))));
//!
//! let context = host.context();
//! assert!(context.permits("invoices", &json!({ "user_id": "u1" })));
//! let response = context.backend("billing").get(&["invoices"]).send().unwrap();
//! assert_eq!(response.json::<serde_json::Value>().unwrap(), json!({ "path": "/invoices" }));
//! assert_eq!(host.requests().len(), 1);
//! ```

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use serde::Serialize;
use serde_json::Value;

use crate::context::Facts;
use crate::http::{HttpError, Request, Response};
use crate::{Context, Level};

/// A host for tests: it answers as it was told to, and remembers what it was asked.
///
/// Untold, it is as strict as the real one: the caller is `u1`, no row is permitted, and no backend exists.
#[derive(Clone)]
pub struct Host {
    state: Rc<RefCell<State>>,
}

/// A report of progress that a tool made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How much is done.
    pub done: u64,
    /// Of how much.
    pub total: Option<u64>,
    /// The text for people.
    pub message: String,
}

/// Plays the policies: resource and row in, permitted or not out.
type Policy = Rc<dyn Fn(&str, &Value) -> bool>;

/// Plays a backend.
type Answer = Rc<dyn Fn(&Request) -> Result<Response, HttpError>>;

struct State {
    facts: Facts,
    cancelled: bool,
    policy: Policy,
    backends: HashMap<String, Answer>,
    progress: Vec<Progress>,
    logs: Vec<(Level, String)>,
    requests: Vec<Request>,
}

/// A response with a JSON body.
///
/// # Panics
///
/// If `body` has no JSON form.
pub fn reply(status: u16, body: &impl Serialize) -> Response {
    let headers = vec![("content-type".to_owned(), b"application/json".to_vec())];
    Response::new("test", status, headers, serde_json::to_vec(body).expect("the body has a JSON form"))
}

impl Host {
    /// A host that permits nothing and knows no backend.
    pub fn new() -> Host {
        Host {
            state: Rc::new(RefCell::new(State {
                facts: Facts {
                    subject: "u1".to_owned(),
                    trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
                    attempt: 1,
                    idempotency_key: None,
                    row_filter: None,
                },
                cancelled: false,
                policy: Rc::new(|_, _| false),
                backends: HashMap::new(),
                progress: Vec::new(),
                logs: Vec::new(),
                requests: Vec::new(),
            })),
        }
    }

    /// Calls run on behalf of this principal.
    pub fn subject(self, subject: &str) -> Host {
        self.state.borrow_mut().facts.subject = subject.to_owned();
        self
    }

    /// Calls are this run of their call.
    pub fn attempt(self, attempt: u32) -> Host {
        self.state.borrow_mut().facts.attempt = attempt;
        self
    }

    /// Calls carry this idempotency key.
    pub fn idempotency_key(self, key: &str) -> Host {
        self.state.borrow_mut().facts.idempotency_key = Some(key.to_owned());
        self
    }

    /// Calls get this hint which rows the caller may see.
    pub fn row_filter(self, filter: &Value) -> Host {
        self.state.borrow_mut().facts.row_filter = Some(filter.to_string());
        self
    }

    /// Rows are decided by this function.
    pub fn permits(self, policy: impl Fn(&str, &Value) -> bool + 'static) -> Host {
        self.state.borrow_mut().policy = Rc::new(policy);
        self
    }

    /// The backend of this name is played by this function; [`reply`] makes responses.
    pub fn backend(self, name: &str, answer: impl Fn(&Request) -> Result<Response, HttpError> + 'static) -> Host {
        self.state.borrow_mut().backends.insert(name.to_owned(), Rc::new(answer));
        self
    }

    /// The caller gives up, from now on.
    pub fn cancel(&self) {
        self.state.borrow_mut().cancelled = true;
    }

    /// The context of a new call.
    pub fn context(&self) -> Context {
        Context::new(Link { state: self.state.clone() })
    }

    /// The progress reported so far, over all calls.
    pub fn progress(&self) -> Vec<Progress> {
        self.state.borrow().progress.clone()
    }

    /// The lines logged so far, over all calls.
    pub fn logs(&self) -> Vec<(Level, String)> {
        self.state.borrow().logs.clone()
    }

    /// The requests sent so far, over all calls, refused ones included.
    pub fn requests(&self) -> Vec<Request> {
        self.state.borrow().requests.clone()
    }
}

impl Default for Host {
    fn default() -> Host {
        Host::new()
    }
}

/// The native end of a [`Context`].
pub(crate) struct Link {
    state: Rc<RefCell<State>>,
}

impl Link {
    pub(crate) fn facts(&self) -> Facts {
        self.state.borrow().facts.clone()
    }

    pub(crate) fn progress(&self, done: u64, total: Option<u64>, message: &str) {
        self.state.borrow_mut().progress.push(Progress { done, total, message: message.to_owned() });
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.state.borrow().cancelled
    }

    pub(crate) fn permits(&self, resource: &str, row: &str) -> bool {
        // Cloned out, so that the policy may itself look at the host.
        let policy = self.state.borrow().policy.clone();
        serde_json::from_str(row).is_ok_and(|row| policy(resource, &row))
    }

    pub(crate) fn log(&self, level: Level, message: &str) {
        self.state.borrow_mut().logs.push((level, message.to_owned()));
    }

    pub(crate) fn send(&self, request: &Request) -> Result<Response, HttpError> {
        let answer = {
            let mut state = self.state.borrow_mut();
            state.requests.push(request.clone());
            state.backends.get(&request.backend).cloned()
        };
        let backend = request.backend.clone();
        let Some(answer) = answer else { return Err(HttpError::Refused { backend }) };
        let response = answer(request)?.answered_by(&request.backend);
        if response.bytes().len() > request.max_body_bytes {
            return Err(HttpError::TooLarge { backend, limit_bytes: request.max_body_bytes });
        }
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_host_tells_a_call_what_it_was_told() {
        let host = Host::new().subject("u7").attempt(2).idempotency_key("k").row_filter(&json!({ "eq": ["user_id", "u7"] }));
        let context = host.context();
        assert_eq!((context.subject(), context.attempt(), context.idempotency_key()), ("u7", 2, Some("k")));
        assert_eq!(context.row_filter().and_then(|filter| filter.only("user_id").cloned()), Some(json!("u7")));
        assert_eq!(context.trace_id().len(), 32);
    }

    #[test]
    fn an_untold_host_permits_nothing() {
        let context = Host::new().context();
        assert!(!context.permits("invoices", &json!({ "user_id": "u1" })));
        assert!(!context.is_cancelled());
        assert_eq!(context.idempotency_key(), None);
    }

    #[test]
    fn the_host_remembers_what_a_call_reported() {
        let host = Host::new();
        let context = host.context();
        context.progress(1, Some(2), "half");
        context.log(Level::Warning, "careful");
        host.cancel();
        assert!(context.is_cancelled());
        assert_eq!(host.progress(), [Progress { done: 1, total: Some(2), message: "half".to_owned() }]);
        assert_eq!(host.logs(), [(Level::Warning, "careful".to_owned())]);
    }
}
