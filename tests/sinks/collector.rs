//! A collector of OpenTelemetry logs that remembers what it was sent.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// A port that nobody listens on, for now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

/// A running collector; it ends with the process.
pub struct Collector {
    /// Where it listens.
    pub url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Statuses of the next answers, and what they ask to wait.
    answers: VecDeque<(u16, String)>,
    /// What was accepted.
    accepted: Vec<String>,
}

impl Collector {
    /// Listens on `port`; 0 picks one.
    pub fn start(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // A host that is killed breaks off in the middle.
                let _ = shared.lock().expect("whole").serve(stream);
            }
        });
        Self { url, state }
    }

    /// Answers the next requests with these statuses and `Retry-After`s instead of taking them.
    pub fn answer_next(&self, answers: &[(u16, &str)]) {
        let answers = answers.iter().map(|(status, after)| (*status, (*after).to_owned()));
        self.state.lock().expect("whole").answers.extend(answers);
    }

    /// The requests that were accepted, each on one line.
    pub fn bodies(&self) -> Vec<String> {
        self.state.lock().expect("whole").accepted.clone()
    }

    /// The sequences of the records that were accepted, in order.
    pub fn sequences(&self) -> Vec<u64> {
        let bodies = self.bodies();
        let records = bodies.iter().flat_map(|body| {
            let body: Value = serde_json::from_str(body).expect("JSON");
            body["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().expect("records").clone()
        });
        let line = |record: Value| serde_json::from_str::<Value>(record["body"]["stringValue"].as_str().expect("a text"));
        records.map(|record| line(record).expect("a line of an export")["seq"].as_u64().expect("a sequence")).collect()
    }
}

impl State {
    fn serve(&mut self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("post /v1/logs ") && head.contains("content-type: application/json"), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).expect("a length");
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let (status, after) = self.answers.pop_front().unwrap_or((200, String::new()));
        if status == 200 {
            self.accepted.push(String::from_utf8(body).expect("text"));
        }
        let retry = if after.is_empty() { String::new() } else { format!("retry-after: {after}\r\n") };
        let answer = format!("HTTP/1.1 {status} So\r\n{retry}content-length: 2\r\nconnection: close\r\n\r\n{{}}");
        reader.into_inner().write_all(answer.as_bytes())
    }
}
