//! Edits under `tidegate dev`, in each language: what is good is served, what is not is told wherever somebody looks.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::{Host, Language, PYTHON, RUST, Started, edit, target, tidegate};

/// The plugin, and its tool.
const NAME: &str = "edited";

/// A new plugin, served by `tidegate dev`.
struct Edited {
    plugin: PathBuf,
    host: Started,
    _folder: tempfile::TempDir,
}

impl Edited {
    fn new(language: &Language) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let plugin = language.plugin(folder.path(), NAME);
        let host = Host::dev(&plugin).env("CARGO_TARGET_DIR", target().to_str().expect("a plain path")).start();
        Self { plugin, host, _folder: folder }
    }

    fn greeting(&self) -> Value {
        self.host.client().call(NAME, json!({ "name": "Ada" })).structured()["greeting"].clone()
    }

    /// What `tidegate plugin status` says.
    fn status(&self) -> Value {
        let output = tidegate(&["plugin", "status", "--output", "json", "--data", &self.host.data.display().to_string()]);
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

/// A new plugin whose edits were served, refused and served.
fn good_edits_are_served_and_bad_ones_are_not(language: &Language) -> Edited {
    let edited = Edited::new(language);
    let (source, served) = (edited.plugin.join(language.source), format!("{NAME} 0.1.0 served, "));
    assert_eq!(edited.greeting(), "Hello, Ada!");

    edit(&source, "Hello, {name}!", "Good day, {name}!");
    edited.host.until_said(&served, 1);
    assert_eq!((edited.greeting(), &edited.status()["state"]), (json!("Good day, Ada!"), &json!("current")));

    let (right, wrong) = language.mistake;
    edit(&source, right, wrong);
    edited.host.until_said("not served: ", 1);
    let log = edited.host.log();
    language.complaint.iter().for_each(|word| assert!(log.contains(word), "`{word}` is not in view"));
    assert_eq!(edited.greeting(), "Good day, Ada!");
    // Whoever does not see the terminal is told as well.
    let status = edited.status();
    assert_eq!((&status["state"], &status["last_refused"]["standing"]), (&json!("refused"), &json!(true)), "{status}");
    let problem = &status["last_refused"]["problems"][0];
    let told = format!("{} {}", problem["file"], problem["message"].as_str().expect("text"));
    language.complaint.iter().for_each(|word| assert!(told.contains(word), "`{word}` is not told: {status}"));
    assert!(edited.host.admin("/readyz").1.contains("\"refused\""));

    let text = std::fs::read_to_string(&source).expect("readable");
    std::fs::write(&source, text.replace(wrong, right).replace("Good day", "Good evening")).expect("writable");
    edited.host.until_said(&served, 2);
    assert_eq!((edited.greeting(), &edited.status()["state"]), (json!("Good evening, Ada!"), &json!("current")));

    // What builds, but no host would load.
    let (manifest, scope) = (edited.plugin.join("plugin.toml"), format!("use:{NAME}\""));
    edit(&manifest, &scope, &format!("use:{NAME}.where(a=1)\""));
    edited.host.until_said("not served: ", 2);
    assert_eq!(edited.greeting(), "Good evening, Ada!");
    edit(&manifest, ".where(a=1)", "");
    edited
}

#[test]
fn an_edit_in_python_is_served_a_broken_one_is_not_and_a_mended_one_is() {
    good_edits_are_served_and_bad_ones_are_not(&PYTHON);
}

#[test]
fn an_edit_in_rust_is_served_a_broken_one_is_not_a_mended_one_is_and_so_is_a_new_tool() {
    let edited = good_edits_are_served_and_bad_ones_are_not(&RUST);
    // It is listed and called without a restart.
    edit(
        &edited.plugin.join(RUST.source),
        "export!(Greet);",
        "export!(Greet, Part);\n\nstruct Part;\n\nimpl Tool for Part {\n    const NAME: &'static str = \"part\";\n    const DESCRIPTION: &'static str = \"Says good-bye.\";\n    type Input = tidegate_plugin_sdk::NoInput;\n    type Output = Greeting;\n\n    fn call(_: Self::Input, _: &Context) -> Result<Greeting, Failure> {\n        Ok(Greeting { greeting: \"Good-bye!\".to_owned() })\n    }\n}\n",
    );
    let manifest = std::fs::read_to_string(edited.plugin.join("plugin.toml")).expect("readable");
    let further = "\n[[tool]]\nname = \"part\"\neffect = \"read\"\nscopes = [\"use:edited\"]\n";
    std::fs::write(edited.plugin.join("plugin.toml"), manifest.replace("0.1.0", "0.2.0") + further).expect("writable");
    edited.host.until_said("edited 0.2.0 served, ", 1);
    let client = edited.host.client();
    assert_eq!(client.tools(), ["edited", "part"]);
    assert_eq!(client.call("part", json!({})).structured()["greeting"], "Good-bye!");
    let log = edited.host.log();
    let took: Vec<_> = log.lines().filter(|line| line.contains(" served, ")).collect();
    println!("{}", took.join("\n"));
}
