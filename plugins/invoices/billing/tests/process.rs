//! Billing as a process: how it starts, what it prints, how it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

struct Process {
    child: Child,
    address: String,
    folder: tempfile::TempDir,
}

impl Process {
    fn start(arguments: &[&str]) -> Process {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut child = Command::new(env!("CARGO_BIN_EXE_billing"))
            .args(["--port", "0", "--db"])
            .arg(folder.path().join("billing.db"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("billing starts");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        stdout.read_line(&mut line).expect("billing prints where it listens");
        let address = line.trim_end().strip_prefix("billing listening on http://").expect("the address").to_owned();
        Process { child, address, folder }
    }

    fn get(&self, path: &str, header: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("billing listens");
        write!(stream, "GET {path} HTTP/1.1\r\nhost: billing\r\nconnection: close\r\n{header}\r\n\r\n").expect("it reads");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("it answers");
        response
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already, which is what most tests wait for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn billing_ends_when_its_standard_input_closes() {
    let mut billing = Process::start(&["--exit-with-stdin"]);
    assert!(billing.get("/healthz", "x: y").starts_with("HTTP/1.1 200"));
    drop(billing.child.stdin.take());
    assert!(billing.child.wait().expect("it ends").success());
}

#[test]
fn a_request_leaves_one_line_with_its_trace() {
    let mut billing = Process::start(&["--exit-with-stdin"]);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    billing.get("/effects", &format!("traceparent: {trace}"));
    let mut line = String::new();
    let mut stderr = BufReader::new(billing.child.stderr.take().expect("it is piped"));
    stderr.read_line(&mut line).expect("a line");
    let line: serde_json::Value = serde_json::from_str(&line).expect("the line is JSON");
    assert_eq!((&line["path"], &line["traceparent"], &line["status"]), (&"/effects".into(), &trace.into(), &200.into()));
}

#[test]
fn billing_says_what_is_wrong_with_its_arguments() {
    let billing = Process::start(&[]);
    let port = billing.address.rsplit(':').next().expect("a port");
    let file = billing.folder.path().join("other.db");
    for (arguments, complaint) in [
        (vec!["--port", port], "is another one running?"),
        (vec!["--failure-rate", "2"], "a share is a number from 0 to 1"),
        (vec!["--latency", "soon"], "--latency"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_billing"))
            .arg("--db")
            .arg(&file)
            .args(&arguments)
            .stdin(Stdio::null())
            .output()
            .expect("billing starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains(complaint), "{arguments:?}: {stderr}");
    }
}
