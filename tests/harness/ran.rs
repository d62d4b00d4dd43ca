//! What a run of `tidegate` came to.

use std::path::Path;
use std::process::{Output, Stdio};

use super::command;

/// What a run of `tidegate` came to.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub out: String,
    /// What it said besides.
    pub err: String,
}

impl Ran {
    /// Runs `tidegate` in `folder`, with what cargo builds kept among what tests build.
    pub fn within(folder: &Path, arguments: &[&str]) -> Self {
        let mut run = command();
        run.current_dir(folder).env("CARGO_TARGET_DIR", super::target()).args(arguments).stdin(Stdio::null());
        Self::of(&run.output().expect("tidegate runs"))
    }

    /// What a run came to that has ended.
    pub fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// It was done.
    #[track_caller]
    pub fn done(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// It was refused, and both streams say this together.
    #[track_caller]
    pub fn refused(self, why: &[&str]) -> Self {
        assert_eq!(self.code, Some(1), "{self:#?}");
        let said = format!("{}{}", self.out, self.err);
        why.iter().for_each(|why| assert!(said.contains(why), "`{why}` is not said:\n{said}"));
        self
    }
}
