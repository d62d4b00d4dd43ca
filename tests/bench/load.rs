//! The load generator: so many connections, each with one call in flight, for so long.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::json;

use super::server::{Server, cpu_seconds};

/// What one turn measured.
pub struct Load {
    latencies_us: Vec<u32>,
    elapsed: Duration,
    server_cpu: f64,
    own_cpu: f64,
}

impl Load {
    /// Drives `server` with `connections` connections for `turn`.
    pub fn run(server: &Server, connections: usize, turn: Duration) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        runtime.block_on(async {
            drive(server, connections, turn / 4).await;
            let (server_before, own_before) = (server.cpu_seconds(), cpu_seconds("/proc/self/stat"));
            let started = Instant::now();
            let mut latencies_us = drive(server, connections, turn).await;
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

    /// The latency below which this share of the calls stayed, in microseconds.
    pub fn latency_us(&self, share: f64) -> f64 {
        let index = (self.latencies_us.len() as f64 * share) as usize;
        f64::from(self.latencies_us[index.min(self.latencies_us.len() - 1)])
    }
}

async fn drive(server: &Server, connections: usize, turn: Duration) -> Vec<u32> {
    let until = Instant::now() + turn;
    let tasks: Vec<_> = (0..connections).map(|_| tokio::spawn(connection(server.address.clone(), until))).collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.expect("a connection does not panic"));
    }
    latencies
}

async fn connection(address: String, until: Instant) -> Vec<u32> {
    let stream = tokio::net::TcpStream::connect(&address).await.expect("the server listens");
    stream.set_nodelay(true).expect("a TCP socket");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
    tokio::spawn(connection);
    let body = Bytes::from(
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "hello"}, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}}})
        .to_string(),
    );
    let mut latencies = Vec::new();
    while Instant::now() < until {
        let request = hyper::Request::post("/mcp")
            .header("host", &address)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", "echo")
            .body(Full::new(body.clone()))
            .expect("a request");
        let started = Instant::now();
        let response = sender.send_request(request).await.expect("an answer");
        let answer = response.into_body().collect().await.expect("a whole answer").to_bytes();
        latencies.push(u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX));
        // An error would be cheap to produce and must not pass for speed.
        let text = std::str::from_utf8(&answer).expect("JSON is text");
        assert!(text.contains("structuredContent") && !text.contains("\"isError\":true"), "{text}");
    }
    latencies
}
