//! `tidegate call`: one tool call against a running host, as an MCP client makes it.

mod arguments;
mod asked;
mod client;
mod show;
mod trace;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use super::{Output, WhichHost, print};
use crate::model::{CallId, POLL_TOOL, document};
use arguments::Typed;
use client::{Client, ToolCall};

/// The longest pause between two questions for one result, whatever the host says.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often a tool may ask for one result.
const MAX_ROUNDS: u32 = 32;

/// How many questions for one result may get lost in a row, a second apart: a host may just be starting again.
const LOST_QUESTIONS: u32 = 30;

/// `tidegate call`
#[derive(Debug, Clone, Args)]
pub struct CallArgs {
    /// The tool.
    pub tool: String,
    /// Its arguments: `key=value`, typed as the tool's schema says; `key:=JSON`; `key=@FILE`; or one JSON object, or `@FILE` with one.
    #[arg(value_name = "ARGUMENT")]
    pub arguments: Vec<String>,
    /// The host's MCP endpoint.
    #[arg(long, default_value = "http://127.0.0.1:7300/mcp")]
    pub url: String,
    /// The idempotency key of a write; a new one is made up, and printed, if absent.
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// The answer to a question of the tool: `KEY={"field": …}` for a form that is filled in, `KEY=accept`, `KEY=decline` or
    /// `KEY=cancel`. On a terminal what is not answered so is asked.
    #[arg(long = "answer", value_name = "KEY=ANSWER", value_parser = asked::parse)]
    pub answers: Vec<(String, Value)>,
    /// A bearer token, if the host wants one; better in the variable than on the command line.
    #[arg(long, env = "TIDEGATE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// How long to wait for the result of a call that is told to be pending.
    #[arg(long, value_name = "SPAN", default_value = "10m", value_parser = humantime::parse_duration, conflicts_with = "no_wait")]
    pub wait: Duration,
    /// Print what the host says of a pending call, and don't wait for its result.
    #[arg(long)]
    pub no_wait: bool,
    /// Show what the call took: its stages, the fuel it burned, the memory, and what it asked of backends. The host is asked over its
    /// data folder, or its admin API.
    #[arg(long)]
    pub trace: bool,
    #[command(flatten)]
    pub host: WhichHost,
    /// Print the whole result, not just its text.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

impl CallArgs {
    fn client(&self) -> Client<'_> {
        let can_be_asked = !self.answers.is_empty() || asked::is_somebody_there();
        Client { url: &self.url, token: self.token.as_deref(), can_be_asked }
    }
}

/// `tidegate call`
pub fn run(args: &CallArgs) -> Result<ExitCode> {
    let arguments = arguments(args)?;
    let key = args.key.clone().unwrap_or_else(|| CallId::random().to_string().replace("call_", "cli-"));
    let call = ToolCall { tool: args.tool.clone(), arguments, key: key.clone() };
    let called = args.client().call(&call, None).and_then(|told| await_end(args, call, told));
    let mut result = match called {
        Ok(result) => result,
        Err(error) => {
            // The call may have arrived; only the same key makes trying again safe.
            eprintln!("to try again safely: --key {key}");
            return Err(error);
        }
    };
    let is_error = result["isError"] == json!(true);
    let trace = args.trace.then(|| trace::of(args, &result)).transpose();
    match args.output {
        Output::Json => {
            if let Ok(Some(trace)) = &trace {
                result["trace"] = trace.clone();
            }
            print::json(&result)?;
        }
        Output::Table => {
            show::result(&result, is_error)?;
            if let Ok(Some(trace)) = &trace {
                eprintln!("{}", trace::in_words(trace));
            }
        }
    }
    // Whatever became of the trace, the result is the caller's.
    trace?;
    // Only what may succeed later is worth a hint; an unknown outcome, for one, stays with its key.
    if is_error && is_retryable(&result) {
        eprintln!("to try again safely: --key {key}");
    }
    Ok(if is_error { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The arguments, checked and typed as far as the tool's schema is needed for it.
fn arguments(args: &CallArgs) -> Result<Value> {
    let typed = Typed::read(&args.arguments)?;
    if matches!(&typed, Typed::Whole(_)) || args.arguments.is_empty() {
        return typed.fit(&Value::Null);
    }
    let tools = args.client().tools()?;
    let name = |tool: &Value| tool["name"].as_str().unwrap_or_default().to_owned();
    let Some(tool) = tools.iter().find(|tool| name(tool) == args.tool) else {
        let names: Vec<String> = tools.iter().map(name).collect();
        let hint = match document::nearest(&args.tool, names.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are `{}`", names.join("`, `")),
        };
        bail!("the host has no tool `{}` for this caller; {hint}", args.tool);
    };
    typed.fit(tool)
}

/// Answers what the tool asks, and asks for the result of a call that is pending, until it is there, or the caller's patience is at its
/// end.
fn await_end(args: &CallArgs, mut call: ToolCall, mut told: Value) -> Result<Value> {
    let until = Instant::now().checked_add(args.wait);
    let (mut rounds, mut given) = (0, args.answers.clone());
    loop {
        if let Some(questions) = asked::questions(&told) {
            rounds += 1;
            if rounds > MAX_ROUNDS {
                bail!("the tool asked {MAX_ROUNDS} times, and asks again; it was given up");
            }
            let answers = asked::answer(&questions, &mut given, told["requestState"].take())?;
            told = args.client().call(&call, Some(answers))?;
            continue;
        }
        let Some(id) = pending(&told).filter(|_| !args.no_wait) else { return Ok(told) };
        if let Some(questions) = told["structuredContent"]["input_requests"].as_object() {
            bail!("{id} waits for answers: {}", asked::all_in_words(questions));
        }
        let pause = pause(&told);
        if until.is_some_and(|until| Instant::now() + pause > until) {
            eprintln!("{id} is not finished; ask for its result later: tidegate call {POLL_TOOL} '{{\"call_id\": \"{id}\"}}'");
            return Ok(told);
        }
        eprintln!("{id} is not finished; asking again in {} s", pause.as_secs());
        std::thread::sleep(pause);
        // From here on it is asked for by its id, and what it asks is asked, and answered, there.
        call = ToolCall { tool: POLL_TOOL.to_owned(), arguments: json!({ "call_id": id }), key: String::new() };
        told = ask(args, &call, &id)?;
    }
}

/// Asks once for the result of the call `id`. A question that got lost is asked again: asking changes nothing.
fn ask(args: &CallArgs, poll: &ToolCall, id: &str) -> Result<Value> {
    let mut tries = 0;
    loop {
        match args.client().call(poll, None) {
            Err(error) if tries < LOST_QUESTIONS && error.downcast_ref::<ureq::Error>().is_some() => {
                tries += 1;
                std::thread::sleep(Duration::from_secs(1));
            }
            answered => {
                return answered.with_context(|| format!("the call goes on; its id is {id}"));
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

/// Whether the error says that the same call may succeed later.
fn is_retryable(result: &Value) -> bool {
    let envelope = result["content"][0]["text"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    envelope.is_some_and(|envelope| envelope["retryable"] == json!(true))
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
