//! What a set of policies was made from, and how one set in force differs from the one before.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Digest, Timestamp};

/// One file of the policy folder, by content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PolicyFileDigest {
    /// Its name in the folder.
    pub file: String,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
}

/// What made the host look at its policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ChangeSource {
    /// The host started.
    #[serde(rename = "start")]
    Start,
    /// The folder changed.
    #[serde(rename = "file watch")]
    FileWatch,
    /// The process was sent SIGHUP.
    #[serde(rename = "signal")]
    Signal,
}

impl ChangeSource {
    /// The source as records and people spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::FileWatch => "file watch",
            Self::Signal => "signal",
        }
    }
}

/// One set of policies among those that were ever in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyVersion {
    /// The generation it belongs to. Numbers start again with every process.
    pub generation: u64,
    /// The hash of the set: schema and all policy texts.
    pub policies: Digest,
}

/// That a set of policies takes effect, and what of it is new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyChange {
    /// What made the host look.
    pub source: ChangeSource,
    /// What was in force; none if nothing is known of that.
    pub before: Option<PolicyVersion>,
    /// What is in force from now on.
    pub after: PolicyVersion,
    /// The files of the folder, by name.
    pub files: Vec<PolicyFileDigest>,
    /// Which of them were not there before.
    pub added: Vec<PolicyFileDigest>,
    /// Which of them had another content.
    pub changed: Vec<PolicyFileDigest>,
    /// Those that were there and are no longer.
    pub removed: Vec<PolicyFileDigest>,
}

impl PolicyChange {
    /// The change from `before` with the files `earlier` to `after` with the files `now`.
    pub fn new(
        source: ChangeSource,
        (before, earlier): (Option<PolicyVersion>, &[PolicyFileDigest]),
        (after, now): (PolicyVersion, &[PolicyFileDigest]),
    ) -> Self {
        let by_name = |files: &[PolicyFileDigest]| -> BTreeMap<String, Digest> {
            files.iter().map(|file| (file.file.clone(), file.sha256)).collect()
        };
        let (old, new) = (by_name(earlier), by_name(now));
        let only = |files: &[PolicyFileDigest], keep: &dyn Fn(&PolicyFileDigest) -> bool| -> Vec<PolicyFileDigest> {
            files.iter().filter(|file| keep(file)).cloned().collect()
        };
        Self {
            source,
            before,
            after,
            files: now.to_vec(),
            added: only(now, &|file| !old.contains_key(&file.file)),
            changed: only(now, &|file| old.get(&file.file).is_some_and(|digest| *digest != file.sha256)),
            removed: only(earlier, &|file| !new.contains_key(&file.file)),
        }
    }
}

/// One thing that is wrong with policies: where, what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyProblem {
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

/// That a set of policies was refused: what was in force stays in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRefusal {
    /// When.
    pub at: Timestamp,
    /// What made the host look.
    pub source: ChangeSource,
    /// The first things that are wrong, shortened.
    pub problems: Vec<PolicyProblem>,
    /// How many more there are.
    pub more: usize,
}

impl PolicyRefusal {
    /// The most problems kept.
    pub const MAX_PROBLEMS: usize = 20;

    /// The longest message or help kept, in bytes.
    const MAX_TEXT: usize = 1024;

    /// The refusal for these problems.
    pub fn new(at: Timestamp, source: ChangeSource, problems: Vec<PolicyProblem>) -> Self {
        let more = problems.len().saturating_sub(Self::MAX_PROBLEMS);
        let clip = |mut text: String| {
            text.truncate(text.floor_char_boundary(Self::MAX_TEXT));
            text
        };
        let kept = problems.into_iter().take(Self::MAX_PROBLEMS);
        let problems =
            kept.map(|problem| PolicyProblem { message: clip(problem.message), help: problem.help.map(clip), ..problem });
        Self { at, source, problems: problems.collect(), more }
    }
}

impl PolicyProblem {
    /// A problem without a place.
    pub fn new(message: impl Into<String>) -> Self {
        Self { file: None, line: None, column: None, excerpt: None, message: message.into(), help: None }
    }
}

impl fmt::Display for PolicyProblem {
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

    fn file(name: &str, content: u8) -> PolicyFileDigest {
        PolicyFileDigest { file: name.into(), sha256: Digest([content; 32]) }
    }

    #[test]
    fn a_change_names_each_file_that_is_new_other_or_gone() {
        let before = [file("a.cedar", 1), file("b.cedar", 2), file("c.cedar", 3)];
        let now = [file("a.cedar", 1), file("b.cedar", 9), file("d.cedar", 4)];
        let version = PolicyVersion { generation: 2, policies: Digest([0; 32]) };
        let change = PolicyChange::new(ChangeSource::FileWatch, (None, &before), (version, &now));
        assert_eq!(change.added, [file("d.cedar", 4)]);
        assert_eq!(change.changed, [file("b.cedar", 9)]);
        assert_eq!(change.removed, [file("c.cedar", 3)]);
        assert_eq!(change.files, now);
    }

    #[test]
    fn a_refusal_keeps_only_so_much() {
        let problem = PolicyProblem::new("ü".repeat(2000));
        let refusal = PolicyRefusal::new(Timestamp(0), ChangeSource::Signal, vec![problem; 50]);
        assert_eq!((refusal.problems.len(), refusal.more), (20, 30));
        assert!(refusal.problems.iter().all(|problem| problem.message.len() <= 1024));
    }
}
