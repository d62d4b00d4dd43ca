//! The same contents brought again with other signatures: none is taken away, and what joins is written down first.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use super::signed::{keygen, revoke, sign, trusted, world};
use super::{World, path};
use crate::harness::sign_by_hand;

/// What no component tells.
const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A world with `echo` installed by the word of `acme`, and the same contents once more, not signed by anybody.
fn twice() -> (World, PathBuf) {
    let (world, acme) = world();
    let first = world.version("first", &[]);
    sign(&first, &acme);
    world.install(&first).done();
    let again = world.version("again", &[]);
    (world, again)
}

/// The signatures that lie beside what is installed.
fn beside(world: &World) -> String {
    let digest = world.listed()[0]["digest"].as_str().expect("a digest").to_owned();
    fs::read_to_string(world.data().join("plugins/sha256").join(digest).join("plugin.sig")).expect("it is signed")
}

#[test]
fn an_installation_that_is_refused_takes_no_signature_away() {
    let (world, again) = twice();
    let before = beside(&world);
    let public = sign_by_hand(&again, NOTHING);
    let trust = world.dir.path().join("trust.toml");
    let text = fs::read_to_string(&trust).expect("readable");
    fs::write(&trust, format!("{text}[keys.hand]\nkey = \"{public}\"\n")).expect("writable");
    world.install(&again).refused(&["does not describe its tools as it did when it was signed"]);
    assert_eq!(beside(&world), before);
    assert_eq!(world.records("plugin_").len(), 1, "nothing was done but the first installation");
    world.config("require_signatures = true\n").start();
}

#[test]
fn what_a_stranger_signed_over_something_else_hides_no_key_that_is_revoked_later() {
    let (world, again) = twice();
    let world = world.config("unsigned = \"allow\"\n");
    let before = beside(&world);
    sign_by_hand(&again, NOTHING);
    assert!(world.install(&again).done().out.contains("in force already"));
    assert_eq!(beside(&world), before);
    revoke(&world, "acme");
    let said = world.host().try_start().err().expect("nobody vouches for it any more");
    assert!(said.contains("the key `acme`") && said.contains("was revoked"), "{said}");
    // Nor does bringing it again, by whomever, let it in.
    world.install(&again).refused(&["the key `acme`", "was revoked"]);
}

#[test]
fn another_signature_lies_beside_what_is_installed_once_it_is_written_down() {
    let (world, again) = twice();
    let before = beside(&world);
    sign(&again, &trusted(&world, "other"));
    let died = world.failing("install::recorded=return", &["install", path(&again)]);
    assert_eq!(died.code, None, "{died:?}");
    assert_eq!(beside(&world), before);
    world.install(&again).done();
    assert!(beside(&world).starts_with(&before), "it joined: {}", beside(&world));
    assert_eq!(world.records("plugin_install").last().expect("written down")["signed_by"], "acme, other");
}

#[test]
fn who_signed_is_told_the_same_whichever_source_it_is_installed_from_again() {
    let (world, again) = twice();
    sign(&again, &trusted(&world, "other"));
    world.install(&again).done();
    let first = world.dir.path().join("first");
    for source in [&first, &again, &first] {
        assert!(world.install(source).done().out.contains("in force already"));
        assert_eq!(world.listed()[0]["signed_by"], json!("acme, other"));
    }
    assert_eq!(world.records("plugin_install").len(), 2);
}

#[test]
fn signatures_that_are_damaged_are_told_of_with_a_way_out_and_keep_nothing_else_from_being_put_right() {
    let (world, _) = twice();
    let digest = world.listed()[0]["digest"].as_str().expect("a digest").to_owned();
    let file = world.data().join("plugins/sha256").join(digest).join("plugin.sig");
    fs::remove_file(&file).expect("the folder is ours");
    fs::write(&file, "format = ").expect("writable");
    let said = world.host().try_start().err().expect("who signed it can't be told");
    for told in ["plugin `echo`", "plugin.sig", "tidegate plugin remove echo", "install it once more"] {
        assert!(said.contains(told), "`{told}` is not said:\n{said}");
    }
    // Another one can be taken out, and bringing it again puts it right.
    let other = world.dir.path().join("other");
    crate::harness::Version::new(1).put(world.dir.path());
    fs::rename(world.dir.path().join("versions"), &other).expect("put there");
    sign(&other, &world.dir.path().join("acme.key"));
    world.install(&other).done();
    world.plugin(&["remove", "versions"]).done();
    world.install(&world.dir.path().join("first")).done();
    world.start();
}

#[test]
fn signatures_that_nothing_is_held_to_are_not_read() {
    let world = World::new();
    let first = world.version("first", &[]);
    let key = world.dir.path().join("stranger.key");
    keygen(&key);
    sign(&first, &key);
    world.install(&first).done();
    let digest = world.listed()[0]["digest"].as_str().expect("a digest").to_owned();
    let file = world.data().join("plugins/sha256").join(digest).join("plugin.sig");
    fs::remove_file(&file).expect("the folder is ours");
    fs::write(&file, "format = ").expect("writable");
    world.start();
}
