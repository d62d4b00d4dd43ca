//! What is told of a plugin by its name: all that is told of a folder, who vouches for it, who brought it, and where a rollback leads.

use std::fs;

use serde_json::{Value, json};

use super::signed::{revoke, sign, world};
use super::{World, path};
use crate::harness::sign_by_hand;

/// What is told of this plugin, for programs.
fn told(world: &World, name: &str) -> Value {
    serde_json::from_str(&world.plugin(&["inspect", name, "--output", "json"]).done().out).expect("JSON")
}

#[test]
fn an_installed_plugin_is_told_of_whole_whether_a_host_lives_or_not() {
    let (world, key) = world();
    let (first, second) = (world.version("first", &[]), world.version("second", &[("0.1.0", "0.2.0")]));
    for version in [&first, &second] {
        sign(version, &key);
        world.install(version).done();
    }
    let of_folder = told(&world, path(&second))[0].take();
    let at_rest = told(&world, "echo");
    for (key, value) in of_folder.as_object().expect("an object") {
        assert_eq!(&at_rest[key], value, "{key}");
    }
    let listed = world.listed();
    assert_eq!((&at_rest["digest"], &at_rest["rolls_back_to"]), (&listed[1]["digest"], &listed[0]["digest"]));
    assert_eq!((&at_rest["signed_by"], &at_rest["kept"]), (&json!("acme"), &json!(listed)));
    let installed = &at_rest["installed"];
    assert_eq!((&installed["source"], &installed["installed_ms"]), (&json!(path(&second)), &listed[1]["installed_ms"]));
    assert!(installed["by"].as_str().is_some_and(|by| by.contains("(uid ")), "{installed}");

    let host = world.start();
    assert_eq!(told(&world, "echo"), at_rest);
    // What is kept besides, by version and by digest.
    let digest = format!("sha256:{}", listed[0]["digest"].as_str().expect("a digest"));
    for spec in ["echo@0.1.0", &digest] {
        let kept = told(&world, spec);
        assert_eq!((&kept["version"], &kept["digest"]), (&json!("0.1.0"), &listed[0]["digest"]), "{spec}");
    }
    let table = world.plugin(&["inspect", "echo"]).done().out;
    for line in [
        "version    0.2.0",
        "signed by  acme",
        "installed  20",
        "rollback   to 0.1.0 sha256:",
        " in force since 20",
        "input_schema",
    ] {
        assert!(table.contains(line), "`{line}` is not in\n{table}");
    }
    world.plugin(&["inspect", "ecko"]).refused(&["the host serves no plugin `ecko`", "did you mean `echo`?"]);
    drop(host);
    world.plugin(&["inspect", "ecko"]).refused(&["there is no folder `ecko`", "did you mean `echo`?"]);
}

#[test]
fn a_plugin_that_is_served_out_of_a_folder_is_told_of_by_its_name_too() {
    let (world, key) = world();
    let folder = world.dir.path().join("plugins/echo");
    fs::rename(world.version("first", &[]), &folder).expect("movable");
    sign(&folder, &key);
    let host = world.start();
    let served = told(&world, "echo");
    assert_eq!((&served["name"], &served["signed_by"], &served["installed"]), (&json!("echo"), &json!("acme"), &Value::Null));
    // The digest is the one to pin it by.
    let pinned = format!("[plugins.pins]\necho = \"sha256:{}\"\n", served["digest"].as_str().expect("a digest"));
    // Others lie there by now, and are not what is served.
    let manifest = fs::read_to_string(folder.join("plugin.toml")).expect("readable");
    fs::write(folder.join("plugin.toml"), manifest.replace("0.1.0", "0.2.0")).expect("writable");
    let changed = told(&world, "echo");
    assert_eq!((&changed["version"], &changed["digest"]), (&json!("0.1.0"), &Value::Null));
    assert!(world.plugin(&["inspect", "echo"]).done().out.contains("digest     not known"));
    drop(host);
    fs::write(folder.join("plugin.toml"), manifest).expect("writable");
    drop(world.config(&pinned).start());
}

#[test]
fn nobody_is_named_as_a_signer_who_signed_other_words_and_whoever_counts_no_longer_is_said_to() {
    let (world, acme) = world();
    // Out of a folder: somebody trusted signed it, but not what it tells.
    let folder = world.dir.path().join("plugins/echo");
    fs::rename(world.version("folder", &[]), &folder).expect("put there");
    let public = sign_by_hand(&folder, &"0".repeat(64));
    let trust = world.dir.path().join("trust.toml");
    let text = fs::read_to_string(&trust).expect("readable");
    fs::write(&trust, format!("{text}[keys.hand]\nkey = \"{public}\"\n")).expect("writable");
    let plugins = format!("path = \"{}\"\n", world.dir.path().join("plugins").display());
    let world = world.config(&plugins);
    let here = || told(&world, "echo")["signed_by"].take();
    assert_eq!(here(), Value::Null);
    let host = world.start();
    assert_eq!(told(&world, "echo")["signed_by"], Value::Null);
    drop(host);
    sign(&folder, &acme);
    assert_eq!(here(), json!("acme"));

    // Installed: by the word of somebody whose key was revoked since.
    fs::remove_dir_all(&folder).expect("it is ours");
    let first = world.version("first", &[]);
    sign(&first, &acme);
    world.install(&first).done();
    assert_eq!(told(&world, "echo")["counts_no_longer"], Value::Null);
    let host = world.start();
    revoke(&world, "acme");
    let why = told(&world, "echo")["counts_no_longer"].take();
    assert!(why.as_str().is_some_and(|why| why.contains("was revoked")), "{why}");
    assert!(world.plugin(&["inspect", "echo"]).done().out.contains("counts no longer: "));
    drop(host);
    assert!(world.plugin(&["inspect", "echo"]).done().out.contains("counts no longer: "));
}
