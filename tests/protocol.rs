//! What the MCP specification demands on the wire, beyond what the official suite checks.

mod eras;
mod messages;
mod streams;
mod tasks;
mod transport;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::Started;

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to a host, bytes in and bytes out.
struct Raw {
    stream: TcpStream,
    host: String,
    received: Vec<u8>,
}

/// A response as it came.
#[derive(Debug)]
struct Response {
    status: u16,
    head: String,
    body: String,
}

impl Raw {
    fn connect(url: &str) -> Self {
        let host = url.trim_start_matches("http://").split('/').next().expect("a host").to_owned();
        let stream = TcpStream::connect(&host).expect("the host listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
        Self { stream, host, received: Vec::new() }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the host takes it");
    }

    /// Sends one POST that closes the connection after its answer; the headers a good client sends stand in for missing ones.
    fn post(&mut self, headers: &[(&str, &str)], body: &[u8]) {
        let length = body.len().to_string();
        let usual = [
            ("host", self.host.as_str()),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("content-length", &length),
            ("connection", "close"),
        ];
        let missing = usual.iter().filter(|(name, _)| headers.iter().all(|(given, _)| given != name));
        let fields: String = missing.chain(headers).map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("POST /mcp HTTP/1.1\r\n{fields}\r\n");
        self.send(&[head.as_bytes(), body].concat());
    }

    /// Reads until the host closes the connection.
    fn response(mut self) -> Response {
        let _ = self.stream.read_to_end(&mut self.received);
        let text = String::from_utf8(self.received).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP response: `{text}`"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status: {head}"));
        Response { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    /// Reads on until a whole event has arrived that `is_wanted`; events before it are dropped.
    fn event(&mut self, is_wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let text = String::from_utf8_lossy(&self.received).into_owned();
            if let Some((event, rest)) = text.split_once("\n\n") {
                self.received = rest.as_bytes().to_vec();
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                if let Some(event) = data.and_then(|data| serde_json::from_str(data).ok()).filter(&is_wanted) {
                    return event;
                }
                continue;
            }
            let mut buffer = [0; 4096];
            let count = self.stream.read(&mut buffer).expect("an event in time");
            assert!(count > 0, "the stream ended without the event");
            self.received.extend_from_slice(&buffer[..count]);
        }
    }
}

impl Response {
    fn json(&self) -> Value {
        // Between the lengths of its chunks, if it came in chunks.
        let text = self.body.lines().find(|line| line.starts_with('{')).unwrap_or_default();
        serde_json::from_str(text).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    fn error_code(&self) -> i64 {
        self.json()["error"]["code"].as_i64().unwrap_or_else(|| panic!("no error: {self:?}"))
    }

    /// The events of a stream that has ended, chunk lengths between them notwithstanding.
    fn events(&self) -> Vec<Value> {
        let data = self.body.lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(|data| serde_json::from_str(data).unwrap_or_else(|_| panic!("not JSON: {data}"))).collect()
    }
}

/// Posts `body` with further headers and returns what came back.
fn exchange(host: &Started, headers: &[(&str, &str)], body: &str) -> Response {
    let mut raw = Raw::connect(&host.mcp);
    raw.post(headers, body.as_bytes());
    raw.response()
}

/// A request of the modern protocol.
fn modern(id: u32, method: &str, mut params: Value) -> String {
    let meta = params.as_object_mut().expect("an object").entry("_meta").or_insert_with(|| json!({}));
    meta["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
}

/// A request of the handshake protocols.
fn legacy(id: u32, method: &str, params: Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
}
