//! A result as people read it.

use std::io::IsTerminal as _;

use anyhow::Result;
use comfy_table::{Table, presets};
use serde_json::Value;

use crate::cli::audit::printable;
use crate::cli::print;

/// The most columns of a table that a terminal has room for.
const MAX_COLUMNS: usize = 8;

/// Prints what a tool answered: on a terminal laid out, else word for word.
///
/// # Errors
/// Nothing can be printed.
pub fn result(result: &Value, is_error: bool) -> Result<()> {
    if is_error {
        texts(result).for_each(|text| eprintln!("{text}"));
        return Ok(());
    }
    match &result["structuredContent"] {
        structured @ Value::Object(_) if std::io::stdout().is_terminal() => print::text(&laid_out(structured)),
        _ => texts(result).try_for_each(|text| print::text(&text)),
    }
}

/// The blocks of content, those that are no text as JSON.
fn texts(result: &Value) -> impl Iterator<Item = String> {
    let blocks = result["content"].as_array().into_iter().flatten();
    blocks.map(|block| block["text"].as_str().map_or_else(|| block.to_string(), str::to_owned))
}

/// Rows as a table, anything else as indented JSON.
fn laid_out(structured: &Value) -> String {
    let members: Vec<_> = structured.as_object().into_iter().flatten().collect();
    let tables: Vec<_> = members.iter().filter_map(|(key, value)| Some((*key, table(value)?))).collect();
    let [(rows, table)] = &tables[..] else { return pretty(structured) };
    let others = members.iter().filter(|(key, _)| key != rows);
    let others: String = others.map(|(key, value)| format!("\n{}: {}", printable(key), cell(value))).collect();
    format!("{table}{others}")
}

/// A list of flat objects as a table.
fn table(rows: &Value) -> Option<Table> {
    let rows = rows.as_array().filter(|rows| !rows.is_empty())?;
    let mut columns: Vec<&str> = Vec::new();
    for row in rows {
        for (key, value) in row.as_object()? {
            if value.is_object() || value.is_array() {
                return None;
            }
            if !columns.contains(&key.as_str()) {
                columns.push(key);
            }
        }
    }
    if columns.len() > MAX_COLUMNS {
        return None;
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(columns.iter().map(|column| printable(column)));
    for row in rows {
        table.add_row(columns.iter().map(|column| row.get(column).map_or_else(String::new, cell)));
    }
    Some(table)
}

fn cell(value: &Value) -> String {
    printable(&value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

/// Indented JSON in which nothing can act on a terminal: JSON escapes what controls one, and this what hides.
fn pretty(value: &Value) -> String {
    format!("{value:#}").lines().map(printable).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_become_a_table_and_what_stands_beside_them_stays() {
        let shown =
            laid_out(&json!({ "invoices": [{ "id": "a", "cents": 5 }, { "id": "b\u{1b}[2J", "note": null }], "more": true }));
        let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["id", "cents", "note"], "{shown}");
        assert_eq!(lines[1], ["a", "5"], "{shown}");
        assert_eq!(lines.last().expect("lines"), &["more:", "true"], "{shown}");
        assert!(!shown.contains('\u{1b}'), "{shown}");
    }

    #[test]
    fn what_is_no_table_is_indented() {
        assert_eq!(laid_out(&json!({ "greeting": "Hello" })), "{\n  \"greeting\": \"Hello\"\n}");
        let nested = json!({ "rows": [{ "deep": { "a": 1 } }] });
        assert_eq!(laid_out(&nested), format!("{nested:#}"));
    }
}
