//! A certified OpenID provider (npm `oidc-provider`), as a process of the test's own on loopback.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::foreign;

/// A running provider.
pub struct Provider {
    child: Child,
    /// Open as long as it lives: writing to a pipe that nobody holds would end it.
    _stdout: BufReader<ChildStdout>,
    /// Its issuer.
    pub url: String,
    flags: Vec<String>,
    /// Where its keys are, so that it comes back with the same ones.
    folder: tempfile::TempDir,
}

impl Provider {
    /// A provider that grants these scopes, with further flags of `provider.mjs`.
    pub fn start(scopes: &[&str], flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut all = vec!["--scopes".to_owned(), scopes.join(" ")];
        all.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let (child, _stdout, url) = launch(&folder.path().join("keys.json"), 0, &all);
        Self { child, _stdout, url, flags: all, folder }
    }

    /// Ends it as a crash does.
    pub fn stop(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Starts it again at the same address with the same keys.
    pub fn restart(&mut self) {
        let port = self.url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("the URL has a port");
        (self.child, self._stdout, _) = launch(&self.keys(), port, &self.flags);
    }

    /// Ends it and starts it again with other keys.
    pub fn rotate(&mut self) {
        self.stop();
        std::fs::remove_file(self.keys()).expect("it had keys");
        self.restart();
    }

    /// A token for `resource` that a user got by logging in: authorization code, PKCE, the scopes asked for.
    pub fn user_token(&self, subject: &str, scopes: &[&str], resource: &str) -> String {
        self.log_in(&[("subject", subject), ("scope", &scopes.join(" ")), ("resource", resource)])
    }

    /// The same with one scope and these authorization details (RFC 9396).
    pub fn detailed_token(&self, subject: &str, scope: &str, resource: &str, details: &Value) -> String {
        let details = details.to_string();
        self.log_in(&[("subject", subject), ("scope", scope), ("resource", resource), ("details", &details)])
    }

    fn log_in(&self, query: &[(&str, &str)]) -> String {
        let request = agent().get(format!("{}/login", self.url)).query_pairs(query.iter().copied());
        let mut response = request.call().expect("the provider answers");
        token(&response.body_mut().read_to_string().expect("text"))
    }

    /// A token for `resource` that a program got for itself: client credentials.
    pub fn robot_token(&self, scopes: &[&str], resource: &str) -> String {
        let scopes = scopes.join(" ");
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", "robot"),
            ("client_secret", "robot-secret"),
            ("scope", &scopes),
            ("resource", resource),
        ];
        let mut response = agent().post(format!("{}/token", self.url)).send_form(form).expect("the provider answers");
        token(&response.body_mut().read_to_string().expect("text"))
    }

    fn keys(&self) -> PathBuf {
        self.folder.path().join("keys.json")
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(30))).http_status_as_error(false);
    config.build().into()
}

fn token(answer: &str) -> String {
    let answer: Value = serde_json::from_str(answer).unwrap_or_else(|_| panic!("the provider said {answer}"));
    answer["access_token"].as_str().unwrap_or_else(|| panic!("the provider said {answer}")).to_owned()
}

fn launch(keys: &std::path::Path, port: u16, flags: &[String]) -> (Child, BufReader<ChildStdout>, String) {
    let mut child = Command::new(&foreign().node)
        .arg(foreign().scripts.join("provider.mjs"))
        .args(["--port", &port.to_string(), "--keys"])
        .arg(keys)
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node starts");
    let mut url = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    stdout.read_line(&mut url).expect("the provider says where it is");
    assert!(url.starts_with("http://"), "the provider did not start; it said `{url}`, and more on stderr");
    (child, stdout, url.trim_end().to_owned())
}
