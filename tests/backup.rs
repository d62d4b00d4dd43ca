//! Backups: taken from a host under load, restored elsewhere, and served there.

use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Habits, Scene, seed, tidegate};

/// Runs `tidegate audit …` for a data folder; answers what it printed as JSON, or what it complained of.
fn audit(verb: &str, arguments: &[&Path], data: &Path) -> Result<Value, String> {
    let (arguments, data) = (arguments.iter().map(|path| path.display().to_string()), data.display().to_string());
    let arguments: Vec<String> = arguments.collect();
    let mut all = vec!["audit", verb];
    all.extend(arguments.iter().map(String::as_str));
    all.extend(["--output", "json", "--data", &data]);
    let ran = tidegate(&all);
    match ran.status.success() {
        true => Ok(serde_json::from_slice(&ran.stdout).expect("JSON")),
        false => Err(String::from_utf8_lossy(&ran.stderr).into_owned()),
    }
}

#[test]
fn a_backup_of_a_host_under_load_is_restored_and_served_elsewhere() {
    let seed = seed();
    let mut scene = Scene::new(seed);
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    let (backup, restored) = (elsewhere.path().join("backup"), elsewhere.path().join("data"));
    let mut host = scene.host().start();
    let key = "before-the-backup-01";
    let invoice = json!({"user_id": "u1", "amount_cents": 4200, "description": key});
    let before = host.client().call_keyed("create_invoice", invoice.clone(), key);
    let load = scene.load(&host, Habits::default());
    load.wait_for(60).expect("it lives");
    let taken = audit("backup", &[&backup], &scene.data()).expect("a live host takes it");
    // Past the test runner, which swallows what a test that passes has to say.
    let said = format!("\nbacked up under load: {taken}\n");
    std::io::stderr().write_all(said.as_bytes()).expect("stderr is open");
    load.wait_for(20).expect("it lives");
    let refused = audit("backup", &[&backup], &scene.data()).expect_err("there is one already");
    assert!(refused.contains("is not empty"), "{refused}");
    load.end();
    scene.recheck(&host).expect("it lives");
    assert!(host.stop("-TERM").success());
    // A backup changes nothing but the log, which tells of it; and the stopped host has its backups too.
    let stopped = audit("backup", &[&elsewhere.path().join("stopped")], &scene.data()).expect("a stopped store gives it");
    assert!(stopped["seq"].as_u64() > taken["seq"].as_u64(), "{taken} {stopped}");

    let occupied = audit("restore", &[&backup], &scene.data()).expect_err("it holds a log");
    assert!(occupied.contains("is not empty"), "{occupied}");
    let loaded = audit("restore", &[&backup], &restored).expect("it is whole");
    assert_eq!((&loaded["seq"], &loaded["tip"]), (&taken["seq"], &taken["tip"]));
    let verified = audit("verify", &[], &restored).expect("the log is unbroken");
    assert!(verified["records"].as_u64() >= taken["seq"].as_u64(), "{verified}");

    let again = scene.host().on(&restored).start();
    let replayed = again.client().call_keyed("create_invoice", invoice, key);
    assert!(replayed.is_replayed(), "{replayed:?}");
    assert_eq!(replayed.structured(), before.structured());
    assert_eq!(
        again.client().call("get_invoice", json!({"invoice_id": before.structured()["id"]})).structured()["description"],
        key
    );
}
