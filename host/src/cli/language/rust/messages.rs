//! What cargo and the compiler tell while they build: for people at once, and what of it there is to remember.

use std::io::{BufRead, IsTerminal as _};
use std::path::Path;

use serde_json::Value;

use crate::model::LoadProblem;

/// What is remembered of a build.
#[derive(Default)]
pub struct Messages {
    /// What was made of one crate, as cargo tells it.
    pub artifacts: Vec<Value>,
    /// What stands against building.
    pub problems: Vec<LoadProblem>,
}

impl Messages {
    /// The flag by which cargo tells it so that it can be read.
    pub fn format() -> [&'static str; 2] {
        let is_colored = std::io::stderr().is_terminal();
        ["--message-format", if is_colored { "json-diagnostic-rendered-ansi" } else { "json" }]
    }

    /// Reads what cargo tells, to its end. What the compiler says goes to stderr; the artifacts are those of the crate with this
    /// manifest.
    pub fn read(told: impl BufRead, manifest: &Path) -> Self {
        let mut messages = Self::default();
        for line in told.lines().map_while(Result::ok) {
            // What a build script prints may come in between.
            let Ok(mut message) = serde_json::from_str::<Value>(&line) else { continue };
            match message["reason"].as_str() {
                Some("compiler-message") => messages.hear(&message["message"].take()),
                Some("compiler-artifact") if message["manifest_path"].as_str().map(Path::new) == Some(manifest) => {
                    messages.artifacts.push(message);
                }
                _ => {}
            }
        }
        messages
    }

    fn hear(&mut self, said: &Value) {
        eprint!("{}", said["rendered"].as_str().unwrap_or_default());
        self.problems.extend(problem(said));
    }
}

/// What the compiler refuses, if it does; where it is, and what to do.
fn problem(said: &Value) -> Option<LoadProblem> {
    // The last one only counts the others.
    let spans = said["spans"].as_array().filter(|_| said["level"] == "error")?;
    let span = spans.iter().find(|span| span["is_primary"] == true)?;
    let number = |name: &str| span[name].as_u64().and_then(|number| usize::try_from(number).ok());
    let text = |value: &Value| value.as_str().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let code = text(&said["code"]["code"]).map_or_else(String::new, |code| format!("[{code}]"));
    let label = text(&span["label"]).unwrap_or_default();
    let (more, help) = match label.strip_prefix("help: ") {
        Some(help) => (String::new(), Some(help.to_owned())),
        None if label.is_empty() => (String::new(), None),
        None => (format!(": {label}"), None),
    };
    let advice =
        || said["children"].as_array()?.iter().find(|child| child["level"] == "help").and_then(|child| text(&child["message"]));
    Some(LoadProblem {
        file: text(&span["file_name"]),
        line: number("line_start"),
        column: number("column_start"),
        excerpt: text(&span["text"][0]["text"]),
        message: format!("error{code}: {}{more}", said["message"].as_str().unwrap_or_default()),
        help: help.or_else(advice),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_compiler_refuses_is_remembered_with_its_place_and_only_own_artifacts_are() {
        let error = json!({ "reason": "compiler-message", "message": {
            "rendered": "", "level": "error", "code": { "code": "E0425" }, "message": "cannot find value `nam` in this scope",
            "spans": [{ "is_primary": true, "file_name": "src/lib.rs", "line_start": 33, "column_start": 12,
                "text": [{ "text": "        if nam.is_empty() {" }], "label": "not found in this scope" }],
            "children": [{ "level": "note", "message": "of no use" }, { "level": "help", "message": "a local variable is called `name`" }] } });
        let of_warning = |level: &str| {
            let mut other = error.clone();
            other["message"]["level"] = json!(level);
            other
        };
        let total = json!({ "reason": "compiler-message", "message": { "rendered": "", "level": "error", "message": "aborting", "spans": [] } });
        let artifact = |manifest: &str| json!({ "reason": "compiler-artifact", "manifest_path": manifest });
        let lines = [error.clone(), of_warning("warning"), total, artifact("/a/Cargo.toml"), artifact("/b/Cargo.toml")];
        let told = lines.map(|line| line.to_string()).join("\n") + "\nprinted by a build script\n";
        let Messages { artifacts, problems } = Messages::read(told.as_bytes(), Path::new("/a/Cargo.toml"));
        assert_eq!(artifacts, [artifact("/a/Cargo.toml")]);
        let [problem] = &problems[..] else { panic!("{problems:?}") };
        assert_eq!(
            problem.to_string(),
            "src/lib.rs:33:12: error[E0425]: cannot find value `nam` in this scope: not found in this scope\n  | if nam.is_empty() {\n  \
             help: a local variable is called `name`"
        );
    }
}
