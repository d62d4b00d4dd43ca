//! What one call took, as the host has measured it and written it down.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::CallArgs;
use crate::cli::audit::{body, printable, read};
use crate::model::{Bytes, CallId};
use crate::server::operator::audit::{self, About, Shown};
use crate::server::operator::calls::{self, Show};

/// How long an outcome may take to be written down: that of a read rides a later commit.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often to look for it.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks the host for what it knows of the call that was answered so.
///
/// # Errors
/// There is no host on the data folder, or it knows no such call.
pub fn of(args: &CallArgs, result: &Value) -> Result<Value> {
    let call = result["_meta"]["dev.tidegate/call-id"]
        .as_str()
        .context("the host says no id of the call, so there is nothing to ask about")?;
    let call: CallId = call.parse().ok().with_context(|| format!("`{call}` is no id of a call"))?;
    let mut live = args.host.demand().context("a trace is asked for at the host itself")?;
    let until = Instant::now() + PATIENCE;
    let records = loop {
        let shown: Shown = serde_json::from_value(live.ask(audit::SHOW, &serde_json::to_value(About::Call(call))?)?)?;
        let records = shown.records.iter().map(|line| read(line)).collect::<Result<Vec<_>>>()?;
        let has_ended = records.iter().any(|record| matches!(record.record.head.kind.as_str(), "outcome" | "rejection"));
        if has_ended || Instant::now() > until {
            break records;
        }
        std::thread::sleep(PAUSE);
    };
    let find = |kind: &str| records.iter().find(|record| record.record.head.kind.as_str() == kind).map(body).unwrap_or_default();
    let stages = live.ask(calls::STAGES, &serde_json::to_value(Show { call })?)?;
    let (intent, outcome) = (find("intent"), find("outcome"));
    Ok(json!({
        "call": call, "trace_id": intent["trace_id"], "ended": outcome["ended"], "error": outcome["error"],
        "queued_us": intent["queued_us"], "latency_us": outcome["latency_us"],
        "fuel": outcome["fuel"], "fuel_limit": intent["fuel_limit"], "memory_peak": outcome["memory_peak"],
        "sent": outcome["sent"], "unsent": outcome["unsent"], "sent_count": outcome["sent_count"],
        "stages": stages["stages"], "not_measured": stages["why_not"],
    }))
}

/// The same for people.
pub fn in_words(trace: &Value) -> String {
    let mut lines = vec![format!("\n{}, trace {}", text(&trace["call"]), text(&trace["trace_id"]))];
    if let Some(stages) = trace["stages"].as_array() {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["stage", "at", "took", ""]);
        for stage in stages {
            let indent = "  ".repeat(usize::try_from(stage["depth"].as_u64().unwrap_or(0)).unwrap_or(0));
            let name = format!("{indent}{}", text(&stage["name"]));
            table.add_row([name, time(&stage["at_us"]), time(&stage["took_us"]), about(stage)]);
        }
        lines.push(table.to_string());
    } else if let Some(why) = trace["not_measured"].as_str() {
        lines.push(format!("stages: {why}"));
    }
    match (trace["fuel"].as_u64(), trace["fuel_limit"].as_u64()) {
        (Some(fuel), Some(limit)) => {
            let share = fuel as f64 * 100.0 / limit.max(1) as f64;
            lines.push(format!("fuel    {fuel} of {limit} ({share:.1} %)"));
            let peak = trace["memory_peak"].as_u64().unwrap_or_default();
            lines.push(format!("memory  {} at most", Bytes(peak)));
            lines.push(format!("ended   {}{}", text(&trace["ended"]), error(&trace["error"])));
        }
        _ => lines.push("it did not run, or its outcome is not written down yet".to_owned()),
    }
    for (word, list) in [("sent", &trace["sent"]), ("unsent", &trace["unsent"])] {
        for sent in list.as_array().into_iter().flatten() {
            lines.push(format!("{word:<7} {}", request(sent)));
        }
    }
    lines.join("\n")
}

/// What there is to say of a stage beside what it took.
fn about(stage: &Value) -> String {
    const TOLD: [&str; 5] =
        ["tidegate.policy.decision", "tidegate.claim", "tidegate.backend.name", "http.response.status_code", "error.type"];
    let values = TOLD.iter().filter_map(|key| stage["attributes"].get(key));
    values.map(|value| value.as_str().map_or_else(|| value.to_string(), printable)).collect::<Vec<_>>().join(" ")
}

fn request(sent: &Value) -> String {
    let ended = match (sent["status"].as_u64(), sent["error"].as_str()) {
        (Some(status), None) => status.to_string(),
        (Some(status), Some(error)) => format!("{status}, {error}"),
        (None, error) => error.unwrap_or("no answer").to_owned(),
    };
    format!(
        "{} {} of {}: {ended}, {}",
        text(&sent["method"]),
        text(&sent["path"]),
        text(&sent["backend"]),
        time(&sent["latency_us"])
    )
}

fn error(code: &Value) -> String {
    code.as_str().map_or_else(String::new, |code| format!(", {code}"))
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(String::new, printable)
}

/// A span of time, given in microseconds.
fn time(micros: &Value) -> String {
    match micros.as_u64() {
        None => String::new(),
        Some(micros) if micros < 1_000 => format!("{micros} µs"),
        Some(micros) if micros < 1_000_000 => format!("{:.2} ms", micros as f64 / 1e3),
        Some(micros) => format!("{:.2} s", micros as f64 / 1e6),
    }
}
