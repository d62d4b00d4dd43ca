//! A key that is revoked after it vouched for what is installed: nothing of that goes live again, what runs runs on, and somebody decides.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::signed::{keygen, revoke, sign, trusted, world};
use super::{World, path};
use crate::harness::{Started, Version};

/// How long the host may take to notice on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A world that serves `echo` 0.2.0 by the word of `acme`, and could go back to 0.1.0 by the word of `other`.
fn of_two() -> World {
    let (world, acme) = world();
    let other = trusted(&world, "other");
    let (first, second) = (world.version("first", &[]), world.version("second", &[("0.1.0", "0.2.0")]));
    sign(&first, &other);
    sign(&second, &acme);
    world.install(&first).done();
    world.install(&second).done();
    world
}

/// Installs a second plugin, by the word of `acme`.
fn with_versions(world: &World) {
    Version::new(1).put(world.dir.path());
    let dir = world.dir.path().join("versions");
    sign(&dir, &world.dir.path().join("acme.key"));
    world.install(&dir).done();
}

/// What a host says that does not start.
fn unstarted(world: &World) -> String {
    world.host().try_start().err().expect("nobody vouches for what it would serve")
}

/// What readiness says of the plugins.
fn readiness(host: &Started) -> Value {
    host.readiness()["plugin"].take()
}

/// What the host says of its plugins, as JSON.
fn status(world: &World) -> Value {
    serde_json::from_str(&world.plugin(&["status", "--output", "json"]).done().out).expect("JSON")
}

fn works(host: &Started) {
    assert_eq!(host.client().call("echo", json!({"text": "x"})).structured(), &json!({"text": "x"}));
}

#[test]
fn a_host_does_not_start_on_what_a_revoked_key_vouched_for_and_every_way_out_that_it_tells_leads_out() {
    let world = of_two();
    works(&world.start());
    revoke(&world, "acme");
    let said = unstarted(&world);
    for told in [
        "plugin `echo` in `",
        "the key `acme` (`tidegate-plugin-key-1:",
        "was revoked",
        "tidegate plugin rollback echo",
        "tidegate plugin remove echo",
        "install it once more, signed with a key",
        "trust.toml",
    ] {
        assert!(said.contains(told), "`{told}` is not said:\n{said}");
    }
    // To vouch for it oneself: the same contents, and one more signature.
    let second = world.dir.path().join("second");
    sign(&second, &world.dir.path().join("other.key"));
    assert!(world.plugin(&["install", path(&second)]).done().out.contains("0.2.0 (sha256:"));
    let listed = world.listed();
    assert_eq!((listed.len(), &listed[1]["signed_by"]), (2, &json!("other")));
    assert_eq!(world.records("plugin_install").last().expect("written down")["signed_by"], "other");
    assert!(world.plugin(&["install", path(&second)]).done().out.contains("in force already"), "once is enough");
    works(&world.start());
    // To go back to what somebody else vouches for; and to take it out.
    for (way_out, left) in [(&["rollback", "echo"][..], Some("0.1.0")), (&["remove", "echo"], None)] {
        let world = of_two();
        revoke(&world, "acme");
        unstarted(&world);
        world.plugin(way_out).done();
        assert_eq!(world.active().as_deref(), left);
        if left.is_some() {
            works(&world.start());
        }
    }
}

#[test]
fn a_live_host_serves_on_what_it_serves_and_says_why_it_would_not_load_it_again() {
    let world = of_two();
    let mut host = world.start();
    revoke(&world, "acme");
    world.plugin(&["reload"]).refused(&["generation 1 stays in force", "the key `acme`", "was revoked", "plugin rollback echo"]);
    works(&host);
    assert_eq!(readiness(&host)["state"], "refused");
    world.plugin(&["rollback", "echo"]).done();
    assert_eq!((world.active().as_deref(), readiness(&host)["state"].as_str()), (Some("0.1.0"), Some("current")));
    world.plugin(&["reload"]).done();
    // There is no way back to it.
    world.plugin(&["rollback", "echo", "--to", "0.2.0"]).refused(&["the key `acme`", "was revoked"]);
    works(&host);
    assert!(host.stop("-TERM").success());
    let refused = world.records("reload_refused");
    assert!(refused[0]["problems"][0]["message"].as_str().is_some_and(|said| said.contains("was revoked")), "{refused:?}");
}

#[test]
fn a_live_host_says_no_longer_that_it_refuses_what_somebody_else_vouches_for_and_goes_on_about_the_rest() {
    let world = of_two();
    with_versions(&world);
    let host = world.start();
    revoke(&world, "acme");
    world.plugin(&["reload"]).refused(&["plugin `echo`", "the key `acme`"]);
    let refused = status(&world)["last_refused"]["at"].take();
    let (other, second, versions) =
        (world.dir.path().join("other.key"), world.dir.path().join("second"), world.dir.path().join("versions"));
    sign(&second, &other);
    world.install(&second).done();
    let told = readiness(&host);
    assert_eq!(told["state"], "refused", "one is left: {told}");
    assert!(
        told["problems"].to_string().contains("plugin `versions`") && !told["problems"].to_string().contains("plugin `echo`"),
        "{told}"
    );
    let said = status(&world);
    assert_eq!((&said["last_refused"]["at"], &said["last_refused"]["standing"]), (&refused, &json!(false)), "{said}");
    assert!(world.plugin(&["status"]).done().out.contains("would be refused if it was loaded anew"));
    sign(&versions, &other);
    world.install(&versions).done();
    assert_eq!(readiness(&host)["state"], "current");
    assert_eq!(status(&world)["state"], "current");
    world.plugin(&["reload"]).done();
    works(&host);
}

#[test]
fn a_host_that_watches_its_plugins_notices_that_a_key_was_revoked() {
    let world = of_two().config("watch = true\n");
    let host = world.start();
    revoke(&world, "acme");
    let deadline = Instant::now() + PATIENCE;
    while readiness(&host)["state"] != "refused" {
        assert!(Instant::now() < deadline, "nobody noticed");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(readiness(&host)["problems"].to_string().contains("was revoked"));
    works(&host);
    // A key that counts again is noticed too.
    let trust = world.dir.path().join("trust.toml");
    let text = fs::read_to_string(&trust).expect("readable");
    fs::write(&trust, text.replace("revoked = [\"acme\"]\n", "")).expect("writable");
    while readiness(&host)["state"] != "current" {
        assert!(Instant::now() < deadline, "nobody noticed");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn of_several_that_a_revoked_key_vouched_for_each_can_be_put_right_by_itself() {
    // At a live host, and at a stopped one.
    for is_live in [true, false] {
        let world = of_two();
        with_versions(&world);
        let host = is_live.then(|| world.start());
        revoke(&world, "acme");
        let removed = world.plugin(&["remove", "versions"]).done();
        let says = |told: &str| removed.err.contains(told);
        assert_eq!(
            says("the host would not start yet: plugin `echo`") && says("the policies were not checked"),
            !is_live,
            "{removed:?}"
        );
        if let Some(host) = &host {
            let told = readiness(host);
            assert_eq!(told["state"], "refused", "what is left is told of: {told}");
            assert!(told["problems"].to_string().contains("plugin `echo`"), "{told}");
            works(host);
        } else {
            assert!(unstarted(&world).contains("plugin `echo`"));
        }
        world.plugin(&["rollback", "echo"]).done();
        if let Some(host) = &host {
            assert_eq!(readiness(host)["state"], "current");
            assert_eq!(host.client().tools(), ["echo"]);
        }
        drop(host);
        works(&world.start());
    }
}

#[test]
fn what_strangers_signed_is_served_until_their_key_is_revoked() {
    let world = World::new();
    let key = world.dir.path().join("stranger.key");
    let public = keygen(&key);
    let trust = world.dir.path().join("trust.toml");
    fs::write(&trust, "revoked = []\n").expect("writable");
    let world = world.config(&format!("trust = \"{}\"\n", trust.display()));
    let first = world.version("first", &[]);
    sign(&first, &key);
    world.install(&first).done();
    works(&world.start());
    fs::write(&trust, format!("revoked = [\"{public}\"]\n")).expect("writable");
    assert!(unstarted(&world).contains("was revoked"));
    // Whose signatures count has to be known: a trust file that is gone lets nothing in.
    fs::remove_file(&trust).expect("there");
    assert!(unstarted(&world).contains("can't read the trust file"));
    // One that was emptied says nothing either, and does not let a revoked key's work in.
    fs::write(&trust, "").expect("writable");
    assert!(unstarted(&world).contains("trust.toml:1:1: it names neither `keys` nor `revoked`"));
    fs::write(&trust, "revoked = []\n").expect("writable");
    works(&world.start());
}

#[test]
fn a_signature_that_is_taken_away_is_missed() {
    let world = of_two();
    let in_force = world.listed().into_iter().find(|version| version["active"] == true).expect("one is in force");
    let contents = world.data().join("plugins/sha256").join(in_force["digest"].as_str().expect("a digest"));
    fs::remove_file(contents.join("plugin.sig")).expect("it is signed");
    assert!(unstarted(&world).contains("it is not signed"));
    // Installing it again brings it back.
    world.plugin(&["install", path(&world.dir.path().join("second"))]).done();
    works(&world.start());
}
