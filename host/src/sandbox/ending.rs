//! How a guest's end is read: its answer as JSON, its failure in words an agent may see, its trap classified.

use std::any::Any;
use std::time::Duration;

use serde_json::Value;
use wasmtime::WasmBacktrace;
use wasmtime_wasi::I32Exit;

use super::bindings::exports::tidegate::plugin::tools;
use super::host::Asks;
use super::limits::Limits;
use super::logs::escaped;
use crate::model::{Ended, ErrorCode, Failure, Output, Question, Trap};

/// The longest failure message passed on, in bytes.
const MAX_MESSAGE: usize = 4 << 10;
/// The longest description of a crash, in bytes.
const MAX_CRASH: usize = 2 << 10;
/// Frames of the guest's stack that are named in it.
const MAX_FRAMES: usize = 6;
/// Values, roughly, in one answer: parsed, each takes many times its bytes.
const MAX_VALUES: usize = 250_000;

/// A guest that did not return.
#[derive(Debug)]
pub(super) enum Stop {
    /// It was stopped, or crashed.
    Trapped(Trap),
    /// It asked what its caller has to be asked first.
    Asked(Vec<Question>),
    /// It returned something that cannot be read.
    Unreadable(String),
    /// The host was told to stop it.
    Cancelled,
}

/// The end of a guest that returned.
pub(super) fn of_result(result: Result<tools::Output, tools::Failure>) -> Ended {
    match result {
        Ok(output) => match read_output(output) {
            Ok(output) => Ended::Completed(output),
            Err(reason) => unreadable(&reason),
        },
        Err(failure) => Ended::Failed(Failure {
            code: ErrorCode::from_guest(&failure.code),
            message: shortened(failure.message, MAX_MESSAGE),
            retry_after: failure.retry_after_seconds.map(|seconds| Duration::from_secs(seconds.into())),
        }),
    }
}

/// The end of a guest that did not.
pub(super) fn of_stop(stop: Stop) -> Ended {
    match stop {
        Stop::Trapped(trap) => Ended::Trapped(trap),
        Stop::Asked(questions) => Ended::Asked(questions),
        Stop::Unreadable(reason) => unreadable(&reason),
        Stop::Cancelled => Ended::Cancelled,
    }
}

/// Why the engine gave up on a guest.
pub(super) fn of_error(error: &wasmtime::Error, limits: &Limits) -> Stop {
    if let Some(Asks(questions)) = error.downcast_ref::<Asks>() {
        return Stop::Asked(questions.clone());
    }
    let trap = error.downcast_ref::<wasmtime::Trap>();
    let frames = error.downcast_ref::<WasmBacktrace>();
    let exit = error.downcast_ref::<I32Exit>();
    if trap == Some(&wasmtime::Trap::OutOfFuel) {
        return Stop::Trapped(Trap::OutOfFuel);
    }
    // A guest that is refused memory usually aborts; the refusal is what happened, the abort only how it took it.
    if limits.refused() {
        return Stop::Trapped(Trap::OutOfMemory);
    }
    // No trap and no guest on the stack: it had returned, and reading what it returned failed.
    if trap.is_none() && frames.is_none() && exit.is_none() {
        return Stop::Unreadable(shortened(format!("it is too large or malformed ({})", error.root_cause()), MAX_CRASH));
    }
    let mut crash = match (exit, trap) {
        (Some(I32Exit(code)), _) => format!("it called exit({code})"),
        (None, Some(trap)) => trap.to_string(),
        (None, None) => error.root_cause().to_string(),
    };
    if let Some(frames) = frames {
        crash.push_str(&innermost(frames));
    }
    Stop::Trapped(Trap::Guest(shortened(escaped(&crash), MAX_CRASH)))
}

/// A panic of the host while it ran a guest. The host goes on; its operators have to know.
pub(super) fn of_panic(panic: &(dyn Any + Send)) -> Stop {
    let words = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let words = words.unwrap_or("a panic without words");
    tracing::error!(panic = words, "the host panicked while it ran a guest; the call was ended, the host goes on");
    Stop::Trapped(Trap::Guest(format!("the host panicked while running it: {}", shortened(words.to_owned(), MAX_CRASH))))
}

fn read_output(output: tools::Output) -> Result<Output, String> {
    let structured = output.structured.map(|text| parse(&text, "structured answer")).transpose()?;
    let content = if output.content.is_empty() { Value::Array(Vec::new()) } else { parse(&output.content, "content")? };
    match content {
        Value::Array(content) => Ok(Output { structured, content }),
        _ => Err("its content is not a JSON array".to_owned()),
    }
}

fn parse(text: &str, what: &str) -> Result<Value, String> {
    // Counted before parsing, and generously: a comma inside a string counts too.
    let values = text.bytes().filter(|byte| matches!(byte, b',' | b'[' | b'{' | b':')).count();
    if values > MAX_VALUES {
        return Err(format!("its {what} holds more than {MAX_VALUES} values"));
    }
    serde_json::from_str(text).map_err(|error| format!("its {what} is not JSON: {error}"))
}

fn unreadable(reason: &str) -> Ended {
    let message = format!("the tool's answer cannot be used: {}; its author has to look at it", escaped(reason));
    Ended::Failed(Failure { code: ErrorCode::OutputInvalid, message, retry_after: None })
}

fn shortened(mut text: String, length: usize) -> String {
    text.truncate(text.floor_char_boundary(length));
    text
}

/// The functions a crash happened in, innermost first.
fn innermost(frames: &WasmBacktrace) -> String {
    // Printing is the only way to get names without the compiler's mangling: `   0: 0x2a - file!function`.
    let printed = frames.to_string();
    let names =
        printed.lines().filter_map(|line| line.split_once(" - ")).map(|(_, name)| name.rsplit('!').next().unwrap_or(name));
    let names: Vec<_> = names.take(MAX_FRAMES).collect();
    if names.is_empty() { String::new() } else { format!(" in {}", names.join(" < ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(structured: Option<&str>, content: &str) -> Ended {
        of_result(Ok(tools::Output { structured: structured.map(str::to_owned), content: content.to_owned() }))
    }

    fn code(ended: Ended) -> Option<ErrorCode> {
        match ended {
            Ended::Failed(failure) => Some(failure.code),
            _ => None,
        }
    }

    #[test]
    fn an_answer_without_content_needs_no_brackets() {
        assert_eq!(output(Some("{\"a\":1}"), ""), output(Some("{\"a\":1}"), "[]"));
    }

    #[test]
    fn answers_that_are_not_json_are_output_invalid() {
        for ended in [output(Some("{"), "[]"), output(None, "{}"), output(None, "[1,]")] {
            assert_eq!(code(ended), Some(ErrorCode::OutputInvalid));
        }
    }

    #[test]
    fn a_small_text_that_would_take_much_memory_is_refused() {
        let bomb = format!("[{}0]", "0,".repeat(MAX_VALUES));
        assert_eq!(code(output(Some(&bomb), "[]")), Some(ErrorCode::OutputInvalid));
        let deep = "[".repeat(10_000);
        assert_eq!(code(output(Some(&deep), "[]")), Some(ErrorCode::OutputInvalid));
    }

    #[test]
    fn a_guests_failure_cannot_claim_what_only_the_host_may_say() {
        let failure =
            tools::Failure { code: "outcome_unknown".into(), message: "x".repeat(1 << 20), retry_after_seconds: Some(3) };
        let Ended::Failed(failure) = of_result(Err(failure)) else { panic!("a failure stays one") };
        assert_eq!((failure.code, failure.message.len()), (ErrorCode::Failed, MAX_MESSAGE));
        assert_eq!(failure.retry_after, Some(Duration::from_secs(3)));
    }
}
