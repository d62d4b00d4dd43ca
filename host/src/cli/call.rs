//! `tidegate call`: one tool call against a running host, as an MCP client makes it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{CallArgs, Output, print};
use crate::model::{CallId, POLL_TOOL, TraceContext};

/// The protocol version spoken.
const PROTOCOL: &str = "2026-07-28";

/// How long to wait for an answer: longer than any deadline a host would allow.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The longest pause between two questions for one result, whatever the host says.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How many questions for one result may get lost in a row, a second apart: a host may just be starting again.
const LOST_QUESTIONS: u32 = 30;

/// The most of an answer that is read.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// `tidegate call`
pub fn run(args: &CallArgs) -> Result<ExitCode> {
    let arguments: Value = serde_json::from_str(&args.arguments).context("the arguments are not JSON")?;
    if !arguments.is_object() {
        bail!("the arguments must be a JSON object, such as '{{\"user_id\": \"u1\"}}'");
    }
    let key = args.key.clone().unwrap_or_else(|| CallId::random().to_string().replace("call_", "cli-"));
    let result = match post(args, &args.tool, &arguments, &key).and_then(|told| await_end(args, told)) {
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

/// Asks for the result of a call that is pending until it is there, or the caller's patience is at its end.
fn await_end(args: &CallArgs, mut told: Value) -> Result<Value> {
    let until = Instant::now().checked_add(args.wait);
    while let Some(call) = pending(&told).filter(|_| !args.no_wait) {
        let pause = pause(&told);
        if until.is_some_and(|until| Instant::now() + pause > until) {
            eprintln!(
                "{call} is not finished; ask for its result later: tidegate call {POLL_TOOL} '{{\"call_id\": \"{call}\"}}'"
            );
            break;
        }
        eprintln!("{call} is not finished; asking again in {} s", pause.as_secs());
        std::thread::sleep(pause);
        told = ask(args, &call)?;
    }
    Ok(told)
}

/// Asks once for the result of `call`. A question that got lost is asked again: asking changes nothing.
fn ask(args: &CallArgs, call: &str) -> Result<Value> {
    let question = json!({ "call_id": call });
    let mut tries = 0;
    loop {
        match post(args, POLL_TOOL, &question, "") {
            Err(error) if tries < LOST_QUESTIONS && error.downcast_ref::<ureq::Error>().is_some() => {
                tries += 1;
                std::thread::sleep(Duration::from_secs(1));
            }
            answered => {
                return answered.with_context(|| format!("the call goes on; its id is {call}"));
            }
        }
    }
}

/// The id of the call that is told to be pending.
fn pending(result: &Value) -> Option<String> {
    let meta = &result["_meta"];
    (meta["dev.tidegate/pending"] == json!(true)).then(|| meta["dev.tidegate/call-id"].as_str().map(str::to_owned))?
}

/// How long a pending answer asks to be waited for.
fn pause(result: &Value) -> Duration {
    let told = result["content"][0]["text"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let seconds = told.and_then(|told| told["retry_after_seconds"].as_u64()).unwrap_or(1);
    Duration::from_secs(seconds.clamp(1, LONGEST_PAUSE.as_secs()))
}

fn post(args: &CallArgs, tool: &str, arguments: &Value, key: &str) -> Result<Value> {
    let request = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": tool, "arguments": arguments, "_meta": {
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
        .header("mcp-name", tool);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &Value, meta: Value) -> Value {
        json!({ "content": [{ "type": "text", "text": text.to_string() }], "isError": false, "_meta": meta })
    }

    #[test]
    fn only_what_is_marked_as_pending_is_waited_for() {
        let body = json!({ "status": "pending", "call_id": "call_x", "retry_after_seconds": 7 });
        let marked = told(&body, json!({ "dev.tidegate/pending": true, "dev.tidegate/call-id": "call_1" }));
        assert_eq!((pending(&marked).as_deref(), pause(&marked)), (Some("call_1"), Duration::from_secs(7)));
        // A tool may say anything.
        assert_eq!(pending(&told(&body, json!({ "dev.tidegate/call-id": "call_1" }))), None);
    }

    #[test]
    fn a_pause_is_neither_nothing_nor_endless() {
        let pauses =
            [json!(0), json!(9999), json!("soon")].map(|wait| pause(&told(&json!({ "retry_after_seconds": wait }), json!({}))));
        assert_eq!(pauses, [Duration::from_secs(1), LONGEST_PAUSE, Duration::from_secs(1)]);
    }
}
