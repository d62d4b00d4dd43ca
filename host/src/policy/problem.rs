//! Why a set of policies was refused: every problem at once, each with its place in the text and what to do about it.

use std::fmt;

use miette::Diagnostic;
use serde::Serialize;

/// How many problems are printed; one wrong name can break every policy that uses it.
const PRINTED: usize = 20;
/// The longest excerpt of a line, in characters.
const EXCERPT: usize = 120;

/// A set of policies that was refused. Nothing of it is in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct PolicyError {
    problems: Vec<Problem>,
}

/// One thing that is wrong, where it is, and what to do. As JSON its fields stand beside those of its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where in the text; none if the fault is not in a text (an unreadable folder, a manifest).
    #[serde(flatten)]
    pub place: Option<Place>,
    /// What is wrong.
    pub message: String,
    /// What to do about it, when known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// A place in a policy text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file as the operator named it.
    pub file: String,
    /// One-based line.
    pub line: usize,
    /// One-based column, in characters.
    pub column: usize,
    /// The line, or the part of it around the column, on one row.
    pub excerpt: String,
    /// Where in the excerpt the marks start, zero-based, in characters.
    #[serde(skip)]
    marks_at: usize,
    /// How many characters of the excerpt are marked, at least one.
    #[serde(skip)]
    marks: usize,
}

impl PolicyError {
    /// The error with these problems, in the order of their places, each once; none if there is no problem.
    pub(super) fn of(mut problems: Vec<Problem>) -> Option<Self> {
        let key = |problem: &Problem| problem.place.as_ref().map(|place| (place.file.clone(), place.line, place.column));
        problems.sort_by_cached_key(|problem| (key(problem), problem.message.clone()));
        problems.dedup();
        (!problems.is_empty()).then_some(Self { problems })
    }

    /// All problems, in the order of their places.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl From<Problem> for PolicyError {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

impl Problem {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { place: None, message: message.into(), help: None }
    }

    pub(super) fn at(place: Place, message: impl Into<String>) -> Self {
        Self { place: Some(place), message: message.into(), help: None }
    }

    /// What `diagnostic` says about `text`, at its own place or, if it names none, at `otherwise` (offset and length).
    pub(super) fn found(file: &str, text: &str, diagnostic: &dyn Diagnostic, otherwise: (usize, usize)) -> Self {
        let label = diagnostic.labels().and_then(|mut labels| labels.next());
        let (offset, length) = label.map_or(otherwise, |label| (label.offset(), label.len()));
        Self {
            place: Some(Place::new(file, text, offset, length)),
            message: diagnostic.to_string(),
            help: diagnostic.help().map(|help| help.to_string()),
        }
    }

    #[must_use]
    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

impl Place {
    /// The place of `length` bytes at byte `offset` of `text`. Offsets inside or past the end of a character are moved back.
    pub(super) fn new(file: &str, text: &str, offset: usize, length: usize) -> Self {
        let start = text.floor_char_boundary(offset);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let end = text.floor_char_boundary(start.saturating_add(length)).clamp(start, line_end);
        let column = text[line_start..start].chars().count();
        // A long line shows what is around the column.
        let skipped = if column > EXCERPT * 2 / 3 { column - EXCERPT / 3 } else { 0 };
        Self {
            file: file.to_owned(),
            line: text[..line_start].matches('\n').count() + 1,
            column: column + 1,
            excerpt: text[line_start..line_end]
                .chars()
                .skip(skipped)
                .take(EXCERPT)
                // A control character could rewrite the operator's terminal.
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect::<String>()
                .trim_end()
                .to_owned(),
            marks_at: column - skipped,
            marks: text[start..end].chars().count().clamp(1, EXCERPT - (column - skipped)),
        }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the policies are refused, none of them takes effect")?;
        for problem in self.problems.iter().take(PRINTED) {
            write!(f, "\n\n{problem}")?;
        }
        match self.problems.len().saturating_sub(PRINTED) {
            0 => Ok(()),
            more => write!(f, "\n\nand {more} more"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(place) = &self.place else {
            f.write_str(&self.message)?;
            return self.help.iter().try_for_each(|help| write!(f, "\n  help: {help}"));
        };
        let number = place.line.to_string();
        let gutter = " ".repeat(number.len());
        write!(f, "{}:{number}:{}: {}", place.file, place.column, self.message)?;
        write!(f, "\n{gutter} |\n{number} | {}", place.excerpt)?;
        write!(f, "\n{gutter} | {}{}", " ".repeat(place.marks_at), "^".repeat(place.marks))?;
        self.help.iter().try_for_each(|help| write!(f, "\n{gutter} = help: {help}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_its_line_and_marks_the_fault() {
        let text = "permit (principal, action, resource)\nwhen { context.inptu.x };\n";
        let at = text.find("inptu").expect("it is there");
        let problem = Problem::at(Place::new("walls.cedar", text, at, 5), "no such attribute").help("did you mean `input`?");
        assert_eq!(
            problem.to_string(),
            "walls.cedar:2:16: no such attribute\n  |\n2 | when { context.inptu.x };\n  |                ^^^^^\n  = help: did you mean `input`?"
        );
    }

    proptest::proptest! {
        #[test]
        fn every_place_can_be_printed(text in "(?s).{0,300}", offset in 0usize..1400, length in 0usize..1400) {
            let place = Place::new("file", &text, offset, length);
            proptest::prop_assert!(place.excerpt.chars().count() <= EXCERPT);
            let printed = Problem::at(place, "message").to_string();
            proptest::prop_assert!(printed.contains('^'));
        }
    }
}
