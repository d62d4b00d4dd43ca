//! Records as rows: of JSON for programs, of a table for people.

use comfy_table::{ColumnConstraint, Table, Width, presets};
use serde_json::{Value, json};

use super::source::Read;
use super::time;
use crate::cli::Output;
use crate::cli::print;
use anyhow::Result;

/// The columns of a listing, and how wide each is at least: pages are printed one by one and should stand under each other.
const COLUMNS: [(&str, u16); 9] = [
    ("seq", 8),
    ("time", 22),
    ("kind", 12),
    ("call", 39),
    ("subject", 12),
    ("tool", 16),
    ("result", 12),
    ("why", 12),
    ("policies", 10),
];

/// A record as one object.
pub fn row(read: &Read) -> Value {
    let (head, hash) = (&read.record.head, &read.record.hash);
    let mut row = json!({
        "seq": head.seq, "at_ms": head.at.as_millis(), "kind": head.kind.as_str(), "call": head.call, "hash": hash,
        "generation": head.generation, "policy": head.policy, "body": body(read),
    });
    if let Some(gone) = read.line.gone() {
        row["gone"] = gone.into();
    }
    row
}

/// What a record says; null if that is gone.
pub fn body(read: &Read) -> Value {
    read.record.body.as_deref().map(|body| serde_json::from_slice(body).unwrap_or_default()).unwrap_or_default()
}

/// How a list is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// JSON is one array, closed at the end.
    Array,
    /// JSON is one object a line, for a list without end.
    Lines,
}

/// A list that is printed page by page.
pub struct Listing {
    output: Output,
    frame: Frame,
    is_empty: bool,
}

impl Listing {
    /// A list with nothing in it yet.
    pub fn new(output: Output, frame: Frame) -> Self {
        Self { output, frame, is_empty: true }
    }

    /// Prints some records; answers whether anybody still reads.
    ///
    /// # Errors
    /// Nothing can be printed.
    pub fn page(&mut self, records: &[Read]) -> Result<bool> {
        let rows: Vec<Value> = records.iter().map(row).collect();
        if rows.is_empty() {
            return Ok(true);
        }
        let is_first = std::mem::replace(&mut self.is_empty, false);
        match (self.output, self.frame) {
            (Output::Table, _) => print::part(&format_args!("{}\n", table(&rows, is_first))),
            (Output::Json, Frame::Lines) => rows.iter().try_fold(true, |_, row| print::part(&format_args!("{row}\n"))),
            (Output::Json, Frame::Array) => {
                let rows: Vec<String> = rows.iter().map(|row| format!("{row:#}")).collect();
                print::part(&format_args!("{}\n{}", if is_first { "[" } else { "," }, rows.join(",\n")))
            }
        }
    }

    /// Closes the list.
    ///
    /// # Errors
    /// Nothing can be printed.
    pub fn end(self) -> Result<()> {
        match (self.output, self.frame, self.is_empty) {
            (Output::Json, Frame::Array, true) => print::text(&"[]"),
            (Output::Json, Frame::Array, false) => print::text(&"\n]"),
            (Output::Table, _, true) => print::text(&table(&[], true)),
            _ => Ok(()),
        }
    }
}

/// Names come from callers: on a terminal, no control character of theirs may act, nor one that hides or turns around others.
pub fn printable(text: &str) -> String {
    let is_unseen = |c: char| matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e01ef}');
    text.chars().flat_map(|c| if c.is_control() || is_unseen(c) { c.escape_default().collect() } else { vec![c] }).collect()
}

/// A text out of a record, fit for a terminal.
pub fn text(value: &Value) -> String {
    value.as_str().map_or_else(String::new, printable)
}

/// Why a call was let through or not, and what became of its rows, on one line.
fn why(body: &Value) -> String {
    let texts = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(Value::as_str).map(printable).collect()
    };
    let mut parts = texts(&body["policies"]);
    parts.extend(texts(&body["scopes"]["missing"]).into_iter().map(|scope| format!("lacks {scope}")));
    if let (Some(allowed), Some(denied)) = (body["rows"]["allowed"].as_u64(), body["rows"]["denied"].as_u64()) {
        parts.push(format!("{allowed} of {} rows", allowed + denied));
    }
    if body["succeeded_despite_backend_error"] == json!(true) {
        parts.push("despite a failed backend".to_owned());
    }
    parts.join(" ")
}

fn table(rows: &[Value], with_header: bool) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if with_header {
        table.set_header(COLUMNS.map(|(name, _)| name));
    }
    for row in rows {
        let body = &row["body"];
        let result =
            [&body["error"], &body["ended"], &body["code"], &body["decision"]].into_iter().find(|value| value.is_string());
        let result = result.map_or_else(|| admin_action(body), text);
        table.add_row([
            row["seq"].to_string(),
            time::show(row["at_ms"].as_u64().unwrap_or_default()),
            text(&row["kind"]),
            text(&row["call"]),
            text(&body["subject"]),
            text(&body["tool"]),
            if row["gone"].is_string() { text(&row["gone"]) } else { result },
            why(body),
            row["policy"].as_str().map_or_else(String::new, |hash| hash.chars().take(8).collect()),
        ]);
    }
    for (column, (_, width)) in table.column_iter_mut().zip(COLUMNS) {
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width)));
    }
    table
}

/// What an admin's record tells, on one line: `reload (file watch) ~echo 0.1.0 -> 0.2.0 +new.cedar -gone.cedar`.
fn admin_action(body: &Value) -> String {
    let Some(action) = body["action"].as_str() else { return String::new() };
    let mut line = action.to_owned();
    line.extend(
        [&body["source"], &body["verdict"], &body["class"]].into_iter().find_map(Value::as_str).map(|what| format!(" ({what})")),
    );
    for change in body["plugin_changes"].as_array().into_iter().flatten() {
        let (before, after) = (&change["before"], &change["after"]);
        let of = |version: &Value| format!("{} {}", text(&version["plugin"]), text(&version["version"]));
        line += &match (before.is_object(), after.is_object()) {
            (false, _) => format!(" +{}", of(after)),
            (true, false) => format!(" -{}", of(before)),
            (true, true) => format!(" ~{} -> {}", of(before), text(&after["version"])),
        };
    }
    if let Some(plugin) = body["plugin"].as_str() {
        let version = |of: &Value| of["version"].as_str().map_or("none".to_owned(), str::to_owned);
        line.push_str(&format!(" {plugin} {} → {}", version(&body["before"]), version(&body["after"])));
    }
    for (sign, list) in [('+', &body["added"]), ('~', &body["changed"]), ('-', &body["removed"])] {
        let files = list.as_array().into_iter().flatten().filter_map(|file| file["file"].as_str());
        files.for_each(|file| line.extend([' ', sign].into_iter().chain(file.chars())));
    }
    printable(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_control_characters_do_nothing_on_the_operators_terminal() {
        assert_eq!(printable("x\u{1b}[31m\nübel"), "x\\u{1b}[31m\\nübel");
    }
}
