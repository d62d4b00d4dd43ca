//! Who vouches for what is installed: nobody unknown, nobody revoked, and not for other words than were signed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{World, path};
use crate::harness::{Ran, command, save, workspace};

/// A world that lets in only what is signed, and the key that it trusts: that of `acme`.
pub fn world() -> (World, PathBuf) {
    let world = World::new();
    let key = trusted(&world, "acme");
    let trust = world.dir.path().join("trust.toml");
    let config = world.config.replace("unsigned = \"allow\"\n", &format!("trust = \"{}\"\n", trust.display()));
    (World { config, ..world }, key)
}

/// Another key that the world trusts, under this name.
pub fn trusted(world: &World, name: &str) -> PathBuf {
    let key = world.dir.path().join(format!("{name}.key"));
    let public = keygen(&key);
    trust(world, |text| format!("{text}[keys.{name}]\nkey = \"{public}\"\n"));
    key
}

/// Makes a key; answers its public half.
pub fn keygen(key: &Path) -> String {
    tidegate(&mut command(), &["keygen", path(key)]).trim().to_owned()
}

/// From now on the key of this name counts for nothing.
pub fn revoke(world: &World, name: &str) {
    trust(world, |text| format!("revoked = [\"{name}\"]\n{text}"));
}

/// Puts another trust file in the place of the one there is, whole.
fn trust(world: &World, change: impl FnOnce(String) -> String) {
    let file = world.dir.path().join("trust.toml");
    save(&file, change(fs::read_to_string(&file).unwrap_or_default()).as_bytes());
}

fn tidegate(run: &mut Command, arguments: &[&str]) -> String {
    let output = run.current_dir(workspace()).arg("plugin").args(arguments).output().expect("tidegate runs");
    assert!(output.status.success(), "{:?}", Ran::of(&output));
    String::from_utf8(output.stdout).expect("text")
}

/// Signs a plugin.
pub fn sign(dir: &Path, key: &Path) {
    tidegate(&mut command(), &["sign", path(dir), "--key", path(key)]);
}

#[test]
fn only_what_somebody_trusted_signed_is_installed_and_who_is_told() {
    let (world, key) = world();
    let first = world.version("first", &[]);
    world.install(&first).refused(&["plugin `echo`: it is not signed"]);
    sign(&first, &key);
    world.install(&first).done();
    let listed = world.listed();
    assert_eq!((&listed[0]["version"], &listed[0]["signed_by"]), (&"0.1.0".into(), &"acme".into()));
    assert_eq!(world.records("plugin_install")[0]["signed_by"], "acme");

    // Signed by somebody unknown; then changed after it was signed.
    let other = world.dir.path().join("other.key");
    keygen(&other);
    let second = world.version("second", &[("0.1.0", "0.2.0")]);
    sign(&second, &other);
    world.install(&second).refused(&["nobody who is trusted has signed it"]);
    let third = world.version("third", &[("0.1.0", "0.3.0")]);
    sign(&third, &key);
    let manifest = fs::read_to_string(third.join("plugin.toml")).expect("readable");
    fs::write(third.join("plugin.toml"), manifest.replace("8MiB", "64MiB")).expect("writable");
    world.install(&third).refused(&["no signature of it counts"]);
    assert_eq!(world.active().as_deref(), Some("0.1.0"));
    assert_eq!(fs::read_dir(world.data().join("plugins/sha256")).expect("there").count(), 1, "nothing of those is left");

    // An archive is as good as a folder.
    let fourth = world.version("fourth", &[("0.1.0", "0.4.0")]);
    sign(&fourth, &key);
    let archive = world.dir.path().join("echo.tar.gz");
    tidegate(&mut command(), &["pack", path(&fourth), "--out", path(&archive)]);
    world.install(&archive).done();
    assert_eq!(world.active().as_deref(), Some("0.4.0"));

    // Revoked, the key vouches for nothing any more, and for nothing that it once vouched for.
    revoke(&world, "acme");
    let fifth = world.version("fifth", &[("0.1.0", "0.5.0")]);
    sign(&fifth, &key);
    world.install(&fifth).refused(&["the key `acme`", "was revoked"]);
    world.plugin(&["rollback", "echo"]).refused(&["the key `acme`", "was revoked"]);
}
