//! The languages that plugins are written in: what holds for all of them is tested with each.

use std::path::{Path, PathBuf};

use super::Ran;

/// A language that `tidegate new` makes plugins in. The tool of a new one greets: `Hello, Ada!`.
#[derive(Clone, Copy, Debug)]
pub struct Language {
    /// What `--lang` takes.
    pub name: &'static str,
    /// The file with the tool.
    pub source: &'static str,
    /// A text in it, and another one in the place of which it does not build.
    pub mistake: (&'static str, &'static str),
    /// What is said of that.
    pub complaint: [&'static str; 2],
}

/// Crates.
pub const RUST: Language = Language {
    name: "rust",
    source: "src/lib.rs",
    mistake: ("if name.is_empty()", "if nam.is_empty()"),
    complaint: ["E0425", "src/lib.rs"],
};

/// Modules.
pub const PYTHON: Language = Language {
    name: "python",
    source: "app.py",
    mistake: ("if not name:", "if not name"),
    complaint: ["SyntaxError", "app.py\", line "],
};

impl Language {
    /// Makes a new plugin in `folder`; answers where.
    pub fn plugin(&self, folder: &Path, name: &str) -> PathBuf {
        Ran::within(folder, &["new", name, "--lang", self.name]).done();
        folder.join(name)
    }
}

/// Replaces a text in a file by another.
#[track_caller]
pub fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).expect("readable");
    assert!(text.contains(from), "`{from}` is not in `{}`", path.display());
    std::fs::write(path, text.replace(from, to)).expect("writable");
}
