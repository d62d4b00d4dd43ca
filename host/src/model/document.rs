//! A TOML document read strictly: unknown keys are errors with a did-you-mean, and every error names file, line and column.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// Why a document was refused, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}:{column}: {problem}", .file.display())]
pub struct DocumentError {
    /// The file as the user named it.
    pub file: PathBuf,
    /// One-based line.
    pub line: usize,
    /// One-based column, in characters.
    pub column: usize,
    /// What is wrong and what to do.
    pub problem: String,
}

/// Reads `text` as TOML into `T`, whose types must refuse unknown fields.
///
/// # Errors
/// Broken TOML, an unknown key, a missing key, or a value of the wrong kind, with its place in `file`.
pub fn parse<T: DeserializeOwned>(file: &Path, text: &str) -> Result<T, DocumentError> {
    toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start).min(text.len());
        let (line, column) = position(text, offset);
        DocumentError { file: file.to_owned(), line, column, problem: with_suggestion(error.message().trim_end()) }
    })
}

/// The candidate nearest to `word`, if any is near enough to be what was meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(word.len()) / 4)
        .map(|(_, candidate)| candidate)
}

/// Serde lists the fields it expected; naming the likeliest first saves the reader the search.
fn with_suggestion(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let suggestion = match (message.starts_with("unknown "), quoted.next()) {
        (true, Some(unknown)) => nearest(unknown, quoted),
        _ => None,
    };
    match suggestion {
        Some(candidate) => format!("{message}; did you mean `{candidate}`?"),
        None => message.to_owned(),
    }
}

/// The one-based line and column, in characters, of the byte at `offset`.
pub fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[expect(dead_code, reason = "only its name matters")]
        deadline: String,
    }

    #[test]
    fn an_unknown_key_names_its_place_and_the_key_that_was_meant() {
        let error = parse::<Sample>(Path::new("plugin.toml"), "# limits\ndeadlin = \"1s\"\n").expect_err("misspelt");
        assert_eq!((error.line, error.column), (2, 1));
        assert!(error.to_string().starts_with("plugin.toml:2:1: unknown field `deadlin`"), "{error}");
        assert!(error.to_string().ends_with("did you mean `deadline`?"), "{error}");
    }

    #[test]
    fn a_word_far_from_every_candidate_suggests_nothing() {
        assert_eq!(nearest("colour", ["deadline", "fuel"]), None);
    }
}
