//! The plugins and guests of this workspace, built once for all tests.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::command;

/// The workspace's root.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the host lies in the workspace")
}

/// The target folder of this workspace: what new plugins depend on is built there already, in the same versions.
pub fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies in the target folder")
}

/// A folder with the built plugins `names`, and nothing else.
pub fn plugins(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in names {
        copy(&built().join(name), &folder.path().join(name));
    }
    folder
}

/// The folder of one built plugin or guest; do not write to it.
pub fn guest(name: &str) -> PathBuf {
    built().join(name)
}

/// Copies one plugin folder.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the folder can be made");
    for entry in std::fs::read_dir(from).unwrap_or_else(|error| panic!("`{}` is not built: {error}", from.display())) {
        let path = entry.expect("the entry can be read").path();
        std::fs::copy(&path, to.join(path.file_name().expect("it has a name"))).expect("the file can be copied");
    }
}

/// Builds every plugin and guest with the real verb; cargo decides what is fresh.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugins");
        let built = command()
            .current_dir(workspace())
            .args(["plugin", "build", "plugins", "tests/guests", "--out"])
            .arg(&out)
            .output()
            .expect("tidegate runs");
        assert!(built.status.success(), "plugins do not build:\n{}", String::from_utf8_lossy(&built.stderr));
        out
    })
}
