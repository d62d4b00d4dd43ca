//! Plugins in Python: the SDK and the example hold natively what they promise.

use std::process::{Command, Stdio};

use crate::harness::workspace;

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

#[test]
fn the_sdk_holds_natively_what_it_promises() {
    unittest("plugin-sdk/python", &["plugin-sdk/python"]);
}

#[test]
fn the_twin_of_invoices_passes_its_own_tests_with_a_stand_in_for_the_host() {
    unittest("plugin-sdk/python/examples/invoices", &["plugin-sdk/python", "plugin-sdk/python/examples/invoices"]);
}
