//! A new plugin in Rust, and the SDK it is built with: the files this program carries.

use std::borrow::Cow;

use super::lock;
use crate::cli::language::sdk::Sdk;

/// The parts of the SDK as they lie in this repository, and where they go in the SDK's folder.
macro_rules! sources {
    ($($file:literal),+ $(,)?) => {
        [$((concat!("rust/src/", $file), include_str!(concat!("../../../../../plugin-sdk/src/", $file)))),+]
    };
}

const SOURCES: [(&str, &str); 20] = sources![
    "ask.rs",
    "ask_tests.rs",
    "content.rs",
    "context.rs",
    "failure.rs",
    "form.rs",
    "http.rs",
    "http_tests.rs",
    "http_wasi.rs",
    "lib.rs",
    "plugin.rs",
    "row_filter.rs",
    "schema.rs",
    "testing/answers.rs",
    "testing/link.rs",
    "testing/mod.rs",
    "testing/script.rs",
    "testing/tests.rs",
    "tool.rs",
    "wasm.rs",
];

/// The manifest of the SDK, which leans on this workspace's.
const SDK_MANIFEST: &str = include_str!("../../../../../plugin-sdk/Cargo.toml");

/// The manifest of this workspace.
const WORKSPACE: &str = include_str!("../../../../../Cargo.toml");

/// The contract that the SDK's bindings are made from.
const CONTRACT: &str = include_str!("../../../../../wit/plugin.wit");

/// The toolchain that all of this is tested with.
const TOOLCHAIN: &str = include_str!("../../../../../rust-toolchain.toml");

/// The files of a new plugin, with its name and that of its tool left open.
const TEMPLATE: [(&str, &str); 5] = [
    ("Cargo.toml", include_str!("../../../../../templates/rust/Cargo.toml")),
    ("plugin.toml", include_str!("../../../../../templates/rust/plugin.toml")),
    ("src/lib.rs", include_str!("../../../../../templates/rust/src/lib.rs")),
    ("README.md", include_str!("../../../../../templates/rust/README.md")),
    (".gitignore", include_str!("../../../../../templates/rust/gitignore")),
];

/// What cargo or the plugin's own source would take for something else, beside Rust's keywords.
const TAKEN: [&str; 10] =
    ["alloc", "core", "proc_macro", "std", "test", "schemars", "serde", "serde_json", "tidegate-plugin-sdk", "sdk"];

/// Rust's keywords, strict and reserved (The Rust Reference, Keywords).
const KEYWORDS: [&str; 52] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else", "enum",
    "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod", "move", "mut",
    "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "typeof",
    "union", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// The files of a new plugin.
pub fn files(name: &str) -> Vec<(&'static str, String)> {
    // MCP takes hyphens in the names of tools; not all clients do.
    let tool = name.replace('-', "_");
    let filled = |text: &str| text.replace("{{name}}", name).replace("{{tool}}", &tool);
    let mut files: Vec<_> = TEMPLATE.iter().map(|(path, text)| (*path, filled(text))).collect();
    files.push(("rust-toolchain.toml", TOOLCHAIN.to_owned()));
    files.push(("Cargo.lock", lock::of_plugin(name)));
    files
}

/// The SDK.
pub fn sdk() -> Sdk {
    let mut files: Vec<(_, Cow<'static, str>)> = SOURCES.iter().map(|(path, text)| (*path, Cow::Borrowed(*text))).collect();
    files.push(("rust/Cargo.toml", standing_alone(SDK_MANIFEST, WORKSPACE).into()));
    files.push(("wit/plugin.wit", CONTRACT.into()));
    Sdk { files }
}

/// Why no crate can have this name, if none can.
pub fn reserves(name: &str) -> Option<&'static str> {
    if KEYWORDS.contains(&name) {
        return Some("it is a word of Rust's");
    }
    TAKEN.contains(&name).then_some("a crate of that name is there already")
}

/// The manifest of a member of a workspace, with what it takes from there written out.
fn standing_alone(member: &str, workspace: &str) -> String {
    let workspace = &workspace[workspace.find("[workspace.package]").unwrap_or(0)..];
    let of_workspace = |key: &str| workspace.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
    let lines = member.replace("[lints]\nworkspace = true\n\n", "");
    let lines = lines.lines().map(|line| {
        let named = line.strip_suffix(".workspace = true").or_else(|| line.strip_suffix(" = { workspace = true }"));
        match named.and_then(|key| Some((key, of_workspace(key)?))) {
            Some((key, value)) => format!("{key} = {value}\n"),
            None => format!("{line}\n"),
        }
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn no_source_of_the_sdk_is_left_behind() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugin-sdk/src");
        let mut expected = Vec::new();
        let mut folders = vec![folder.clone()];
        while let Some(next) = folders.pop() {
            for entry in std::fs::read_dir(next).expect("readable") {
                let path = entry.expect("readable").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    expected.push(format!("rust/src/{}", path.strip_prefix(&folder).expect("below it").display()));
                }
            }
        }
        expected.sort();
        let mut carried: Vec<_> = SOURCES.iter().map(|(path, _)| (*path).to_owned()).collect();
        carried.sort();
        assert_eq!(carried, expected);
    }

    #[test]
    fn the_sdk_stands_without_this_workspace() {
        let sdk = sdk();
        let (_, manifest) = sdk.files.iter().find(|(path, _)| *path == "rust/Cargo.toml").expect("it is carried");
        assert!(!manifest.contains("workspace"), "{manifest}");
        let manifest: toml::Table = manifest.parse().expect("TOML");
        assert_eq!(manifest["package"]["version"].as_str(), Some(env!("CARGO_PKG_VERSION")));
        assert_eq!(manifest["dependencies"]["serde"]["features"][0].as_str(), Some("derive"));
        assert!(manifest["dependencies"]["schemars"].is_str());
    }

    #[test]
    fn nothing_in_a_new_plugin_is_left_open() {
        for (path, text) in files("my-tool") {
            assert!(!text.contains("{{"), "{path}: {text}");
        }
    }
}
