//! `tidegate call`: one tool call against a running host, as an MCP client makes it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{CallArgs, Output, print};
use crate::model::{CallId, TraceContext};

/// The protocol version spoken.
const PROTOCOL: &str = "2026-07-28";

/// How long to wait for an answer: longer than any deadline a host would allow.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The most of an answer that is read.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// `tidegate call`
pub fn run(args: &CallArgs) -> Result<ExitCode> {
    let arguments: Value = serde_json::from_str(&args.arguments).context("the arguments are not JSON")?;
    if !arguments.is_object() {
        bail!("the arguments must be a JSON object, such as '{{\"user_id\": \"u1\"}}'");
    }
    let key = args.key.clone().unwrap_or_else(|| CallId::random().to_string().replace("call_", "cli-"));
    let result = match post(args, &arguments, &key) {
        Ok(result) => result,
        Err(error) => {
            // The call may have arrived; only the same key makes trying again safe.
            eprintln!("to try again safely: --key {key}");
            return Err(error);
        }
    };
    let is_error = result["isError"] == json!(true);
    match args.output {
        Output::Json => print::json(&result)?,
        Output::Table => print_text(&result, is_error)?,
    }
    // Only what may succeed later is worth a hint; an unknown outcome, for one, stays with its key.
    if is_error && is_retryable(&result) {
        eprintln!("to try again safely: --key {key}");
    }
    Ok(if is_error { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn post(args: &CallArgs, arguments: &Value, key: &str) -> Result<Value> {
    let request = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": args.tool, "arguments": arguments, "_meta": {
            "io.modelcontextprotocol/protocolVersion": PROTOCOL,
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "tidegate-call", "version": env!("CARGO_PKG_VERSION")},
            "dev.tidegate/idempotency-key": key,
            "traceparent": TraceContext::random().to_string(),
        }},
    });
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false).build().into();
    let mut post = agent
        .post(&args.url)
        .header("accept", "application/json, text/event-stream")
        .header("content-type", "application/json")
        .header("mcp-protocol-version", PROTOCOL)
        .header("mcp-method", "tools/call")
        .header("mcp-name", &args.tool);
    if let Some(token) = &args.token {
        post = post.header("authorization", format!("Bearer {token}"));
    }
    let mut response =
        post.send(request.to_string()).with_context(|| format!("no answer from `{}`; is the host running?", args.url))?;
    let status = response.status();
    let body = response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_string().context("the answer broke off")?;
    let answer = answer_in(&body).with_context(|| format!("the host answered {status} with something that is not MCP"))?;
    match (&answer["result"], &answer["error"]) {
        (Value::Null, error) => bail!("the host answered {status}: {}", error["message"].as_str().unwrap_or("no reason given")),
        (result, _) => Ok(result.clone()),
    }
}

/// The response message in a JSON body, or in the last event of an event stream.
fn answer_in(body: &str) -> Option<Value> {
    serde_json::from_str(body).ok().or_else(|| {
        let events = body.lines().filter_map(|line| line.strip_prefix("data:"));
        events.filter_map(|data| serde_json::from_str::<Value>(data.trim()).ok()).rfind(|message| message.get("id").is_some())
    })
}

/// Whether the error says that the same call may succeed later.
fn is_retryable(result: &Value) -> bool {
    let envelope = result["content"][0]["text"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    envelope.is_some_and(|envelope| envelope["retryable"] == json!(true))
}

fn print_text(result: &Value, is_error: bool) -> Result<()> {
    for block in result["content"].as_array().into_iter().flatten() {
        let line = block["text"].as_str().map_or_else(|| block.to_string(), str::to_owned);
        if is_error { eprintln!("{line}") } else { print::text(&line)? }
    }
    Ok(())
}
