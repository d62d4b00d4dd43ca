//! The layers hold: a module uses only what lies below it, and each engine is named in exactly one module.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Module, layer. A module may use any module of a lower layer, and itself.
const LAYERS: [(&str, u8); 15] = [
    ("main", 5),
    ("cli", 5),
    ("app", 5),
    ("config", 5),
    ("telemetry", 5),
    ("server", 4),
    ("pipeline", 3),
    ("ledger", 2),
    ("registry", 2),
    ("admission", 2),
    ("store", 1),
    ("policy", 1),
    ("sandbox", 1),
    ("outbound", 1),
    ("auth", 1),
];

/// Crate, the only modules that may name it.
const ENGINES: [(&str, &[&str]); 12] = [
    ("sled", &["store"]),
    ("cedar_policy", &["policy"]),
    ("wasmtime", &["sandbox"]),
    ("wasmtime_wasi", &["sandbox"]),
    ("wasmtime_wasi_http", &["sandbox"]),
    ("hyper_rustls", &["outbound", "auth"]),
    ("rustls", &["outbound"]),
    ("oci_client", &["outbound"]),
    ("jsonwebtoken", &["auth"]),
    ("rmcp", &["server"]),
    ("axum", &["server"]),
    ("ureq", &["cli"]),
];

fn sources() -> BTreeMap<PathBuf, String> {
    fn walk(dir: &Path, found: &mut BTreeMap<PathBuf, String>) {
        for entry in std::fs::read_dir(dir).expect("the source folder can be read") {
            let path = entry.expect("the entry can be read").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source file is text");
                found.insert(path, text);
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 30, "only {} source files were found", found.len());
    found
}

/// The top-level module a file belongs to.
fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("it lies in the source folder");
    let first = inside.components().next().expect("it has a name").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

fn layer_of(module: &str) -> u8 {
    match LAYERS.iter().find(|(name, _)| *name == module) {
        Some((_, layer)) => *layer,
        None if module == "model" => 0,
        None => panic!("`{module}` has no layer; give it one in tests/layering.rs"),
    }
}

/// The code of a file without comments and doc links, where naming a module is not using it.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[test]
fn a_module_uses_only_lower_layers() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let module = module_of(&path);
        for (line, content) in code(&text) {
            for used in content.split("crate::").skip(1) {
                let used: String = used.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                // `crate::{a, b}` would hide what is used; the style is one `use` a module.
                assert!(!used.is_empty(), "{}:{line}: write `crate::<module>`", path.display());
                if used != module && layer_of(&used) >= layer_of(&module) && layer_of(&module) < 5 {
                    wrong.push(format!("{}:{line}: `{module}` uses `{used}`", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn each_engine_is_named_in_one_module_only() {
    let mut wrong = Vec::new();
    // Tests may bring a server of their own.
    let is_test = |path: &Path| path.iter().any(|part| part == "tests" || part == "tests.rs");
    for (path, text) in sources().into_iter().filter(|(path, _)| !is_test(path)) {
        let module = module_of(&path);
        for (line, content) in code(&text) {
            for (engine, owners) in ENGINES {
                let named = content.match_indices(engine).any(|(at, _)| {
                    let before = content[..at].chars().next_back();
                    let whole = !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_' || c == '`');
                    whole && content[at + engine.len()..].starts_with("::")
                });
                if named && !owners.contains(&module.as_str()) {
                    wrong.push(format!("{}:{line}: `{module}` names `{engine}`", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_lives_there_and_stays_readable() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if !text.starts_with("//!") {
            wrong.push(format!("{}: opens without a `//!` sentence", path.display()));
        }
        if text.lines().count() > 400 {
            wrong.push(format!("{}: {} lines; which second noun lives in it?", path.display(), text.lines().count()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
