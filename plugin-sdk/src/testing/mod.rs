//! A stand-in for the host, so that tools run in native unit tests.
//!
//! Untold, it is as strict as the real one. A backend is played by a function, or by answers that are fetched one by one:
//!
//! ```
//! use serde_json::json;
//! use tidegate_plugin_sdk::http::Method;
//! use tidegate_plugin_sdk::testing::{Host, reply};
//!
//! let host = Host::new()
//!     .subject("u1")
//!     .permits(|resource, row| resource == "invoices" && row["user_id"] == "u1")
//!     .backend("billing", |request| Ok(reply(200, &json!({ "path": request.path }))))
//!     .answer("mail", Method::Post, "/send", reply(202, &json!({})));
//!
//! let context = host.context();
//! assert!(context.permits("invoices", &json!({ "user_id": "u1" })));
//! let response = context.backend("billing").get(&["invoices"]).send().unwrap();
//! assert_eq!(response.json::<serde_json::Value>().unwrap(), json!({ "path": "/invoices" }));
//! assert_eq!(context.backend("mail").post(&["send"]).send().unwrap().status(), 202);
//! host.assert_all_asked();
//! assert_eq!(host.requests().len(), 2);
//! ```
//!
//! A tool that works in steps sees its caller give up between two of them, and the clock stands still until it is moved:
//!
//! ```
//! use std::time::Duration;
//! use tidegate_plugin_sdk::testing::{Host, noon};
//!
//! let host = Host::new().cancelled_after(2).at(noon());
//! let context = host.context();
//! assert_eq!([context.is_cancelled(), context.is_cancelled(), context.is_cancelled()], [false, false, true]);
//! host.pass(Duration::from_secs(60));
//! assert_eq!(context.now(), noon() + Duration::from_secs(60));
//! ```
//!
//! Whoever called answers questions by their keys. At the real host a run that asks what has no answer yet ends inside
//! [`Context::ask`] and is begun again once it has one; here it ends with a failure of code [`INPUT_REQUIRED`], and a test begins the
//! next run itself:
//!
//! ```
//! use serde_json::json;
//! use tidegate_plugin_sdk::testing::{Host, INPUT_REQUIRED, accepted};
//!
//! let host = Host::new();
//! let waits = host.context().confirm("sure", "Delete all of it?").unwrap_err();
//! assert_eq!((waits.code.as_str(), host.asked()[0].key()), (INPUT_REQUIRED, "sure"));
//! let host = host.answers("sure", accepted(json!({ "confirm": true })));
//! assert_eq!(host.context().confirm("sure", "Delete all of it?"), Ok(true));
//! ```

mod answers;
mod link;
mod script;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::{Value, json};

use crate::context::Facts;
use crate::http::{HttpError, Method, Request, Response};
use crate::{Context, Failure, Level, Plugin, Question};

use answers::Answers;
pub(crate) use link::Link;
use script::Script;

/// When it is, unless a test says otherwise: noon of the first day of 2026, UTC.
pub fn noon() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_767_268_800)
}

/// The code of the failure with which a run ends in a test that asks what has no answer. At the real host it ends inside
/// [`Context::ask`], which never returns, and no failure is seen.
pub const INPUT_REQUIRED: &str = "input_required";

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

/// A row that a tool asked about.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The `[[resource]]` of the manifest.
    pub resource: String,
    /// The row.
    pub row: Value,
    /// Whether the policies let the caller act on it.
    pub permitted: bool,
}

/// Plays the policies: resource and row in, permitted or not out.
type Policy = Rc<dyn Fn(&str, &Value) -> bool>;

/// Plays a backend.
type Answer = Rc<dyn Fn(&Request) -> Result<Response, HttpError>>;

struct State {
    facts: Facts,
    now: SystemTime,
    /// How many more times the caller is still there when a tool asks; none: for good.
    patience: Option<u32>,
    policy: Policy,
    /// Whether an unsafe request needs a permitted row first.
    gated: bool,
    backends: HashMap<String, Answer>,
    script: Script,
    progress: Vec<Progress>,
    logs: Vec<(Level, String)>,
    requests: Vec<Request>,
    decisions: Vec<Decision>,
    answers: Answers,
    asked: Vec<Question>,
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

/// The answer to a form that a person filled in so, for [`Host::answers`].
///
/// # Panics
///
/// If `content` has no JSON form.
pub fn accepted(content: impl Serialize) -> Value {
    json!({ "action": "accept", "content": serde_json::to_value(content).expect("the content has a JSON form") })
}

/// No response: the backend can't be reached.
pub fn unreachable() -> HttpError {
    HttpError::Unavailable { backend: String::new(), reason: "connection refused".to_owned() }
}

/// No response: the backend takes too long, and what it did is not known.
pub fn too_slow() -> HttpError {
    HttpError::Timeout { backend: String::new(), reason: "waiting for the first byte".to_owned() }
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
                now: noon(),
                patience: None,
                policy: Rc::new(|_, _| false),
                gated: false,
                backends: HashMap::new(),
                script: Script::default(),
                progress: Vec::new(),
                logs: Vec::new(),
                requests: Vec::new(),
                decisions: Vec::new(),
                answers: Answers::default(),
                asked: Vec::new(),
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

    /// It is this time, until [`Host::pass`] moves the clock.
    pub fn at(self, now: SystemTime) -> Host {
        self.state.borrow_mut().now = now;
        self
    }

    /// Rows are decided by this function.
    pub fn permits(self, policy: impl Fn(&str, &Value) -> bool + 'static) -> Host {
        self.state.borrow_mut().policy = Rc::new(policy);
        self
    }

    /// Requests that change something (any but GET and HEAD) are refused until a row was permitted in the host's hearing, as is
    /// the case for a write tool whose scopes have conditions.
    pub fn gated(self) -> Host {
        self.state.borrow_mut().gated = true;
        self
    }

    /// The caller gives up when a tool has asked this many times whether it has.
    pub fn cancelled_after(self, questions: u32) -> Host {
        self.state.borrow_mut().patience = Some(questions);
        self
    }

    /// The backend of this name is played by this function; [`reply`] makes responses.
    pub fn backend(self, name: &str, answer: impl Fn(&Request) -> Result<Response, HttpError> + 'static) -> Host {
        self.state.borrow_mut().backends.insert(name.to_owned(), Rc::new(answer));
        self
    }

    /// The backend of this name answers one request of this method to this path (with its query) so: a [`Response`], or an
    /// [`HttpError`] such as [`unreachable()`]. Said again, it answers the next one.
    ///
    /// A request to such a backend that nobody foresaw fails the test, unless [`Host::backend`] plays it too.
    pub fn answer(self, backend: &str, method: Method, path: &str, answer: impl Into<Scripted>) -> Host {
        self.state.borrow_mut().script.add(backend, method, path, answer.into().0);
        self
    }

    /// The question of this key is answered so, whenever it is asked: with the result of its MCP request, such as [`accepted()`] or
    /// `json!({ "action": "decline" })`. Whether the question is the same word for word, only the real host looks.
    pub fn answers(self, key: &str, answer: Value) -> Host {
        self.state.borrow_mut().answers.add(key, answer);
        self
    }

    /// Questions of this kind can't be asked: `elicitation`, `elicitation/url`, `sampling` or `roots`, the words of a manifest's
    /// `asks`. Nor can any, untold, once a call has sent a request that changes something.
    ///
    /// # Panics
    ///
    /// If there is no such kind.
    pub fn cannot_ask(self, kind: &str) -> Host {
        self.state.borrow_mut().answers.refuse(kind);
        self
    }

    /// The caller gives up, from now on.
    pub fn cancel(&self) {
        self.state.borrow_mut().patience = Some(0);
    }

    /// Time passes.
    pub fn pass(&self, time: Duration) {
        self.state.borrow_mut().now += time;
    }

    /// The context of a new call.
    pub fn context(&self) -> Context {
        Context::new(Link::new(self.state.clone()))
    }

    /// Calls a tool of the plugin as the real host does, and answers with its structured answer, or with its content blocks if it
    /// has none.
    ///
    /// # Errors
    ///
    /// The tool's failure, in which nothing is added or left out.
    ///
    /// # Panics
    ///
    /// If the arguments have no JSON form, or the plugin answers with something that is no JSON.
    pub fn call(&self, plugin: &Plugin, tool: &str, arguments: impl Serialize) -> Result<Value, Failure> {
        let arguments = serde_json::to_string(&arguments).expect("the arguments have a JSON form");
        let output = plugin.call(tool, &arguments, &self.context())?;
        let answer = output.structured.as_ref().unwrap_or(&output.content);
        Ok(serde_json::from_str(answer).expect("the plugin answers with JSON"))
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

    /// The rows asked about so far, over all calls.
    pub fn decisions(&self) -> Vec<Decision> {
        self.state.borrow().decisions.clone()
    }

    /// The questions asked so far, over all calls, those that can't be asked included.
    pub fn asked(&self) -> Vec<Question> {
        self.state.borrow().asked.clone()
    }

    /// Every answer that was put ready has been fetched.
    ///
    /// # Panics
    ///
    /// If one has not; it says which.
    pub fn assert_all_asked(&self) {
        let left = self.state.borrow().script.left();
        assert!(left.is_empty(), "nobody asked for {}", left.join(", "));
    }
}

impl Default for Host {
    fn default() -> Host {
        Host::new()
    }
}

/// What a backend answers to one request; made of a [`Response`] or an [`HttpError`] by itself.
#[derive(Clone, Debug)]
pub struct Scripted(Result<Response, HttpError>);

impl From<Response> for Scripted {
    fn from(response: Response) -> Scripted {
        Scripted(Ok(response))
    }
}

impl From<HttpError> for Scripted {
    fn from(error: HttpError) -> Scripted {
        Scripted(Err(error))
    }
}

#[cfg(test)]
mod tests;
