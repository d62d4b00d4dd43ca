//! Tokens by client credentials, from a server that gives them out, counts them, takes them back and fails.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::server::{Server, respond};
use super::{Fetching, until};

const SECRET: &str = "cl1ent s3cret/?";

/// A server of tokens, and a backend that takes only its newest one.
struct Granting {
    tokens: Server,
    backend: Server,
    state: Arc<State>,
    folder: tempfile::TempDir,
}

struct State {
    granted: AtomicUsize,
    lifetime_seconds: AtomicU64,
    /// What it answers instead of a token.
    failure: Mutex<Option<&'static str>>,
    /// The token the backend takes.
    taken: Mutex<String>,
    /// Whether it takes none.
    takes_none: AtomicBool,
}

impl Granting {
    fn start() -> Self {
        let state = Arc::new(State {
            granted: AtomicUsize::new(0),
            lifetime_seconds: AtomicU64::new(3600),
            failure: Mutex::default(),
            taken: Mutex::default(),
            takes_none: AtomicBool::new(false),
        });
        let (granting, taking) = (Arc::clone(&state), Arc::clone(&state));
        let tokens = Server::plain(move |_, to| {
            let failure = *granting.failure.lock().expect("whole");
            if failure == Some("silence") {
                std::thread::sleep(super::PATIENCE);
            }
            if let Some(error) = failure {
                // A server that repeats what it was sent.
                let body = json!({"error": error, "error_description": format!("not with {SECRET}")}).to_string();
                return respond(to, "401 Unauthorized", &[], &body);
            }
            let number = granting.granted.fetch_add(1, Ordering::Relaxed) + 1;
            let token = format!("t0ken-{number}");
            granting.taken.lock().expect("whole").clone_from(&token);
            let lifetime = granting.lifetime_seconds.load(Ordering::Relaxed);
            let body = json!({"access_token": token, "token_type": "Bearer", "expires_in": lifetime}).to_string();
            respond(to, "200 OK", &[("content-type", "application/json")], &body)
        });
        let backend = Server::plain(move |seen, to| {
            let wanted = format!("Bearer {}", taking.taken.lock().expect("whole"));
            let is_taken = seen.headers.get("authorization") == Some(&wanted) && !taking.takes_none.load(Ordering::Relaxed);
            respond(to, if is_taken { "200 OK" } else { "401 Unauthorized" }, &[], "")
        });
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("secret"), SECRET).expect("it can be written");
        Self { tokens, backend, state, folder }
    }

    fn config(&self, more: &str) -> String {
        format!(
            "[backends.billing]\nurl = \"{}\"\nretry_after = \"7s\"\n[backends.billing.credential]\nkind = \"oauth\"\n\
             token_url = \"{}/token\"\nclient_id = \"tide:gate\"\nfile = \"{}\"\n{more}\n\
             [telemetry]\nlog = \"debug,hyper=trace,hyper_util=trace\"\n",
            self.backend.url,
            self.tokens.url,
            self.folder.path().join("secret").display()
        )
    }

    fn granted(&self) -> usize {
        self.state.granted.load(Ordering::Relaxed)
    }
}

#[test]
fn one_token_serves_all_who_wait_and_all_who_come_later() {
    let granting = Granting::start();
    let fetching = Fetching::start(&["billing"], &[], &granting.config("scope = \"read write\"\naudience = \"billing\""));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(fetching.fetch("http://billing/").structured()["status"], json!(200)));
        }
    });
    assert_eq!(fetching.fetch("http://billing/").structured()["status"], json!(200));
    assert_eq!(granting.granted(), 1);
    let asked = &granting.tokens.seen()[0];
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("POST", "/token"));
    assert_eq!(asked.body, "grant_type=client_credentials&scope=read+write&audience=billing");
    // Both encoded as in a form before they become a pair (RFC 6749 §2.3.1): `tide%3Agate:cl1ent+s3cret%2F%3F`.
    assert_eq!(asked.headers["authorization"], "Basic dGlkZSUzQWdhdGU6Y2wxZW50K3MzY3JldCUyRiUzRg==");
}

#[test]
fn a_token_that_ends_or_is_taken_back_is_replaced_within_the_request() {
    let granting = Granting::start();
    let fetching = Fetching::start(&["billing"], &[], &granting.config("client_auth = \"body\""));
    granting.state.lifetime_seconds.store(1, Ordering::Relaxed);
    assert_eq!(fetching.fetch("http://billing/").structured()["status"], json!(200));
    let asked = granting.tokens.seen()[0].clone();
    assert_eq!(asked.body, "grant_type=client_credentials&client_id=tide%3Agate&client_secret=cl1ent+s3cret%2F%3F");
    assert!(!asked.headers.contains_key("authorization"));
    until("the token has ended and another one is used", || {
        assert_eq!(fetching.fetch("http://billing/").structured()["status"], json!(200));
        granting.granted() > 1
    });

    // From here on they last. One that is no longer taken is replaced once it is old enough to be at fault.
    granting.state.lifetime_seconds.store(3600, Ordering::Relaxed);
    let (before, requests) = (granting.granted(), granting.backend.seen().len());
    let post = json!({"url": "http://billing/", "method": "POST", "body": "{}"});
    until("a token that was taken back is replaced", || {
        if granting.granted() == before {
            "nobody's".clone_into(&mut granting.state.taken.lock().expect("whole"));
        }
        fetching.send(post.clone()).structured()["status"] == json!(200)
    });
    let seen = &granting.backend.seen()[requests..];
    assert!(seen.iter().all(|seen| (seen.method.as_str(), seen.body.as_str()) == ("POST", "{}")), "{seen:?}");
}

#[test]
fn a_backend_that_takes_no_token_at_all_costs_one_more_request_and_at_most_one_more_token() {
    let granting = Granting::start();
    granting.state.takes_none.store(true, Ordering::Relaxed);
    let fetching = Fetching::start(&["billing"], &[], &granting.config(""));
    for calls in 1..=10 {
        assert_eq!(fetching.fetch("http://billing/").structured()["status"], json!(401));
        assert!(granting.backend.seen().len() <= 2 * calls && granting.granted() <= calls + 1);
    }
}

#[test]
fn without_a_token_the_backend_is_unavailable_and_nobody_learns_the_secret() {
    let granting = Granting::start();
    *granting.state.failure.lock().expect("whole") = Some("invalid_client");
    let fetching = Fetching::start(&["billing"], &[], &granting.config(""));
    assert_eq!(fetching.fetch("http://billing/").envelope()["retry_after_seconds"], json!(7));
    for _ in 0..3 {
        let answer = fetching.fetch("http://billing/");
        assert_eq!(answer.error(), "backend_unavailable");
        assert!(!answer.body.to_string().contains("127.0.0.1"), "{answer:?}");
    }
    assert!(granting.backend.seen().is_empty(), "nothing leaves without a token");
    let log = fetching.host.log();
    assert!(log.contains("it answers 401 Unauthorized: invalid_client"), "{log}");
    assert!(!log.contains("cl1ent") && !log.contains("Y2wxZW50"), "{log}");
    // One that comes back is asked again.
    *granting.state.failure.lock().expect("whole") = None;
    until("there is a token", || fetching.fetch("http://billing/").body["result"]["isError"] != json!(true));
}

#[test]
fn a_server_that_gives_no_token_in_time_leaves_it_known_that_nothing_was_sent() {
    let granting = Granting::start();
    *granting.state.failure.lock().expect("whole") = Some("silence");
    let config = granting.config("").replace("retry_after", "timeout = \"2s\"\nretry_after");
    let fetching = Fetching::start(&["billing"], &[], &config);
    let answer = fetching.send(json!({"url": "http://billing/", "method": "POST", "body": "{}"}));
    let envelope = answer.envelope();
    assert_eq!((&envelope["error"], &envelope["effect"]), (&json!("backend_unavailable"), &json!("none")), "{answer:?}");
    assert!(granting.backend.seen().is_empty());
    assert!(fetching.host.log().contains("there is none yet after 1s"), "{}", fetching.host.log());
}
