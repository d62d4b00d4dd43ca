//! The crates that a plugin is built from besides its own: those that its manifest names by their paths, and those that they name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// The manifest of a crate.
const MANIFEST: &str = "Cargo.toml";

/// What a build takes from others; what only tests take is not watched.
const TAKEN: [&str; 2] = ["dependencies", "build-dependencies"];

/// The most crates that are followed.
const MAX_CRATES: usize = 100;

/// The folders of the crates that the one in `dir` depends on by path, directly or through others, as far as manifests can be read;
/// without those that lie in `dir`.
pub fn of(dir: &Path) -> BTreeSet<PathBuf> {
    let Ok(dir) = dir.canonicalize() else { return BTreeSet::new() };
    let (mut found, mut ahead) = (BTreeSet::new(), vec![dir.clone()]);
    while let Some(next) = ahead.pop().filter(|_| found.len() < MAX_CRATES) {
        ahead.extend(named_in(&next).into_iter().filter(|named| found.insert(named.clone())));
    }
    found.retain(|folder| !folder.starts_with(&dir));
    found
}

/// The folders of the crates that the manifest in `dir` names by their paths.
fn named_in(dir: &Path) -> Vec<PathBuf> {
    let Some(manifest) = read(dir) else { return Vec::new() };
    let of_targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    let sections = of_targets.filter_map(Value::as_table).chain([&manifest]);
    let tables = sections.flat_map(|section| TAKEN.iter().filter_map(|taken| section.get(*taken)?.as_table()));
    let folders = tables.flatten().filter_map(|(name, dependency)| match dependency.get("workspace").and_then(Value::as_bool) {
        Some(true) => in_workspace(dir, name),
        _ => Some(dir.join(dependency.get("path")?.as_str()?)),
    });
    folders.filter_map(|folder| folder.canonicalize().ok()).collect()
}

/// The folder of the crate that the workspace of the one in `dir` knows under this name, if it names it by its path.
fn in_workspace(dir: &Path, name: &str) -> Option<PathBuf> {
    let mut above = dir.ancestors().filter_map(|above| Some((above, read(above)?)));
    let (root, manifest) = above.find(|(_, manifest)| manifest.contains_key("workspace"))?;
    Some(root.join(manifest.get("workspace")?.get("dependencies")?.get(name)?.get("path")?.as_str()?))
}

fn read(dir: &Path) -> Option<Table> {
    std::fs::read_to_string(dir.join(MANIFEST)).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_named_by_path_are_followed_however_they_are_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().canonicalize().expect("it is there");
        let put = |dir: &str, manifest: &str| {
            std::fs::create_dir_all(root.join(dir)).expect("writable");
            std::fs::write(root.join(dir).join(MANIFEST), manifest).expect("writable");
        };
        put("", "[workspace]\n[workspace.dependencies]\nshared = { path = \"lib/shared\" }\nserde = \"1\"\n");
        put(
            "plugin",
            "[package]\nname = \"plugin\"\n[dependencies]\nserde.workspace = true\nshared.workspace = true\nsdk = { path = \"sdk\" }\n\
             gone = { path = \"../gone\" }\n[target.'cfg(unix)'.dependencies]\nfar = { path = \"../far\" }\n\
             [build-dependencies]\nmade = { path = \"../made\" }\n[dev-dependencies]\ntested = { path = \"../tested\" }\n",
        );
        put("plugin/sdk", "");
        // Each of these names the other.
        put("lib/shared", "[dependencies]\ndeep = { path = \"../deep\" }\n");
        put("lib/deep", "[dependencies]\nshared = { path = \"../shared\" }\n");
        for dir in ["far", "made", "tested"] {
            put(dir, "");
        }
        let expected = ["far", "lib/deep", "lib/shared", "made"].map(|dir| root.join(dir));
        assert_eq!(of(&root.join("plugin")), BTreeSet::from(expected));
        put("plugin", "[dependencies\n");
        assert_eq!(of(&root.join("plugin")), BTreeSet::new());
    }
}
