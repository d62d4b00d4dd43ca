//! Answers that backends have ready, each for one request.

use std::collections::VecDeque;

use crate::http::{HttpError, Method, Request, Response};

/// The answers that wait to be fetched.
#[derive(Default)]
pub(super) struct Script {
    ready: Vec<Ready>,
}

/// The answers to one kind of request, in the order they are given.
struct Ready {
    backend: String,
    method: Method,
    path: String,
    answers: VecDeque<Result<Response, HttpError>>,
}

impl Script {
    pub(super) fn add(&mut self, backend: &str, method: Method, path: &str, answer: Result<Response, HttpError>) {
        let is_same = |ready: &&mut Ready| (ready.backend.as_str(), ready.method, ready.path.as_str()) == (backend, method, path);
        match self.ready.iter_mut().find(is_same) {
            Some(ready) => ready.answers.push_back(answer),
            None => {
                self.ready.push(Ready { backend: backend.to_owned(), method, path: path.to_owned(), answers: [answer].into() });
            }
        }
    }

    /// Whether anything was ever put ready for this backend.
    pub(super) fn knows(&self, backend: &str) -> bool {
        self.ready.iter().any(|ready| ready.backend == backend)
    }

    /// The next answer to such a request.
    pub(super) fn next(&mut self, request: &Request) -> Option<Result<Response, HttpError>> {
        let is_meant = |ready: &&mut Ready| {
            (ready.backend.as_str(), ready.method, ready.path.as_str())
                == (request.backend.as_str(), request.method, request.path.as_str())
        };
        self.ready.iter_mut().find(is_meant)?.answers.pop_front()
    }

    /// The requests whose answers nobody has fetched, each as often as that is so.
    pub(super) fn left(&self) -> Vec<String> {
        let left = self.ready.iter().flat_map(|ready| {
            let request = in_words(&ready.backend, ready.method, &ready.path);
            ready.answers.iter().map(move |_| request.clone())
        });
        left.collect()
    }
}

/// A request, as a test is told of it.
pub(super) fn in_words(backend: &str, method: Method, path: &str) -> String {
    format!("`{} {path}` of `{backend}`", method.as_str())
}
