//! `tidegate audit show`: all there is about one record or one call.

use std::str::FromStr;

use anyhow::Result;
use serde_json::{Value, json};

use super::ShowArgs;
use super::source::{read, with_source};
use super::table::{printable, row};
use super::time;
use crate::cli::{Output, print};
use crate::model::CallId;
use crate::server::operator::audit::{self, About, Shown};

/// A record's number, or a call's id.
#[derive(Clone, Copy, Debug)]
pub struct What(About);

impl FromStr for What {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let record = text.parse().map(About::Record);
        let about = record.or_else(|_| text.parse::<CallId>().map(About::Call));
        about.map(Self).map_err(|_| format!("`{text}` is neither a record's number nor a call's id (`call_` and 32 hex digits)"))
    }
}

/// `tidegate audit show`
pub fn run(args: &ShowArgs) -> Result<()> {
    let ShowArgs { what: What(about), log } = args;
    let shown: Shown = with_source(log, |source| source.ask(audit::SHOW, about))?;
    let mut records = Vec::new();
    for record in &shown.records {
        records.push(row(&read(record)?));
    }
    let standing = shown.call.map(|call| {
        let standing = shown.standing.as_ref();
        json!({
            "call": call, "status": standing.map(|standing| &standing.status), "effect": standing.map(|standing| &standing.effect),
            "started": standing.and_then(|standing| standing.started_ms).map(time::show_exactly),
            "ended": standing.and_then(|standing| standing.ended_ms).map(time::show_exactly),
            "answer": standing.and_then(|standing| standing.answer.as_ref()),
        })
    });
    match log.output {
        Output::Json => {
            let mut all = standing.unwrap_or_else(|| json!({}));
            all["records"] = records.into();
            print::json(&all)
        }
        Output::Table => {
            for record in &records {
                describe(record)?;
            }
            if let Some(standing) = standing {
                if standing["status"].is_null() {
                    return print::text(&"where the call stands is no longer remembered, or never was: it had no key");
                }
                for (key, value) in standing.as_object().into_iter().flatten() {
                    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    print::text(&format_args!("{key:<8} {}", printable(&value)))?;
                }
            }
            Ok(())
        }
    }
}

/// Prints a record: what its head says, then its body.
fn describe(record: &Value) -> Result<()> {
    let at = time::show_exactly(record["at_ms"].as_u64().unwrap_or_default());
    let kind = record["kind"].as_str().unwrap_or_default();
    print::text(&format_args!("record {}: {kind}, {at}", record["seq"]))?;
    for (name, key) in [("call", "call"), ("hash", "hash"), ("policies", "policy")] {
        if let Some(value) = record[key].as_str() {
            print::text(&format_args!("  {name:<11}{value}"))?;
        }
    }
    print::text(&format_args!("  {:<11}{}", "generation", record["generation"]))?;
    if let Some(gone) = record["gone"].as_str() {
        return print::text(&format_args!("  what it said was {gone}\n"));
    }
    let body = serde_json::to_string_pretty(&record["body"])?;
    let body: Vec<String> = body.lines().map(|line| format!("  {}", printable(line))).collect();
    print::text(&format_args!("{}\n", body.join("\n")))
}
