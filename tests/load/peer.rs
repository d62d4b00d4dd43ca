//! A small MCP server that misbehaves in known ways, one for each tool, and counts what it did.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

/// What is asked for later is asked for so soon, in seconds.
const SOON: f64 = 0.05;

/// How long it may take on a busy machine until calls arrive.
const PATIENCE: Duration = Duration::from_secs(60);

/// The session of the peer that speaks the older protocol.
const SESSION: &str = "s-1";

/// A running peer; it ends with the process.
pub struct Peer {
    /// Its MCP endpoint.
    pub mcp: String,
    /// Where it tells how much it did.
    pub effects: String,
    book: Arc<Mutex<Book>>,
}

/// What it remembers.
#[derive(Default)]
pub struct Book {
    is_legacy: bool,
    /// Every call that took effect.
    pub effects: u64,
    /// Attempts by tool and key, or by the call's number where there is no key.
    pub attempts: HashMap<(String, String), u32>,
    /// Polls by call.
    polls: HashMap<String, u32>,
    /// Handshakes that were held.
    pub handshakes: u32,
    /// Requests by the authorization they came with.
    pub tokens: HashMap<String, u32>,
}

impl Peer {
    /// A peer that speaks the newest protocol.
    pub fn start() -> Self {
        Self::with(Book::default())
    }

    /// A peer that wants a handshake, and then a session.
    pub fn legacy() -> Self {
        Self::with(Book { is_legacy: true, ..Book::default() })
    }

    fn with(book: Book) -> Self {
        let book = Arc::new(Mutex::new(book));
        let listener = std::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("bound");
        let router = Router::new().route("/mcp", post(mcp)).route("/effects", get(effects)).with_state(book.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
                axum::serve(listener, router).await.expect("it serves");
            });
        });
        Self { mcp: format!("http://{address}/mcp"), effects: format!("http://{address}/effects#/done"), book }
    }

    /// Waits until what it remembers is so.
    pub fn wait_for(&self, is_so: impl Fn(&Book) -> bool) {
        let began = Instant::now();
        while !self.book(&is_so) {
            assert!(began.elapsed() < PATIENCE, "it does not come to that");
            std::thread::yield_now();
        }
    }

    /// What it remembers now.
    pub fn book<T>(&self, read: impl FnOnce(&Book) -> T) -> T {
        read(&self.book.lock().expect("whole"))
    }
}

impl Book {
    /// How many requests came.
    pub fn requests(&self) -> u32 {
        self.tokens.values().sum()
    }
}

type Shared = State<Arc<Mutex<Book>>>;

async fn effects(State(book): Shared) -> Json<Value> {
    Json(json!({ "done": book.lock().expect("whole").effects }))
}

async fn mcp(State(book): Shared, headers: HeaderMap, Json(request): Json<Value>) -> Response {
    let id = request["id"].clone();
    let result = |result: Value| Json(json!({ "jsonrpc": "2.0", "id": id, "result": result })).into_response();
    let method = request["method"].as_str().unwrap_or_default();
    {
        let mut book = book.lock().expect("whole");
        let token = headers.get("authorization").map(|token| token.to_str().expect("text").to_owned());
        *book.tokens.entry(token.unwrap_or_default()).or_default() += 1;
        if book.is_legacy {
            match method {
                "initialize" => {
                    book.handshakes += 1;
                    let agreed = json!({ "protocolVersion": "2025-06-18", "capabilities": { "tools": {} } });
                    return ([("mcp-session-id", SESSION)], result(agreed)).into_response();
                }
                _ if headers.get("mcp-session-id").is_none() => return StatusCode::BAD_REQUEST.into_response(),
                _ => assert_eq!(headers["mcp-protocol-version"], "2025-06-18"),
            }
        }
    }
    match method {
        "server/discover" => result(json!({ "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {} })),
        "notifications/initialized" => StatusCode::ACCEPTED.into_response(),
        "tools/list" => {
            let key = json!({ "idempotency_key": { "type": "string" } });
            let writes = ["steady", "late", "never", "gone", "switched", "busy", "full", "drops", "forgets", "mute", "fails"];
            let writes = writes.map(|name| json!({ "name": name, "inputSchema": { "type": "object", "properties": key } }));
            let plain = json!({ "name": "plain", "inputSchema": { "type": "object" } });
            let tools = [&writes[..], &[plain]].concat();
            result(json!({ "resultType": "complete", "tools": tools }))
        }
        "tasks/get" => task(&mut book.lock().expect("whole"), &request["params"]).map_or_else(refused, result),
        "tools/call" if request["params"]["name"] == "mute" => std::future::pending().await,
        "tools/call" => call(&mut book.lock().expect("whole"), &request["params"]).map_or_else(broken, result),
        _ => refused(),
    }
}

/// The result of a call; `None` breaks the connection off instead.
fn call(book: &mut Book, params: &Value) -> Option<Value> {
    let tool = params["name"].as_str().expect("a tool").to_owned();
    if tool == "get_call_result" {
        return Some(poll(book, params["arguments"]["call_id"].as_str().expect("a call")));
    }
    let key = params["_meta"]["dev.tidegate/idempotency-key"].as_str().unwrap_or_default();
    let key = if key.is_empty() { params["arguments"].to_string() } else { key.to_owned() };
    let attempt = book.attempts.entry((tool.clone(), key.clone())).or_default();
    *attempt += 1;
    let attempt = *attempt;
    let takes_tasks = !params["_meta"]["io.modelcontextprotocol/clientCapabilities"]["extensions"].is_null();
    let call = format!("call_{tool}.{key}");
    match (tool.as_str(), attempt) {
        ("late" | "never" | "gone" | "switched", _) if takes_tasks => {
            let meta = json!({ "dev.tidegate/call-id": call });
            Some(
                json!({ "resultType": "task", "taskId": call, "status": "working", "pollIntervalMs": SOON * 1e3, "_meta": meta }),
            )
        }
        ("late" | "never" | "gone" | "switched", _) => Some(pending(&call)),
        ("busy", 1) | ("full", _) => Some(error("overloaded")),
        ("fails", _) => Some(error("backend_unavailable")),
        ("drops", 1) => None,
        // It did what it was asked to, says nothing, and does it again.
        ("forgets", 1) => {
            book.effects += 1;
            None
        }
        ("steady", 2..) => Some(done(&format!("{call}.{attempt}"), Some(&call))),
        ("plain", 1) => None,
        _ => {
            book.effects += 1;
            Some(done(&call, None))
        }
    }
}

fn poll(book: &mut Book, call: &str) -> Value {
    let polls = book.polls.entry(call.to_owned()).or_default();
    *polls += 1;
    match *polls {
        _ if call.contains("never") => pending(call),
        _ if call.contains("gone") => error("not_found"),
        // The poll fails, not the call.
        1 if call.contains("late") => error("audit_unavailable"),
        1 => pending(call),
        _ => {
            book.effects += 1;
            let told = if call.contains("switched") { format!("{call}.other") } else { call.to_owned() };
            let mut done = done(&told, None);
            done["_meta"]["dev.tidegate/polled"] = json!(true);
            done
        }
    }
}

fn task(book: &mut Book, params: &Value) -> Option<Value> {
    let call = params["taskId"].as_str()?.to_owned();
    let result = poll(book, &call);
    let mut task = json!({ "resultType": "complete", "taskId": call, "status": "working", "pollIntervalMs": SOON * 1e3 });
    if result["_meta"]["dev.tidegate/polled"] == json!(true) {
        task["status"] = json!("completed");
        task["result"] = result;
    }
    // An unknown task is no task at all.
    (!call.contains("gone")).then_some(task)
}

fn pending(call: &str) -> Value {
    let told = json!({ "status": "pending", "call_id": call, "state": "queued", "retry_after_seconds": SOON, "poll_tool": "get_call_result" });
    json!({
        "content": [{ "type": "text", "text": told.to_string() }], "isError": false,
        "_meta": { "dev.tidegate/pending": true, "dev.tidegate/call-id": call },
    })
}

fn done(call: &str, first: Option<&str>) -> Value {
    let mut meta = json!({ "dev.tidegate/call-id": call });
    if let Some(first) = first {
        meta["dev.tidegate/replayed"] = json!(true);
        meta["dev.tidegate/replay-of"] = json!(first);
    }
    json!({ "resultType": "complete", "content": [{ "type": "text", "text": "done" }], "isError": false, "_meta": meta })
}

fn error(code: &str) -> Value {
    let envelope = json!({ "error": code, "message": "no", "retryable": true, "effect": "none", "retry_after_seconds": SOON });
    json!({ "resultType": "complete", "content": [{ "type": "text", "text": envelope.to_string() }], "isError": true })
}

fn refused() -> Response {
    let error = json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32602, "message": "no such thing" } });
    (StatusCode::NOT_FOUND, Json(error)).into_response()
}

/// An answer that breaks off in the middle.
fn broken() -> Response {
    let parts = [Ok(&b"{\"jsonrpc\""[..]), Err(std::io::Error::other("broken off"))];
    Response::new(Body::from_stream(futures::stream::iter(parts)))
}
