//! From Python to a served plugin: what building, testing and scaffolding do, and what they say when something is wrong.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::json;

use crate::harness::{Host, TWIN, command, twin, workspace};

/// Runs the tests in `folder`, which find `path`, with the system's Python.
fn unittest(folder: &str, path: &[&str]) {
    let path = path.iter().map(|path| workspace().join(path).display().to_string()).collect::<Vec<_>>().join(":");
    let output = Command::new("python3")
        .args(["-m", "unittest", "discover", "--start-directory", "tests"])
        .current_dir(workspace().join(folder))
        .env("PYTHONPATH", path)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .expect("the tests of plugins in Python need Python 3");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("Ran 0 tests"), "{folder}:\n{said}");
}

/// Runs `tidegate` in `folder`.
fn run(folder: &Path, arguments: &[&str]) -> Output {
    command().current_dir(folder).args(arguments).stdin(Stdio::null()).output().expect("tidegate runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Whether tests ran, and all went well.
fn has_tested(output: &Output) -> bool {
    said(output).contains("\nOK\n") && !said(output).contains("Ran 0 tests")
}

/// A folder with a new plugin of this name.
fn new(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let made = run(folder.path(), &["new", name, "--lang", "python"]);
    assert!(made.status.success(), "{}", said(&made));
    folder
}

#[test]
fn the_sdk_holds_natively_what_it_promises() {
    unittest("plugin-sdk/python", &["plugin-sdk/python"]);
}

#[test]
fn what_the_guide_shows_runs() {
    let guide = std::fs::read_to_string(workspace().join("docs/python.md")).expect("the guide is there");
    let blocks: Vec<_> = guide.split("\n```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("python\n")).collect();
    let [tool, request, test] = blocks[..] else { panic!("the guide shows {} pieces of Python", blocks.len()) };
    // The request belongs to a running call.
    let request = request.replace('\n', "\n    ");
    let script = format!("{tool}\n{test}\ninvoice_id = 'inv_1'\nwith host.running():\n    {request}\n");
    let mut python = Command::new("python3");
    python.args(["-B", "-c", &script]).env("PYTHONPATH", workspace().join("plugin-sdk/python")).stdin(Stdio::null());
    let output = python.output().expect("plugins in Python need Python 3");
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn the_twin_of_invoices_passes_its_own_tests_with_a_stand_in_for_the_host() {
    let tested = run(workspace(), &["plugin", "test", TWIN]);
    assert!(tested.status.success() && has_tested(&tested), "{}", said(&tested));
}

#[test]
fn a_new_plugin_passes_its_own_tests_and_is_served() {
    let folder = new("greet-people");
    let plugin = folder.path().join("greet-people");
    let tested = run(&plugin, &["plugin", "test"]);
    assert!(tested.status.success() && has_tested(&tested), "{}", said(&tested));
    let built = run(&plugin, &["plugin", "build", ".", "--out", "target/plugins"]);
    assert!(built.status.success(), "{}", said(&built));
    let host = Host::dev(&plugin.join("target/plugins")).start();
    let answer = host.client().call("greet_people", json!({"name": "Ada"}));
    assert_eq!(answer.structured(), &json!({"greeting": "Hello, Ada!"}));
    assert_eq!(host.client().call("greet_people", json!({"name": " "})).error(), "invalid_arguments");
    let left: Vec<_> = walk(&plugin).into_iter().filter(|path| path.contains("__pycache__")).collect();
    assert!(left.is_empty(), "nothing is left among the sources: {left:?}");
}

fn walk(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("readable").map(|entry| entry.expect("readable").path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path.display().to_string()] }).collect()
}

#[test]
fn a_plugin_that_did_not_change_is_not_built_again() {
    twin();
    let out = tempfile::tempdir().expect("a temporary folder");
    let mut build = command();
    // There is no Python to build with: all that is needed was built before.
    build.current_dir(workspace()).args(["plugin", "build", TWIN, "--out"]).arg(out.path()).env("PATH", "/nonexistent");
    let built = build.output().expect("tidegate runs");
    assert!(built.status.success(), "{}", said(&built));
    let same = |folder: &Path| std::fs::read(folder.join("invoices/invoices.wasm")).expect("it is there");
    assert!(same(out.path()) == same(twin()));
}

#[test]
fn without_python_the_way_to_get_it_is_told() {
    let folder = new("lonely");
    let mut build = command();
    build.current_dir(folder.path()).args(["plugin", "build", "lonely"]).env("PATH", "/nonexistent");
    // Nor has anything been fetched yet.
    build.env("XDG_CACHE_HOME", folder.path());
    let built = build.output().expect("tidegate runs");
    assert!(!built.status.success() && said(&built).contains("apt install python3 python3-venv"), "{}", said(&built));
}

#[test]
fn a_mistake_is_told_with_file_and_line_and_runs_nowhere_but_in_a_sandbox() {
    let folder = new("wrong");
    let app = folder.path().join("wrong/app.py");
    let curious =
        "open('/tmp/tidegate-was-here', 'w')\nfrom tidegate import tool\n\n@tool\ndef f(x) -> str:\n    \"\"\"Doc.\"\"\"\n";
    for (source, words) in [
        ("def broken(:\n", ["wrong/app.py\", line 1", "SyntaxError"]),
        (
            "from tidegate import tool\n\n@tool\ndef f(x) -> str:\n    \"\"\"Doc.\"\"\"\n",
            ["wrong/app.py\", line 3", "`x` of the tool `f` has no type"],
        ),
        (curious, ["wrong/app.py\", line 1", "Error"]),
    ] {
        std::fs::write(&app, source).expect("writable");
        let built = run(folder.path(), &["plugin", "build", "wrong"]);
        assert!(!built.status.success());
        for word in words {
            assert!(said(&built).contains(word), "{word}: {}", said(&built));
        }
    }
    assert!(!Path::new("/tmp/tidegate-was-here").exists(), "building a plugin gives it nothing of the machine");
}

#[test]
fn a_test_that_fails_fails_the_verb() {
    let folder = new("failing");
    let test = folder.path().join("failing/tests/test_more.py");
    let text = "import unittest\nclass T(unittest.TestCase):\n    def test_x(self):\n        self.assertEqual(1, 2)\n";
    std::fs::write(test, text).expect("writable");
    let tested = run(folder.path(), &["plugin", "test", "failing"]);
    assert!(!tested.status.success() && said(&tested).contains("1 != 2"), "{}", said(&tested));
}

#[test]
fn a_dependency_of_pure_python_is_built_in_and_one_of_c_is_refused() {
    let folder = new("leaning");
    let plugin = folder.path().join("leaning");
    let requirements = |text: &str| std::fs::write(plugin.join("requirements.txt"), text).expect("writable");
    requirements("numpy==2.3.4\n");
    let refused = run(folder.path(), &["plugin", "build", "leaning"]);
    assert!(!refused.status.success() && said(&refused).contains("has to be pure Python"), "{}", said(&refused));
    requirements("iniconfig==2.1.0\n");
    let app = plugin.join("app.py");
    let source = std::fs::read_to_string(&app).expect("readable");
    std::fs::write(&app, format!("import iniconfig\n{source}").replace("Hello, {name}", "{iniconfig.__name__}, {name}"))
        .expect("writable");
    let built = run(folder.path(), &["plugin", "build", "leaning", "--out", "out"]);
    assert!(built.status.success(), "{}", said(&built));
    let host = Host::dev(&folder.path().join("out")).start();
    assert_eq!(host.client().call("leaning", json!({"name": "Ada"})).structured()["greeting"], "iniconfig, Ada!");
}
