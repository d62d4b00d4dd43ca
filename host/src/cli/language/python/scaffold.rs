//! A new plugin in Python, and the SDK it is built with: the files this program carries.

use std::borrow::Cow;

use crate::cli::language::sdk::Sdk;

/// The parts of the SDK as they lie in this repository, and where they go in the SDK's folder.
macro_rules! sources {
    ($from:literal, $to:literal: $($file:literal),+ $(,)?) => {
        [$((concat!($to, $file), include_str!(concat!("../../../../../plugin-sdk/python/", $from, $file)))),+]
    };
}

const MODULES: [(&str, &str); 16] = sources![
    "tidegate/", "python/tidegate/":
    "__init__.py",
    "ask.py",
    "code.py",
    "component.py",
    "content.py",
    "context.py",
    "data.py",
    "failure.py",
    "hints.py",
    "http.py",
    "http_wasi.py",
    "py.typed",
    "row_filter.py",
    "schema.py",
    "testing.py",
    "tool.py",
];

/// What the builder makes the bindings from, beside the contract.
const WORLD: [(&str, &str); 4] =
    sources!["wit/", "wit/": "component.wit", "deps/wasi-clocks.wit", "deps/wasi-http.wit", "deps/wasi-io.wit"];

/// The contract.
const CONTRACT: &str = include_str!("../../../../../wit/plugin.wit");

/// The files of a new plugin, with its name and that of its tool left open.
const TEMPLATE: [(&str, &str); 6] = [
    ("app.py", include_str!("../../../../../templates/python/app.py")),
    ("plugin.toml", include_str!("../../../../../templates/python/plugin.toml")),
    ("tests/test_app.py", include_str!("../../../../../templates/python/tests/test_app.py")),
    ("pyproject.toml", include_str!("../../../../../templates/python/pyproject.toml")),
    ("README.md", include_str!("../../../../../templates/python/README.md")),
    (".gitignore", include_str!("../../../../../templates/python/gitignore")),
];

/// What can't be the name of a function, or already is that of something else in the plugin's module.
const TAKEN: [&str; 35] = [
    "and",
    "as",
    "assert",
    "async",
    "await",
    "break",
    "class",
    "code",
    "continue",
    "dataclass",
    "def",
    "del",
    "elif",
    "else",
    "except",
    "finally",
    "for",
    "from",
    "global",
    "if",
    "import",
    "in",
    "is",
    "lambda",
    "nonlocal",
    "not",
    "or",
    "pass",
    "raise",
    "return",
    "tool",
    "try",
    "while",
    "with",
    "yield",
];

/// The files of a new plugin.
pub fn files(name: &str) -> Vec<(&'static str, String)> {
    let tool = name.replace('-', "_");
    let filled = |text: &str| text.replace("{{name}}", name).replace("{{tool}}", &tool);
    TEMPLATE.iter().map(|(path, text)| (*path, filled(text))).collect()
}

/// The SDK.
pub fn sdk() -> Sdk {
    let files = MODULES.iter().chain(&WORLD).map(|(path, text)| (*path, Cow::Borrowed(*text)));
    Sdk { files: files.chain([("wit/deps/tidegate-plugin.wit", Cow::Borrowed(CONTRACT))]).collect() }
}

/// Why no tool in Python can have this name, if none can.
pub fn reserves(name: &str) -> Option<&'static str> {
    TAKEN.contains(&name).then_some("it is a word of Python's, or of the SDK's")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn no_source_of_the_sdk_is_left_behind() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugin-sdk/python");
        let in_folder = |name: &str| {
            let entries = std::fs::read_dir(folder.join(name)).expect("readable").map(|entry| entry.expect("readable").path());
            let files: Vec<_> = entries.filter(|path| path.is_file()).collect();
            files.into_iter().map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
        };
        let mut expected: Vec<_> = in_folder("tidegate").map(|file| format!("python/tidegate/{file}")).collect();
        expected.extend(in_folder("wit").map(|file| format!("wit/{file}")));
        expected.extend(in_folder("wit/deps").map(|file| format!("wit/deps/{file}")));
        expected.sort();
        let mut carried: Vec<_> = MODULES.iter().chain(&WORLD).map(|(path, _)| (*path).to_owned()).collect();
        carried.sort();
        assert_eq!(carried, expected);
    }

    #[test]
    fn nothing_in_a_new_plugin_is_left_open() {
        for (path, text) in files("my-tool") {
            assert!(!text.contains("{{"), "{path}: {text}");
        }
    }
}
