//! Why plugins or policies that were found can't take effect: what is wrong, where, and what to do.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ChangeSource, Part, Timestamp};

/// One thing that is wrong with plugins or policies: where, what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadProblem {
    /// The file as it was named; none if the fault is in no file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// One-based line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// One-based column, in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// The line, as far as it is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do about it, when known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// That plugins or policies were refused: what was in force stays in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadRefusal {
    /// When.
    pub at: Timestamp,
    /// What is not in force as it lies there.
    pub part: Part,
    /// What made the host look.
    pub source: ChangeSource,
    /// The first things that are wrong, shortened.
    pub problems: Vec<LoadProblem>,
    /// How many more there are.
    pub more: usize,
}

impl LoadRefusal {
    /// The most problems kept.
    pub const MAX_PROBLEMS: usize = 20;

    /// The longest message or help kept, in bytes.
    const MAX_TEXT: usize = 1024;

    /// The refusal for these problems.
    pub fn new(part: Part, source: ChangeSource, problems: Vec<LoadProblem>) -> Self {
        let more = problems.len().saturating_sub(Self::MAX_PROBLEMS);
        let clip = |mut text: String| {
            text.truncate(text.floor_char_boundary(Self::MAX_TEXT));
            text
        };
        let kept = problems.into_iter().take(Self::MAX_PROBLEMS);
        let problems =
            kept.map(|problem| LoadProblem { message: clip(problem.message), help: problem.help.map(clip), ..problem });
        Self { at: Timestamp::now(), part, source, problems: problems.collect(), more }
    }
}

impl LoadProblem {
    /// A problem without a place.
    pub fn new(message: impl Into<String>) -> Self {
        Self { file: None, line: None, column: None, excerpt: None, message: message.into(), help: None }
    }
}

impl fmt::Display for LoadProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line, self.column) {
            (Some(file), Some(line), Some(column)) => write!(f, "{file}:{line}:{column}: {}", self.message)?,
            _ => f.write_str(&self.message)?,
        }
        self.excerpt.iter().try_for_each(|line| write!(f, "\n  | {line}"))?;
        self.help.iter().try_for_each(|help| write!(f, "\n  help: {help}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_only_so_much() {
        let problem = LoadProblem::new("ü".repeat(2000));
        let refusal = LoadRefusal::new(Part::Policies, ChangeSource::Signal, vec![problem; 50]);
        assert_eq!((refusal.problems.len(), refusal.more), (20, 30));
        assert!(refusal.problems.iter().all(|problem| problem.message.len() <= 1024));
    }
}
