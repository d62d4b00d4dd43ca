//! What lies around the source of a plugin under `tidegate dev`: crates it depends on, policies, further plugins. All of it counts when
//! it comes and when it changes, without a restart.

use std::fs;

use serde_json::json;

use crate::harness::{Host, RUST, Version, edit, plugins, target};

const WALL: &str = "@id(\"wall\")\nforbid (principal, action == Tidegate::Action::\"echo\", resource);\n";

#[test]
fn a_crate_that_a_plugin_depends_on_by_its_path_is_watched_like_the_plugin() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plugin = RUST.plugin(folder.path(), "leaning");
    let words = folder.path().join("words");
    fs::create_dir_all(words.join("src")).expect("writable");
    fs::write(words.join("Cargo.toml"), "[package]\nname = \"words\"\nversion = \"0.1.0\"\nedition = \"2024\"\n")
        .expect("writable");
    fs::write(words.join("src/lib.rs"), "pub const GREETING: &str = \"Hello\";\n").expect("writable");
    edit(&plugin.join("Cargo.toml"), "[dependencies]\n", "[dependencies]\nwords = { path = \"../words\" }\n");
    edit(&plugin.join(RUST.source), "format!(\"Hello, {name}!\")", "format!(\"{}, {name}!\", words::GREETING)");
    let host = Host::dev(&plugin).env("CARGO_TARGET_DIR", target().to_str().expect("a plain path")).start();
    let greeting = || host.client().call("leaning", json!({ "name": "Ada" })).structured()["greeting"].clone();
    assert_eq!(greeting(), "Hello, Ada!");

    edit(&words.join("src/lib.rs"), "Hello", "Good day");
    host.until_said("leaning 0.1.0 served, ", 1);
    assert_eq!(greeting(), "Good day, Ada!");
    // A module in a new folder of it, too.
    fs::create_dir(words.join("src/more")).expect("writable");
    fs::write(words.join("src/more/mod.rs"), "pub const GREETING: &str = \"Good evening\";\n").expect("writable");
    fs::write(words.join("src/lib.rs"), "mod more;\npub use more::GREETING;\n").expect("writable");
    host.until_said("leaning 0.1.0 served, ", 2);
    assert_eq!(greeting(), "Good evening, Ada!");
    edit(&words.join("src/more/mod.rs"), "evening", "night");
    host.until_said("leaning 0.1.0 served, ", 3);
    assert_eq!(greeting(), "Good night, Ada!");
}

#[test]
fn policies_that_come_while_dev_serves_count_and_do_not_go_with_their_folder() {
    let plugins = plugins(&["echo"]);
    let plugin = plugins.path().join("echo");
    let host = Host::dev(&plugin).start();
    let echo = || host.client().call("echo", json!({ "text": "hi" }));
    assert_eq!(echo().structured(), &json!({ "text": "hi" }));

    fs::create_dir(plugin.join("policies")).expect("writable");
    fs::write(plugin.join("policies/wall.cedar"), WALL).expect("writable");
    host.until_said("another generation is in force", 1);
    assert_eq!(echo().error(), "permission_denied");
    // The source has not changed with them.
    assert!(!host.log().contains("nothing that is served has changed"), "{}", host.log());

    fs::remove_dir_all(plugin.join("policies")).expect("it is there");
    host.until_said("the policies were refused", 1);
    assert_eq!(echo().error(), "permission_denied");
    fs::create_dir(plugin.join("policies")).expect("writable");
    fs::write(plugin.join("policies/none.cedar"), "// no walls\n").expect("writable");
    host.until_said("another generation is in force", 2);
    assert_eq!(echo().structured(), &json!({ "text": "hi" }));
}

#[test]
fn plugins_that_come_change_and_go_while_dev_serves_are_served_as_they_are() {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).start();
    let (client, tool) = (host.client(), Version::new(1).tool());
    let version = || client.call(&tool, json!({})).structured()["version"].clone();
    Version::new(1).put(plugins.path());
    host.until_said("versions 0.1.0 served, ", 1);
    assert_eq!(version(), Version::new(1).answer());
    Version::new(2).put(plugins.path());
    host.until_said("versions 0.1.0 served, ", 2);
    assert_eq!(version(), Version::new(2).answer());

    fs::remove_dir_all(plugins.path().join("versions")).expect("it is there");
    host.until_said("versions is no longer served", 1);
    assert_eq!(client.tools(), ["echo"]);
    // The last one does not go by accident, and edits of it count as before.
    let echo = plugins.path().join("echo");
    fs::rename(&echo, plugins.path().join(".aside")).expect("movable");
    host.until_said("not served: everything stays", 1);
    assert_eq!(client.tools(), ["echo"]);
    fs::rename(plugins.path().join(".aside"), &echo).expect("movable");
    host.until_said("nothing that is served has changed", 1);
    edit(&echo.join("plugin.toml"), "0.1.0", "0.2.0");
    host.until_said("echo 0.2.0 served, ", 1);
}
