//! Patterns for paths, as people know them from shells.

use fast_glob::glob_match;

use crate::requests::Entry;

/// Removes what a pattern excludes, and all that lies below it. A pattern without a slash or a star is a name at any depth.
pub(crate) fn exclude(entries: Vec<Entry>, patterns: &[String]) -> Vec<Entry> {
    let is_excluded =
        |path: &str| patterns.iter().any(|pattern| glob_match(pattern, path) || glob_match(format!("**/{pattern}"), path));
    let mut gone: Option<String> = None;
    let mut left = Vec::with_capacity(entries.len());
    // Each folder stands before what lies in it.
    for entry in entries {
        if gone.as_ref().is_some_and(|gone| entry.path.starts_with(gone.as_str())) {
            continue;
        }
        match is_excluded(&entry.path) {
            true => gone = Some(format!("{}/", entry.path)),
            false => left.push(entry),
        }
    }
    left
}

/// Whether a path fits a pattern: `*.txt` in the folder itself, `**/*.txt` at any depth.
pub(crate) fn fits(path: &str, pattern: &str) -> bool {
    glob_match(pattern, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests::Kind;

    #[test]
    fn what_is_excluded_takes_along_what_lies_in_it() {
        let entries = [
            "a.txt",
            "node_modules",
            "node_modules/x",
            "node_modules/x/a.js",
            "src",
            "src/a.js",
            "src/node_modules",
            "src/node_modules/b",
        ];
        let left = |patterns: &[&str]| {
            let entries = entries.map(|path| Entry { path: path.into(), kind: Kind::File, size: 0 }).to_vec();
            let patterns: Vec<_> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
            exclude(entries, &patterns).into_iter().map(|entry| entry.path).collect::<Vec<_>>()
        };
        assert_eq!(left(&["node_modules"]), ["a.txt", "src", "src/a.js"]);
        assert_eq!(left(&["*.js"]), ["a.txt", "node_modules", "node_modules/x", "src", "src/node_modules", "src/node_modules/b"]);
        assert_eq!(left(&["src/**"]), ["a.txt", "node_modules", "node_modules/x", "node_modules/x/a.js", "src"]);
        assert_eq!(left(&[]).len(), 8);
    }

    #[test]
    fn a_star_stays_in_its_folder_and_two_do_not() {
        for (pattern, path, is_fit) in [
            ("*.txt", "a.txt", true),
            ("*.txt", "b/a.txt", false),
            ("**/*.txt", "a.txt", true),
            ("**/*.txt", "b/c/a.txt", true),
            ("b/*", "b/.hidden", true),
            ("{a,b}.md", "b.md", true),
            ("a", "ab", false),
        ] {
            assert_eq!(fits(path, pattern), is_fit, "{pattern} {path}");
        }
    }
}
