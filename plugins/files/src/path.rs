//! Paths as callers write them: a directory's name, then names below it, in one spelling.

use tidegate_plugin_sdk::Failure;

/// A path in one of the directories.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path<'p>(&'p str);

impl<'p> Path<'p> {
    /// A path as a caller writes it.
    ///
    /// There is one spelling for each file, so that a policy that speaks of `docs/*` is not got around with another: no slash at the
    /// start or at the end, no empty name, no `.` and no `..`.
    pub(crate) fn parse(path: &'p str) -> Result<Self, Failure> {
        let wrong = |problem: &str, hint: &str| {
            let hint = if hint.is_empty() { String::new() } else { format!("; write `{hint}`") };
            Err(Failure::invalid_arguments(format!(
                "`{path}` {problem}{hint}. A path starts with the name of a directory; list_allowed_directories names them"
            )))
        };
        let plain: Vec<_> = path.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
        let leads_up = plain.contains(&"..");
        let hint = if leads_up { String::new() } else { plain.join("/") };
        if leads_up {
            return wrong("holds `..`, which leads nowhere here", "");
        }
        if path.is_empty() || hint.is_empty() {
            return wrong("names nothing", "");
        }
        if path.starts_with('/') {
            return wrong("starts with a slash, but paths of the host's machine are not known here", &hint);
        }
        if hint != path {
            return wrong("has names that are empty or `.`", &hint);
        }
        if path.chars().any(char::is_control) {
            return wrong("holds a control character", "");
        }
        Ok(Self(path))
    }

    /// The path itself.
    pub(crate) fn as_str(self) -> &'p str {
        self.0
    }

    /// Its names, the directory's first.
    pub(crate) fn names(self) -> Vec<&'p str> {
        self.0.split('/').collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_spelling() {
        assert_eq!(Path::parse("docs/a b/ü.txt").map(Path::names), Ok(vec!["docs", "a b", "ü.txt"]));
        assert_eq!(Path::parse("docs").map(Path::names), Ok(vec!["docs"]));
        for (path, hint) in [
            ("/docs/a", "write `docs/a`"),
            ("docs/", "write `docs`"),
            ("./docs", "write `docs`"),
            ("docs//a", "write `docs/a`"),
            ("docs/./a", "write `docs/a`"),
            ("docs/../notes", "`..`"),
            ("..", "`..`"),
            ("/docs/../a", "`..`"),
            ("", "names nothing"),
            (".", "names nothing"),
            ("/", "names nothing"),
            ("docs/a\nb", "control character"),
        ] {
            let error = Path::parse(path).expect_err(path);
            assert!(error.message.contains(hint) && error.message.contains("list_allowed_directories"), "{path}: {error}");
        }
    }
}
