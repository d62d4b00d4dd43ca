//! `require_signatures`: nothing is served that nobody vouches for, wherever it lies.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use super::signed::{keygen, revoke, sign, trusted, world};
use super::{World, path};
use crate::harness::Host;

/// A world that demands signatures, with `echo` in its folder of plugins, and the trusted key of `acme`.
fn demanding() -> (World, PathBuf, PathBuf) {
    let (world, key) = world();
    let folder = world.dir.path().join("plugins/echo");
    fs::rename(world.version("first", &[]), &folder).expect("movable");
    (world.config("require_signatures = true\n"), folder, key)
}

/// What a host says that does not start: all of this.
#[track_caller]
fn unstarted(world: &World, told: &[&str]) {
    let said = world.host().try_start().err().expect("it must not serve that");
    told.iter().for_each(|told| assert!(said.contains(told), "`{told}` is not said:\n{said}"));
}

#[test]
fn a_plugin_in_the_folder_is_served_only_if_a_key_that_counts_has_signed_it() {
    let (world, folder, key) = demanding();
    let place = folder.display().to_string();
    unstarted(&world, &["plugin `echo`", &place, "it is not signed", "tidegate plugin sign", "trust.toml", "require_signatures"]);
    let stranger = world.dir.path().join("stranger.key");
    keygen(&stranger);
    sign(&folder, &stranger);
    unstarted(&world, &["nobody who is trusted has signed it: `tidegate-plugin-key-1:", "is not known"]);
    sign(&folder, &key);
    let mut host = world.start();
    assert_eq!(host.client().call("echo", json!({"text": "x"})).structured(), &json!({"text": "x"}));
    assert!(host.stop("-TERM").success());
    let manifest = fs::read_to_string(folder.join("plugin.toml")).expect("readable");
    fs::write(folder.join("plugin.toml"), manifest.replace("8MiB", "9MiB")).expect("writable");
    unstarted(&world, &["the signature of the key `acme` does not fit"]);
    fs::write(folder.join("plugin.toml"), &manifest).expect("writable");
    drop(world.start());
    revoke(&world, "acme");
    unstarted(&world, &["the key `acme`", "was revoked", &place, "tidegate plugin sign"]);
    sign(&folder, &trusted(&world, "other"));
    drop(world.start());
}

#[test]
fn a_reload_refuses_what_nobody_vouches_for_and_the_generation_in_force_serves_on() {
    let (world, folder, key) = demanding();
    sign(&folder, &key);
    let mut host = world.start();
    let works = || assert_eq!(host.client().call("echo", json!({"text": "x"})).structured(), &json!({"text": "x"}));
    let manifest = fs::read_to_string(folder.join("plugin.toml")).expect("readable");
    fs::write(folder.join("plugin.toml"), manifest.replace("0.1.0", "0.2.0")).expect("writable");
    world.plugin(&["reload"]).refused(&["generation 1 stays in force", "the signature of the key `acme` does not fit"]);
    works();
    // The same contents whose signature is gone are what is served, and would not be let in now.
    fs::write(folder.join("plugin.toml"), &manifest).expect("writable");
    fs::remove_file(folder.join("plugin.sig")).expect("there");
    world.plugin(&["reload"]).refused(&["it is not signed", "help: `[plugins] require_signatures` demands a signature"]);
    works();
    sign(&folder, &key);
    assert!(world.plugin(&["reload"]).done().out.contains("nothing is new"));
    fs::write(folder.join("plugin.toml"), manifest.replace("0.1.0", "0.2.0")).expect("writable");
    sign(&folder, &key);
    assert!(world.plugin(&["reload"]).done().out.contains("~ echo 0.1.0"));
    works();
    assert!(host.stop("-TERM").success());
}

#[test]
fn what_was_installed_unsigned_is_not_served_once_signatures_are_demanded() {
    let (world, key) = world();
    let lax = World { config: "[auth.anonymous]\nsubject = \"u1\"\n[plugins]\nunsigned = \"allow\"\n".into(), ..world };
    let first = lax.version("first", &[]);
    lax.install(&first).done();
    let trust = lax.dir.path().join("trust.toml");
    let config =
        lax.config.replace("unsigned = \"allow\"", &format!("trust = \"{}\"\nrequire_signatures = true", trust.display()));
    let world = World { config, ..lax };
    unstarted(&world, &["it is not signed", "tidegate plugin remove echo"]);
    // The same contents, signed: that is all that was missing.
    sign(&first, &key);
    assert!(world.plugin(&["install", path(&first)]).done().out.contains("stays in force, signed by acme"));
    let host = world.start();
    assert_eq!(host.client().call("echo", json!({"text": "x"})).structured(), &json!({"text": "x"}));
}

#[test]
fn a_demand_that_nothing_could_meet_or_that_is_contradicted_is_refused_in_words() {
    let (world, _, _) = demanding();
    let named = world.config.clone();
    let without: String = named.split_inclusive('\n').filter(|line| !line.starts_with("trust")).collect();
    let world = World { config: without, ..world };
    unstarted(&world, &["nobody is: name the trust file with `trust`"]);
    let world = World { config: format!("{named}unsigned = \"allow\"\n"), ..world };
    unstarted(&world, &["`[plugins] unsigned = \"allow\"`", "leave one of the two out"]);
}

#[test]
fn who_develops_a_plugin_need_not_sign_every_edit() {
    let (world, _, _) = demanding();
    let config = world.config.replace("[auth.anonymous]\nsubject = \"u1\"\n", "");
    let host = Host::dev(&world.dir.path().join("plugins")).config(&config).start();
    assert_eq!(host.client().call("echo", json!({"text": "x"})).structured(), &json!({"text": "x"}));
    assert!(host.log().contains("`[plugins] require_signatures` is left aside"), "and it is said: {}", host.log());
}
