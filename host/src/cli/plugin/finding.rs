//! One thing that stands against a plugin: where, what, and what to do.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::model::{DocumentError, document};
use crate::registry::LoadError;

/// One thing that stands against a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file to look at.
    pub file: String,
    /// One-based line, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// One-based column, in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// What is wrong, and what to do.
    pub problem: String,
}

impl Finding {
    /// Something is wrong with a file as a whole.
    pub fn of_file(file: &Path, problem: String) -> Self {
        Self { file: file.display().to_string(), line: None, column: None, problem }
    }

    /// The plugin in `dir` can't be built.
    pub fn of_build(dir: &Path, error: &anyhow::Error) -> Self {
        match error.downcast_ref::<DocumentError>() {
            Some(error) => Self::from(error.clone()),
            None => Self::of_file(dir, format!("{error:#}")),
        }
    }

    /// What a host refused the plugin in `dir` for.
    pub fn of_load(dir: &Path, error: &LoadError) -> Vec<Self> {
        let path = dir.join("plugin.toml");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let in_manifest = |problem: String| {
            let (line, column) = place(&text, &problem).unzip();
            Self { file: path.display().to_string(), line, column, problem }
        };
        match error {
            LoadError::Manifest(error) => vec![Self::from(error.clone())],
            LoadError::Mismatch { problem, .. } => vec![in_manifest(problem.clone())],
            LoadError::Policy(_) => {
                let told = error.problems().into_iter().map(|problem| match problem.help {
                    Some(help) => format!("{}; {help}", problem.message),
                    None => problem.message,
                });
                told.map(in_manifest).collect()
            }
            other => vec![Self::of_file(dir, other.to_string())],
        }
    }
}

impl From<DocumentError> for Finding {
    fn from(error: DocumentError) -> Self {
        let DocumentError { file, line, column, problem } = error;
        Self { file: file.display().to_string(), line: Some(line), column: Some(column), problem }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (Some(line), Some(column)) => write!(f, "{}:{line}:{column}: {}", self.file, self.problem),
            _ => write!(f, "{}: {}", self.file, self.problem),
        }
    }
}

/// The one-based line and column where the manifest says what the problem is about: the first of the words it quotes that stands there
/// in quotes too, below the plugin's own name.
fn place(manifest: &str, problem: &str) -> Option<(usize, usize)> {
    let tools = manifest.find("[[tool]]").unwrap_or(0);
    let quoted = problem.split('`').skip(1).step_by(2).filter(|word| !word.is_empty());
    let mut places = quoted.filter_map(|word| {
        let word = format!("\"{word}");
        let offset = manifest[tools..].find(&word).map(|at| tools + at).or_else(|| manifest.find(&word))?;
        Some(document::position(manifest, offset))
    });
    places.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_placed_where_the_manifest_names_what_it_is_about() {
        let manifest = "name = \"a\"\n[[tool]]\nname = \"look\"\nscopes = [\"read:things\"]\n";
        assert_eq!(
            place(manifest, "the manifest declares the tool `look`, but the component does not describe it"),
            Some((3, 8))
        );
        assert_eq!(place(manifest, "scope `read:things.where(a=1)` and `read:things`"), Some((4, 11)));
        assert_eq!(place(manifest, "`other`"), None);
    }
}
