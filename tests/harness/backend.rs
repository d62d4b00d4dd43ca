//! The demo backend, as a process of the test's own.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use super::workspace;

/// A running billing backend with its own database.
pub struct Billing {
    child: Child,
    /// Where it listens.
    pub url: String,
    folder: tempfile::TempDir,
}

impl Billing {
    /// Starts it with further flags, such as `--latency 50ms`.
    pub fn start(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (child, url) = launch(&folder.path().join("billing.db"), 0, flags);
        Self { child, url, folder }
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Sends it a signal, such as `-STOP`: it does nothing any more, until `-CONT`.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Starts it again at the same address with the same data.
    pub fn restart(&mut self) {
        let port = self.url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("the URL has a port");
        (self.child, _) = launch(&self.folder.path().join("billing.db"), port, &[]);
    }

    /// Has it fail in this way, as its `--fault` names them, until it is told otherwise; `""` for no more.
    pub fn fails(&self, fault: &str) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut answer = agent.put(format!("{}/fault", self.url)).send(fault).expect("it answers");
        assert_eq!(answer.status(), 200, "{:?}", answer.body_mut().read_to_string());
    }

    /// The effects it performed on one invoice.
    pub fn effects_on(&self, invoice: &str) -> Vec<Value> {
        self.payments().into_iter().filter(|effect| effect["invoice_id"] == invoice).collect()
    }

    /// Every payment it performed, oldest first.
    pub fn payments(&self) -> Vec<Value> {
        self.get("/effects").as_array().expect("an array").clone()
    }

    /// The invoices in its book from number `first` on, in the order they were created.
    pub fn invoices_from(&self, first: usize) -> Vec<Value> {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let invoice = |number| {
            let mut response = agent.get(format!("{}/invoices/inv_{number:04}", self.url)).call().expect("it answers");
            let text = response.body_mut().read_to_string().expect("text");
            (response.status() == 200).then(|| serde_json::from_str(&text).expect("JSON"))
        };
        (first..).map_while(invoice).collect()
    }

    fn get(&self, path: &str) -> Value {
        let text =
            ureq::get(format!("{}{path}", self.url)).call().expect("it answers").body_mut().read_to_string().expect("text");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Open invoices of a user, by id.
    pub fn open_invoices(&self, user: &str) -> Vec<String> {
        let body = self.get(&format!("/invoices?user_id={user}&status=open"));
        let invoices = body["invoices"].as_array().or(body.as_array()).expect("invoices").clone();
        invoices.iter().map(|invoice| invoice["id"].as_str().expect("an id").to_owned()).collect()
    }

    /// An open invoice of a user.
    pub fn invoice_of(&self, user: &str) -> String {
        let invoices = self.get("/invoices");
        let invoices = invoices["invoices"].as_array().expect("invoices");
        let is_theirs = |invoice: &&Value| invoice["user_id"] == user && invoice["status"] == "open";
        let found = invoices.iter().find(is_theirs).unwrap_or_else(|| panic!("the seed holds no open invoice of {user}"));
        found["id"].as_str().expect("an id").to_owned()
    }
}

impl Drop for Billing {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(database: &std::path::Path, port: u16, flags: &[&str]) -> (Child, String) {
    let mut child = Command::new(executable())
        .args(["--port", &port.to_string(), "--exit-with-stdin", "--db"])
        .arg(database)
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("billing starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("billing says where it listens");
    let url = line.split_whitespace().find(|word| word.starts_with("http://"));
    (child, url.unwrap_or_else(|| panic!("billing said `{line}`")).to_owned())
}

fn executable() -> &'static PathBuf {
    static EXECUTABLE: OnceLock<PathBuf> = OnceLock::new();
    EXECUTABLE.get_or_init(|| {
        let built = Command::new(env!("CARGO"))
            .current_dir(workspace())
            .args(["build", "--message-format=json", "--manifest-path", "plugins/invoices/billing/Cargo.toml"])
            .stderr(Stdio::inherit())
            .output()
            .expect("cargo runs");
        assert!(built.status.success(), "billing does not build");
        let messages = built.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
        let mut executables = messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
        executables.next().expect("billing is an executable")
    })
}
