//! Plugins in Python, built once for all tests.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{command, workspace};

/// The twin of the plugin `invoices`.
pub const TWIN: &str = "plugin-sdk/python/examples/invoices";

/// A plugin that misbehaves.
const SNAKE: &str = "tests/python/guest";

/// The folder that holds the twin alone, built.
pub fn twin() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| built(TWIN, "twin"))
}

/// The folder that holds the misbehaving plugin alone, built.
pub fn snake() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| built(SNAKE, "snake"))
}

fn built(source: &str, name: &str) -> PathBuf {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python").join(name);
    let built = command().current_dir(workspace()).args(["plugin", "build", source, "--out"]).arg(&out).output();
    let built = built.expect("tidegate runs");
    assert!(built.status.success(), "`{source}` does not build:\n{}", String::from_utf8_lossy(&built.stderr));
    out
}
