//! The load generator: so many connections, each with one call in flight, for so long.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use super::server::{Server, cpu_seconds};

/// What every connection asks for, again and again.
#[derive(Clone)]
pub struct Ask {
    method: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: Bytes,
    /// Stands in every good answer. An error would be cheap to produce and must not pass for speed.
    expected: &'static str,
}

impl Ask {
    /// The echo tool.
    pub fn echo() -> Self {
        Self::tool("echo", &json!({"text": "hello"}))
    }

    /// A tool with structured output.
    pub fn tool(name: &'static str, arguments: &Value) -> Self {
        let meta =
            json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
        let params = json!({"name": name, "arguments": arguments, "_meta": meta});
        let headers = vec![
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", name),
        ];
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
        Self { method: "POST", path: "/mcp", headers, body: body.into(), expected: "structuredContent" }
    }

    /// What a plain server answers with `expected` in it.
    pub fn get(path: &'static str, expected: &'static str) -> Self {
        Self { method: "GET", path, headers: Vec::new(), body: Bytes::new(), expected }
    }

    fn request(&self, address: &str) -> hyper::Request<Full<Bytes>> {
        let request = hyper::Request::builder().method(self.method).uri(self.path).header("host", address);
        let request = self.headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(Full::new(self.body.clone())).expect("a request")
    }
}

/// What one turn measured.
pub struct Load {
    latencies_us: Vec<u32>,
    elapsed: Duration,
    server_cpu: f64,
    own_cpu: f64,
}

impl Load {
    /// Drives `server` with `connections` connections for `turn`.
    pub fn run(server: &Server, ask: &Ask, connections: usize, turn: Duration) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        runtime.block_on(async {
            drive(server, ask, connections, turn / 4).await;
            let (server_before, own_before) = (server.cpu_seconds(), cpu_seconds("/proc/self/stat"));
            let started = Instant::now();
            let mut latencies_us = drive(server, ask, connections, turn).await;
            let elapsed = started.elapsed();
            latencies_us.sort_unstable();
            let server_cpu = server.cpu_seconds() - server_before;
            Self { latencies_us, elapsed, server_cpu, own_cpu: cpu_seconds("/proc/self/stat") - own_before }
        })
    }

    /// Calls per second.
    pub fn rate(&self) -> f64 {
        self.latencies_us.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// CPU time of the server per call, in microseconds.
    pub fn server_cpu_us(&self) -> f64 {
        self.server_cpu * 1e6 / self.latencies_us.len() as f64
    }

    /// CPU time of server and generator per call, in microseconds.
    pub fn total_cpu_us(&self) -> f64 {
        (self.server_cpu + self.own_cpu) * 1e6 / self.latencies_us.len() as f64
    }

    /// The mean latency, in microseconds.
    pub fn mean_us(&self) -> f64 {
        self.latencies_us.iter().map(|latency| f64::from(*latency)).sum::<f64>() / self.latencies_us.len() as f64
    }

    /// The latency below which this share of the calls stayed, in microseconds.
    pub fn latency_us(&self, share: f64) -> f64 {
        let index = (self.latencies_us.len() as f64 * share) as usize;
        f64::from(self.latencies_us[index.min(self.latencies_us.len() - 1)])
    }
}

async fn drive(server: &Server, ask: &Ask, connections: usize, turn: Duration) -> Vec<u32> {
    let until = Instant::now() + turn;
    let tasks: Vec<_> = (0..connections).map(|_| tokio::spawn(connection(server.address.clone(), ask.clone(), until))).collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.expect("a connection does not panic"));
    }
    latencies
}

async fn connection(address: String, ask: Ask, until: Instant) -> Vec<u32> {
    let stream = tokio::net::TcpStream::connect(&address).await.expect("the server listens");
    stream.set_nodelay(true).expect("a TCP socket");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
    tokio::spawn(connection);
    let mut latencies = Vec::new();
    while Instant::now() < until {
        let request = ask.request(&address);
        let started = Instant::now();
        let response = sender.send_request(request).await.expect("an answer");
        let answer = response.into_body().collect().await.expect("a whole answer").to_bytes();
        latencies.push(u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX));
        let text = std::str::from_utf8(&answer).expect("JSON is text");
        assert!(text.contains(ask.expected) && !text.contains("\"isError\":true"), "{text}");
    }
    latencies
}
