//! Files of cases for `tidegate policy test`: who calls what, and what should come of it.
//!
//! ```toml
//! [[case]]
//! name = "clerks see their own invoices"
//! as = { subject = "u1", scopes = ["read:invoices"], groups = ["clerks"], claims = { region = "eu" } }
//! tool = "list_invoices"
//! args = { user_id = "u1" }
//! expect = "allow"
//! by = ["clerks-read"]
//! rows = [{ resource = "invoices", row = { user_id = "u2" }, expect = "deny" }]
//! ```

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use toml::Spanned;

use super::caller::Caller;
use crate::model::{DocumentError, ToolName, document};

/// What the names of files with cases end with.
const SUFFIX: &str = ".test.toml";

/// One case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it is about.
    pub name: Spanned<String>,
    /// Who calls.
    #[serde(rename = "as")]
    pub caller: Caller,
    /// The tool.
    pub tool: Spanned<ToolName>,
    /// With which arguments; none by default.
    #[serde(default)]
    pub args: Map<String, Value>,
    /// What should come of it.
    pub expect: Outcome,
    /// Policies that should be among those that determine the decision.
    #[serde(default)]
    pub by: Vec<Spanned<String>>,
    /// Rows, and what should come of each if the call's result held it.
    #[serde(default)]
    pub rows: Vec<RowCase>,
}

/// One row of a case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowCase {
    /// The resource it is a row of.
    pub resource: Spanned<String>,
    /// Its attributes.
    pub row: Value,
    /// Whether it should pass.
    pub expect: RowOutcome,
}

/// What comes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is let through.
    Allow,
    /// The policies say no.
    Deny,
    /// The caller must not know that there is such a tool.
    Hidden,
    /// Scopes are missing.
    InsufficientScope,
    /// The arguments do not fit the tool's schema, so no policy is asked.
    InvalidArguments,
}

/// What comes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RowOutcome {
    /// It passes.
    Allow,
    /// It is left out.
    Deny,
}

/// A file of cases.
pub struct CaseFile {
    /// The file, as it was named.
    pub path: PathBuf,
    /// Its cases, as they stand.
    pub cases: Vec<Case>,
    text: String,
}

impl CaseFile {
    /// The file at `path`, or every `*.test.toml` in the folder at `path`, by name.
    ///
    /// # Errors
    /// Nothing can be read, or a file is broken; the text says where.
    pub fn read_all(path: &Path) -> Result<Vec<Self>> {
        if !path.is_dir() {
            return Ok(vec![Self::read(path)?]);
        }
        let unreadable = || format!("can't read `{}`", path.display());
        let entries = std::fs::read_dir(path).with_context(unreadable)?;
        let mut paths = Vec::new();
        for entry in entries {
            let entry = entry.with_context(unreadable)?;
            if entry.file_name().to_string_lossy().ends_with(SUFFIX) {
                paths.push(entry.path());
            }
        }
        if paths.is_empty() {
            bail!("`{}` holds no cases: write some into `{}`", path.display(), path.join(format!("cases{SUFFIX}")).display());
        }
        paths.sort();
        paths.iter().map(|path| Self::read(path)).collect()
    }

    fn read(path: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Cases {
            #[serde(default, rename = "case")]
            cases: Vec<Case>,
        }
        let text = std::fs::read_to_string(path).with_context(|| format!("can't read `{}`", path.display()))?;
        let Cases { cases } = document::parse(path, &text)?;
        if cases.is_empty() {
            bail!("`{}` holds no `[[case]]`", path.display());
        }
        Ok(Self { path: path.to_owned(), cases, text })
    }

    /// The one-based line of something in the file.
    pub fn line<T>(&self, of: &Spanned<T>) -> usize {
        document::position(&self.text, of.span().start).0
    }

    /// That something in the file can't be meant so.
    pub fn error<T>(&self, at: &Spanned<T>, problem: String) -> DocumentError {
        let (line, column) = document::position(&self.text, at.span().start);
        DocumentError { file: self.path.clone(), line, column, problem }
    }
}
