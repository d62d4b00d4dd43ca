//! Plugins over the admin API: installed, taken back, looked at and reloaded by a program that holds the token.

use std::path::PathBuf;

use super::*;
use crate::harness::{Version, tidegate};

/// A host that serves echo out of a folder, that folder, and a place for versions to install.
fn host() -> (Started, tempfile::TempDir, tempfile::TempDir) {
    let plugins = plugins(&["echo"]);
    let config = "[auth.anonymous]\nsubject = \"u1\"\n[plugins]\nunsigned = \"allow\"\n";
    let host = Host::dev(plugins.path()).serve().config(config).start();
    (host, plugins, tempfile::tempdir().expect("a folder"))
}

/// A version of the plugin `versions`, to be installed.
fn version(dir: &tempfile::TempDir, number: u32) -> PathBuf {
    let root = dir.path().join(number.to_string());
    Version::new(number).manifest("0.1.0", &format!("0.{number}.0")).put(&root);
    root.join("versions")
}

/// Which version answers.
fn answer(host: &Started) -> Value {
    host.client().call(&Version::new(0).tool(), json!({})).structured()["version"].clone()
}

/// Installs what lies there, with this approval.
fn install(host: &Started, source: &std::path::Path, approve: &Value) -> Told {
    ask(host, "plugin/install", &json!({ "source": source, "approve": approve }))
}

/// The digest of what is or would be in force.
fn after(told: &Told) -> Value {
    told.body["after"]["sha256"].clone()
}

#[test]
fn a_plugin_is_installed_approved_rolled_back_and_removed_by_a_program_and_written_down_as_its_doing() {
    let (mut host, _plugins, dir) = host();
    let (first, second) = (version(&dir, 1), version(&dir, 2));
    let shown = install(&host, &first, &Value::Null);
    assert_eq!((shown.status, &shown.body["state"]), (200, &json!("unapproved")), "{shown:?}");
    assert!(shown.body["unapproved"].to_string().contains("\"widens\""), "{shown:?}");
    assert_eq!(ask(&host, "plugin/list", &json!({})).body, json!([]));
    let first_digest = after(&shown);
    let done = install(&host, &first, &json!({ "contents": { "after": first_digest } }));
    assert_eq!((done.status, &done.body["state"]), (200, &json!("done")), "{done:?}");
    assert_eq!(answer(&host), json!(Version::new(1).answer()));

    // What was shown as new is not approved in the place of something.
    let shown = install(&host, &second, &json!({ "contents": { "after": after(&done) } }));
    assert!(shown.status == 422 && shown.problem().contains("look at it again"), "{shown:?}");
    let second_digest =
        shown.problem().rsplit("sha256:").next().and_then(|rest| rest.get(..64)).expect("what is there").to_owned();
    let alone = install(&host, &second, &json!({ "contents": { "after": second_digest } }));
    assert!(alone.status == 422 && alone.problem().contains("was to be new"), "{alone:?}");
    assert_eq!(answer(&host), json!(Version::new(1).answer()));
    let both = json!({ "contents": { "after": second_digest, "before": first_digest } });
    assert_eq!(install(&host, &second, &both).body["state"], "done");
    assert_eq!(answer(&host), json!(Version::new(2).answer()));

    let told = ask(&host, "plugin/inspect", &json!({ "name": "versions" }));
    assert_eq!((&told.body["version"], &told.body["digest"]), (&json!("0.2.0"), &json!(second_digest)), "{told:?}");
    assert_eq!((&told.body["rolls_back_to"], told.body["kept"].as_array().map(Vec::len)), (&first_digest, Some(2)));
    let by = told.body["installed"]["by"].as_str().expect("a name").to_owned();
    assert!(by.starts_with("admin token from 127.0.0.1:"), "{by}");
    let unknown = ask(&host, "plugin/inspect", &json!({ "name": "version" }));
    assert!(unknown.status == 422 && unknown.problem().contains("did you mean `versions`?"), "{unknown:?}");

    let back = ask(&host, "plugin/rollback", &json!({ "name": "versions" }));
    assert_eq!((back.status, &back.body["state"], after(&back)), (200, &json!("done"), first_digest), "{back:?}");
    assert_eq!(answer(&host), json!(Version::new(1).answer()));
    assert_eq!(ask(&host, "plugin/rollback", &json!({ "name": "versions" })).status, 422, "there is nothing before it");
    assert_eq!(ask(&host, "plugin/remove", &json!({ "name": "versions" })).status, 200);
    assert_eq!(host.client().tools(), ["echo"]);
    let gone = ask(&host, "plugin/remove", &json!({ "name": "versions" }));
    assert!(gone.status == 422 && gone.problem().contains("no plugin `versions` is installed"), "{gone:?}");

    // What is not asked like that, or by somebody else, is not done.
    assert_eq!(ask(&host, "plugin/install", &json!({ "from": first })).status, 400);
    assert_eq!(ask(&host, "plugin/inspect", &json!({})).status, 400);
    assert_eq!(ask_as(&host, "wrong", "plugin/install", &json!({ "source": first })).status, 401);
    assert!(host.stop("-TERM").success());
    let listed = tidegate(&["audit", "list", "--output", "json", "--data", &host.data.display().to_string()]);
    let records: Vec<Value> = serde_json::from_slice(&listed.stdout).expect("JSON");
    let bodies = records.iter().map(|record| &record["body"]);
    let acts: Vec<_> = bodies.filter(|body| body["action"].as_str().is_some_and(|told| told.starts_with("plugin_"))).collect();
    let told: Vec<_> = acts.iter().map(|act| act["action"].as_str().unwrap_or_default()).collect();
    assert_eq!(told, ["plugin_install", "plugin_install", "plugin_rollback", "plugin_remove"]);
    assert!(
        acts.iter().all(|act| act["by"].as_str().is_some_and(|by| by.starts_with("admin token from 127.0.0.1:"))),
        "{acts:#?}"
    );
}

#[test]
fn a_program_has_the_host_reload_and_is_told_what_changed_or_why_not() {
    let (host, plugins, _) = host();
    let reload = || ask(&host, "plugin/reload", &json!({}));
    let same = reload();
    assert_eq!((same.status, &same.body), (200, &json!({ "generation": 1, "change": null })), "{same:?}");
    let manifest = plugins.path().join("echo/plugin.toml");
    let text = std::fs::read_to_string(&manifest).expect("it is built");
    std::fs::write(&manifest, text.replace("memory", "memroy")).expect("writable");
    let refused = reload();
    assert_eq!((refused.status, &refused.body["generation"]), (200, &json!(1)), "{refused:?}");
    assert!(
        refused.body["refused"]["problems"][0]["message"].as_str().is_some_and(|said| said.contains("memory")),
        "{refused:?}"
    );
    host.client().call("echo", json!({ "text": "hi" })).structured();
    assert_eq!(ask(&host, "plugin/status", &json!({})).body["state"], "refused");
    std::fs::write(&manifest, text.replace("0.1.0", "0.2.0")).expect("writable");
    let changed = reload();
    let change = &changed.body["change"];
    assert_eq!((&changed.body["generation"], &change["source"]), (&json!(2), &json!("verb")), "{changed:?}");
    assert!(change["by"].as_str().is_some_and(|by| by.starts_with("admin token from 127.0.0.1:")), "{change}");
    assert_eq!(change["plugin_changes"][0]["after"]["version"], "0.2.0", "{change}");
    let status = ask(&host, "plugin/status", &json!({}));
    assert_eq!((&status.body["state"], &status.body["reloads"]), (&json!("current"), &json!(1)), "{status:?}");
}
