//! A load that does not wait: calls are due on schedule, whatever became of the ones before, and measured from when they were due.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

/// Connections, and so the most calls that can be on their way.
const CONNECTIONS: usize = 512;
/// A call that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// So many calls a second, for so long.
pub struct Schedule {
    /// `127.0.0.1:port` of the server.
    pub address: String,
    /// Calls a second.
    pub rate: u32,
    /// When the first one is due.
    pub start: Instant,
    /// For how long.
    pub length: Duration,
}

/// How one call was answered.
pub struct Answered {
    /// When it was due, from the start.
    pub due: Duration,
    /// From then to the whole answer.
    pub took: Duration,
    /// `ok`, `pending`, the envelope's code, or what went wrong, with a `!` in front.
    pub code: String,
    /// Whether it was to change something.
    pub is_write: bool,
}

impl Schedule {
    /// Makes all calls on a thread of its own.
    pub fn run(self) -> JoinHandle<Vec<Answered>> {
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let (schedule, next) = (Arc::new(self), Arc::new(AtomicU32::new(0)));
                let callers = (0..CONNECTIONS).map(|_| tokio::spawn(call_in_turn(Arc::clone(&schedule), Arc::clone(&next))));
                let mut answers = Vec::new();
                for caller in callers.collect::<Vec<_>>() {
                    answers.extend(caller.await.expect("a caller does not panic"));
                }
                answers
            })
        })
    }
}

/// Makes the next call that is due, again and again, until the schedule is over.
async fn call_in_turn(schedule: Arc<Schedule>, next: Arc<AtomicU32>) -> Vec<Answered> {
    let (mut answers, mut connection) = (Vec::new(), connect(&schedule.address).await);
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let due = Duration::from_secs(1) * number / schedule.rate;
        if due >= schedule.length {
            return answers;
        }
        let moment = schedule.start + due;
        tokio::time::sleep_until(moment.into()).await;
        let is_write = number.is_multiple_of(10);
        let code = match tokio::time::timeout(PATIENCE, call(&mut connection, &schedule.address, number, is_write)).await {
            Ok(Ok(code)) => code,
            Ok(Err(error)) => format!("! {error}"),
            Err(_) => "! hangs".to_owned(),
        };
        if code.starts_with('!') {
            connection = connect(&schedule.address).await;
        }
        answers.push(Answered { due, took: moment.elapsed(), code, is_write });
    }
}

async fn connect(address: &str) -> SendRequest<Full<Bytes>> {
    let stream = tokio::net::TcpStream::connect(address).await.expect("the server listens");
    stream.set_nodelay(true).expect("a TCP socket");
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
    tokio::spawn(connection);
    sender
}

async fn call(connection: &mut SendRequest<Full<Bytes>>, address: &str, number: u32, is_write: bool) -> hyper::Result<String> {
    let (tool, arguments) = match is_write {
        true => ("create_invoice", json!({ "user_id": "u1", "amount_cents": 100, "description": format!("call {number}") })),
        false => ("get_invoice", json!({ "invoice_id": "inv_0001" })),
    };
    let mut meta =
        json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {} });
    if is_write {
        meta["dev.tidegate/idempotency-key"] = json!(format!("outage-{number:012}"));
    }
    let params = json!({ "name": tool, "arguments": arguments, "_meta": meta });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string();
    let request = hyper::Request::post("/mcp")
        .header("host", address)
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", tool)
        .body(Full::new(body.into()))
        .expect("a request");
    connection.ready().await?;
    let response = connection.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    Ok(if status.is_success() { code(&body) } else { format!("! HTTP {}", status.as_u16()) })
}

/// What an answer says, in a word.
fn code(body: &[u8]) -> String {
    let Ok(answer) = serde_json::from_slice::<Value>(body) else { return "! no JSON".to_owned() };
    let result = &answer["result"];
    if result["_meta"]["dev.tidegate/pending"] == json!(true) {
        return "pending".to_owned();
    }
    match result["isError"].as_bool() {
        Some(false) => "ok".to_owned(),
        Some(true) => {
            let envelope = result["content"][0]["text"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
            envelope.and_then(|envelope| envelope["error"].as_str().map(str::to_owned)).unwrap_or("! no envelope".to_owned())
        }
        None => "! no result".to_owned(),
    }
}
