//! `tidegate audit query`: calls that ended, found by who, what, when and how.

use anyhow::Result;
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::QueryArgs;
use super::source::{Read, read, with_source};
use super::table::{body, row, text};
use super::time;
use crate::cli::{Output, print};
use crate::ledger::Query;
use crate::server::operator::audit::{self, Found, Search};

/// `tidegate audit query`
pub fn run(args: &QueryArgs) -> Result<()> {
    let query = Query {
        call: args.call,
        subject: args.subject.clone(),
        issuer: args.issuer.clone(),
        tool: args.tool.clone(),
        outcome: args.outcome.clone(),
        trace_id: args.trace.clone(),
        since_ms: args.since,
        until_ms: args.until,
    };
    with_source(&args.log, |source| {
        let (mut rows, mut before) = (Vec::new(), args.before);
        let limit = args.limit as usize;
        let next = loop {
            let search = Search { query: query.clone(), before, limit: limit - rows.len() };
            let found: Found = source.ask(audit::QUERY, &search)?;
            for (end, intent) in &found.calls {
                rows.push(merged(&read(end)?, intent.as_deref().map(read).transpose()?.as_ref()));
            }
            before = found.next;
            if before.is_none() || rows.len() >= limit {
                break found.next;
            }
        };
        match args.log.output {
            Output::Json => print::json(&json!({ "calls": rows, "next": next })),
            Output::Table => {
                print::text(&table(&rows))?;
                next.map_or(Ok(()), |next| print::text(&format_args!("\nthere may be more: add `--before {next}`")))
            }
        }
    })
}

/// A call as one object: what its end says, and what only its intent says.
fn merged(end: &Read, intent: Option<&Read>) -> Value {
    let mut row = row(end);
    let told = row["body"].take();
    row["outcome"] = [&told["code"], &told["error"], &told["ended"]].into_iter().find(|word| word.is_string()).cloned().into();
    let mut all = intent.map(body).unwrap_or_else(|| json!({}));
    if let (Some(all), Value::Object(told)) = (all.as_object_mut(), told) {
        all.extend(told);
    }
    row["body"] = all;
    row["started_ms"] = intent.map(|intent| intent.line.at_ms).into();
    row
}

fn table(rows: &[Value]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(["seq", "time", "call", "subject", "tool", "outcome", "latency", "fuel", "trace"]);
    for row in rows {
        let body = &row["body"];
        let latency = body["latency_us"].as_u64().map(|micros| format!("{:.1} ms", micros as f64 / 1000.0));
        let times = body["repeated"]["count"].as_u64().map(|count| format!(" x{count}")).unwrap_or_default();
        table.add_row([
            row["seq"].to_string(),
            time::show(row["at_ms"].as_u64().unwrap_or_default()),
            text(&row["call"]),
            text(&body["subject"]),
            text(&body["tool"]),
            text(&row["outcome"]) + &times,
            latency.unwrap_or_default(),
            body["fuel"].as_u64().map(|fuel| fuel.to_string()).unwrap_or_default(),
            text(&body["trace_id"]),
        ]);
    }
    table
}
