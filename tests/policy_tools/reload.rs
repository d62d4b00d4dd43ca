//! Policies are taken into force on save, written down first; what can't be is refused while calls go on.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{path, policy, policy_json};
use crate::harness::{Client, Host, Started, plugins, records, while_calling};

/// How long a change may take to show on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

const WALL: &str = "@id(\"no-echo\")\nforbid (principal, action == Tidegate::Action::\"echo\", resource)\n\
    when { context.input.text like \"*secret*\" };\n";

const NOTHING: &str = "// no walls\n";

/// A host that serves `echo` under the policies of a folder of its own.
struct World {
    host: Started,
    client: Client,
    folder: PathBuf,
    dir: tempfile::TempDir,
    _plugins: tempfile::TempDir,
}

impl World {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (folder, plugins) = (dir.path().join("policies"), plugins(&["echo"]));
        std::fs::create_dir(&folder).expect("writable");
        files.iter().for_each(|(name, text)| std::fs::write(folder.join(name), text).expect("writable"));
        let host = Host::dev(plugins.path()).with(&["--policies", path(&folder)]).start();
        Self { client: host.client(), host, folder, dir, _plugins: plugins }
    }

    fn save(&self, name: &str, text: &str) {
        // As editors do it: whole, in place of the old one.
        let new = self.folder.join(format!(".{name}.new"));
        std::fs::write(&new, text).expect("writable");
        std::fs::rename(new, self.folder.join(name)).expect("writable");
    }

    /// What readiness says of the policies.
    fn policy(&self) -> Value {
        let (status, page) = self.host.admin("/readyz");
        assert_eq!(status, 200, "{page}");
        serde_json::from_str::<Value>(&page).expect("JSON")["detail"]["policy"].take()
    }

    /// Waits until readiness says what `is` wants to hear.
    fn until(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let policy = self.policy();
            if is(&policy) {
                return policy;
            }
            assert!(Instant::now() < deadline, "{what} never came: {policy}");
            std::thread::yield_now();
        }
    }

    fn until_refused(&self) -> Value {
        self.until("a refusal", |policy| policy["state"] == "refused")
    }

    fn until_other_than(&self, hash: &Value) -> Value {
        self.until("another set", |policy| policy["hash"] != *hash && policy["state"] == "current")
    }

    /// Whether the wall stands.
    fn is_walled(&self) -> bool {
        let answer = self.client.call("echo", json!({"text": "a secret"}));
        answer.body["result"]["isError"] == json!(true) && answer.error() == "permission_denied"
    }

    fn status(&self) -> Value {
        let (code, status) = policy_json(&["status", "--data", path(&self.host.data)]);
        assert_eq!(code, 0);
        status
    }

    /// The admin records of the stopped host.
    fn admin_records(mut self) -> Vec<Value> {
        assert!(self.host.stop("-TERM").success());
        records(&self.host.data).into_iter().filter(|record| record["kind"] == "admin").collect()
    }
}

#[test]
fn a_typo_is_refused_with_its_line_while_every_call_succeeds() {
    let world = World::new(&[("walls.cedar", WALL)]);
    let before = world.policy();
    assert_eq!((&before["state"], &before["problems"]), (&json!("current"), &json!([])));
    let client = world.host.client();
    let call = |_| assert_eq!(client.call("echo", json!({"text": "hello"})).structured(), &json!({"text": "hello"}));
    while_calling(1, call, |calls| {
        world.save("walls.cedar", &WALL.replace("context.input.text", "context.input.txet"));
        let refused = world.until_refused();
        assert_eq!(refused["hash"], before["hash"], "what was in force stays in force");
        let problems = refused["problems"].to_string();
        assert!(problems.contains("walls.cedar") && problems.contains("txet") && problems.contains('3'), "{problems}");
        assert!(world.is_walled());
        // A correct save ends the refusal and takes effect.
        world.save("walls.cedar", NOTHING);
        let after = world.until_other_than(&before["hash"]);
        assert_eq!(after["problems"], json!([]));
        assert!(!world.is_walled());
        // The caller goes on for a while on the new set.
        calls.wait_for(5);
    });
    assert!(world.host.log().contains("walls.cedar:3:"), "the operator is told where:\n{}", world.host.log());
    let status = world.status();
    assert_eq!((&status["reloads"], &status["refusals"], &status["generation"]), (&json!(1), &json!(1), &json!(2)));
    assert_eq!(status["last_refused"]["standing"], json!(false));
    assert_eq!((&status["policies"], &status["on_trial"]), (&json!(0), &json!(0)));
    let (code, table, _) = policy(&["status", "--data", path(&world.host.data)]);
    assert!(code == 0 && table.contains("walls.cedar:3:") && table.contains("since put right"), "{table}");
}

#[test]
fn a_change_is_written_down_with_hashes_before_it_takes_effect() {
    let world = World::new(&[("walls.cedar", NOTHING)]);
    let before = world.policy()["hash"].take();
    world.save("more.cedar", WALL);
    let after = world.until_other_than(&before)["hash"].take();
    assert!(world.is_walled());
    let status = world.status();
    assert_eq!(status["hash"], after);
    assert_eq!(status["files"].as_array().map(Vec::len), Some(2));
    assert_eq!(status["source"], "file watch");

    let records = world.admin_records();
    let [start, change] = &records[..] else { panic!("one record of the start, one of the change: {records:?}") };
    assert_eq!((&start["body"]["action"], &start["body"]["source"]), (&json!("reload"), &json!("start")));
    assert_eq!(start["policy"], before);
    assert_eq!(change["policy"], after);
    let body = &change["body"];
    assert_eq!(body["before"], json!({"generation": 1, "policies": before}));
    assert_eq!(body["after"], json!({"generation": 2, "policies": after}));
    assert_eq!(body["added"][0]["file"], "more.cedar");
    assert_eq!(body["added"][0]["sha256"].as_str().map(str::len), Some(64));
    assert_eq!((&body["changed"], &body["removed"]), (&json!([]), &json!([])));
}

#[test]
fn a_host_that_starts_with_other_policies_says_so_and_with_the_same_says_nothing() {
    let world = World::new(&[("walls.cedar", WALL)]);
    let (data, folder) = (world.host.data.clone(), world.folder.clone());
    let World { mut host, dir, _plugins: plugins, .. } = world;
    assert!(host.stop("-TERM").success());
    let start = || Host::dev(plugins.path()).on(&data).with(&["--policies", path(&folder)]).start();
    assert!(start().stop("-TERM").success());
    std::fs::write(folder.join("walls.cedar"), NOTHING).expect("writable");
    let host = start();
    let (client, again) = (host.client(), World { host, folder, dir, client: Client::new(""), _plugins: plugins });
    assert!(!client.call("echo", json!({"text": "a secret"})).is_replayed());
    let records = again.admin_records();
    let [first, second] = &records[..] else { panic!("two of three starts brought something new: {records:?}") };
    assert_eq!(second["body"]["before"]["policies"], first["policy"]);
    assert_eq!(second["body"]["changed"][0]["file"], "walls.cedar");
}

#[test]
fn a_folder_that_vanishes_or_is_emptied_keeps_its_walls() {
    let world = World::new(&[("walls.cedar", WALL)]);
    let before = world.policy();
    std::fs::remove_file(world.folder.join("walls.cedar")).expect("writable");
    let refused = world.until_refused();
    assert!(refused["problems"].to_string().contains("is empty"), "{refused}");
    assert!(world.is_walled());

    std::fs::remove_dir(&world.folder).expect("writable");
    world.until("the folder's end", |policy| policy["problems"].to_string().contains("cannot be read"));
    assert!(world.is_walled());

    // Another folder takes its name and is watched from then on.
    let next = world.dir.path().join("next");
    std::fs::create_dir(&next).expect("writable");
    std::fs::write(next.join("walls.cedar"), WALL).expect("writable");
    std::fs::rename(&next, &world.folder).expect("writable");
    let back = world.until("the old set", |policy| policy["state"] == "current");
    assert_eq!(back["hash"], before["hash"]);
    world.save("none.cedar", NOTHING);
    let both = world.until_other_than(&before["hash"]);
    std::fs::remove_file(world.folder.join("walls.cedar")).expect("writable");
    world.until_other_than(&both["hash"]);
    assert!(!world.is_walled(), "a deleted file is a change like any other");
}

#[test]
fn replacing_files_one_by_one_opens_no_window_without_walls() {
    let world = World::new(&[("more.cedar", NOTHING), ("walls.cedar", WALL)]);
    let before = world.policy();
    std::fs::remove_file(world.folder.join("walls.cedar")).expect("writable");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        assert!(world.is_walled(), "the rest may be on its way");
    }
    world.save("new.cedar", &WALL.replace("no-echo", "still-no-echo"));
    let after = world.until("the new set", |policy| {
        assert!(world.is_walled(), "one of the two walls stands");
        policy["hash"] != before["hash"]
    });
    let begun = Instant::now();
    std::fs::remove_file(world.folder.join("new.cedar")).expect("writable");
    world.until_other_than(&after["hash"]);
    assert!(!world.is_walled() && begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn a_host_does_not_start_without_the_policies_it_was_last_used_with() {
    let world = World::new(&[("walls.cedar", WALL)]);
    let (data, folder) = (world.host.data.clone(), world.folder.clone());
    let World { mut host, dir: _dir, _plugins: plugins, .. } = world;
    assert!(host.stop("-TERM").success());
    let refused = |host: Host| {
        let Err(said) = host.try_start() else { panic!("it started without walls") };
        assert!(said.contains("`walls.cedar`") && said.contains("none.cedar"), "{said}");
    };
    refused(Host::dev(plugins.path()).on(&data));
    std::fs::remove_file(folder.join("walls.cedar")).expect("writable");
    let start = || Host::dev(plugins.path()).on(&data).with(&["--policies", path(&folder)]);
    refused(start());
    std::fs::write(folder.join("none.cedar"), NOTHING).expect("writable");
    assert!(start().start().stop("-TERM").success(), "on purpose");
}

#[test]
fn half_written_oversized_and_unreadable_files_are_refused_until_they_are_whole() {
    let world = World::new(&[("walls.cedar", WALL), ("more.cedar", NOTHING)]);
    let before = world.policy();
    let refused = |what: &str| {
        let policy = world.until(what, |policy| policy["state"] == "refused" && policy["problems"].to_string().contains(what));
        assert_eq!(policy["hash"], before["hash"]);
        assert!(world.is_walled());
    };
    let walls = world.folder.join("walls.cedar");
    std::fs::write(&walls, "").expect("writable");
    refused("is empty now");
    std::fs::write(&walls, &WALL[..WALL.len() / 2]).expect("writable");
    refused("unexpected");
    world.save("walls.cedar", &format!("{WALL}{}", " ".repeat(10 << 20)));
    refused("is larger than");
    std::fs::remove_file(&walls).expect("writable");
    symlink("nowhere", &walls).expect("writable");
    refused("cannot be read");
    std::fs::remove_file(&walls).expect("writable");
    std::fs::write(&walls, WALL).expect("writable");
    assert_eq!(world.until("the whole file", |policy| policy["state"] == "current")["hash"], before["hash"]);
    let refusals = world.admin_records().iter().filter(|record| record["body"]["action"] == "reload_refused").count();
    assert_eq!(refusals, 1, "refusals in quick succession leave one record");
}

#[test]
fn a_mounted_folder_whose_link_is_swapped_is_taken_over_whole() {
    let world = World::new(&[("walls.cedar", NOTHING)]);
    for (version, text) in [("..1", NOTHING), ("..2", WALL)] {
        std::fs::create_dir(world.folder.join(version)).expect("writable");
        std::fs::write(world.folder.join(version).join("walls.cedar"), text).expect("writable");
    }
    symlink("..1", world.folder.join("..data")).expect("writable");
    symlink("..data/walls.cedar", world.folder.join(".link")).expect("writable");
    std::fs::rename(world.folder.join(".link"), world.folder.join("walls.cedar")).expect("writable");
    let before = world.policy();
    assert!(!world.is_walled());
    symlink("..2", world.folder.join("..next")).expect("writable");
    std::fs::rename(world.folder.join("..next"), world.folder.join("..data")).expect("writable");
    world.until_other_than(&before["hash"]);
    assert!(world.is_walled());
}

#[test]
fn a_daemon_looks_again_when_it_is_hung_up_on() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let plugins = plugins(&["echo"]);
    std::fs::write(dir.path().join("walls.cedar"), &WALL[..WALL.len() / 2]).expect("writable");
    let flags = ["--policies", path(dir.path())];
    let serve = || Host::dev(plugins.path()).with(&flags).config("[auth.anonymous]\nsubject = \"a\"\n").serve();
    let Err(said) = serve().try_start() else { panic!("a host does not start on half a policy") };
    assert!(said.contains("the policies are refused"), "{said}");
    std::fs::write(dir.path().join("walls.cedar"), WALL).expect("writable");
    let host = serve().start();
    let hung_up = Command::new("kill").args(["-HUP", &host.pid().to_string()]).status().expect("kill runs");
    assert!(hung_up.success());
    let deadline = Instant::now() + PATIENCE;
    while !host.log().contains("looked at plugins and policies as asked") {
        assert!(Instant::now() < deadline, "the signal was not heard:\n{}", host.log());
        std::thread::yield_now();
    }
    assert_eq!(host.client().call("echo", json!({"text": "hello"})).structured(), &json!({"text": "hello"}));
    assert_eq!(host.admin("/readyz").0, 200);
}

#[test]
fn a_file_that_is_still_being_written_is_not_taken_for_whole() {
    let more = "@id(\"second\")\nforbid (principal, action, resource) when { principal.subject == \"nobody\" };\n";
    let whole = format!("{more}{WALL}");
    let world = World::new(&[("walls.cedar", &whole)]);
    assert!(world.is_walled());
    let before = world.policy()["hash"].clone();
    // Its first policy alone would be valid, and without the wall.
    let mut file = std::fs::File::create(world.folder.join("walls.cedar")).expect("writable");
    file.write_all(more.as_bytes()).and_then(|()| file.sync_all()).expect("writable");
    let opened = Instant::now();
    while opened.elapsed() < Duration::from_secs(4) {
        assert!(world.is_walled(), "a beginning was taken for the whole");
    }
    file.write_all(WALL.replace("no-echo", "still-no-echo").as_bytes()).expect("writable");
    drop(file);
    world.until_other_than(&before);
    assert!(world.is_walled());
}

#[test]
fn a_daemon_without_policies_outlives_being_hung_up_on() {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).config("[auth.anonymous]\nsubject = \"a\"\n").serve().start();
    assert!(Command::new("kill").args(["-HUP", &host.pid().to_string()]).status().expect("kill runs").success());
    let deadline = Instant::now() + PATIENCE;
    while !host.log().contains("looked at plugins and policies as asked") {
        assert!(Instant::now() < deadline, "the signal was not heard:\n{}", host.log());
        std::thread::yield_now();
    }
    assert_eq!(host.client().call("echo", json!({"text": "hello"})).structured(), &json!({"text": "hello"}));
}

#[test]
fn every_verb_finds_the_policies_beside_the_plugins() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (built, root) = (plugins(&["echo"]), dir.path().join("plugins"));
    symlink(built.path(), &root).expect("writable");
    std::fs::create_dir(dir.path().join("policies")).expect("writable");
    std::fs::write(dir.path().join("policies/walls.cedar"), WALL).expect("writable");
    let (code, checked, _) = policy(&["check", "--plugins", path(&root)]);
    assert!(code == 0 && checked.contains("1 policy files"), "{checked}");
    let host = Host::dev(&root).config("[auth.anonymous]\nsubject = \"a\"\n").serve().start();
    let answer = host.client().call("echo", json!({"text": "a secret"}));
    assert_eq!(answer.error(), "permission_denied");
    assert!(host.log().contains(path(&dir.path().join("policies"))), "the operator is told:\n{}", host.log());
}

#[test]
fn who_is_in_which_group_is_policy_too_and_changes_on_save() {
    const STAFF: &str = "@id(\"staff-only\")\nforbid (principal, action == Tidegate::Action::\"echo\", resource)\n\
        unless { principal in Tidegate::Group::\"staff\" };\n";
    let group = json!({"type": "Tidegate::Group", "id": "staff"});
    let entities = |parents: Value| {
        json!([{"uid": group}, {"uid": {"type": "Tidegate::User", "id": "tidegate:dev|u1"}, "parents": parents}]).to_string()
    };
    let world = World::new(&[("walls.cedar", STAFF), ("entities.json", &entities(json!([])))]);
    let before = world.policy();
    assert!(world.is_walled());
    world.save("entities.json", &entities(json!([group])));
    let hired = world.until_other_than(&before["hash"]);
    assert!(!world.is_walled());
    world.save("entities.json", "[{\"uid\": 5}]");
    assert!(world.until_refused()["problems"].to_string().contains("entities.json"));
    assert!(!world.is_walled());
    // Without its policies, a folder that still tells of groups is as good as empty.
    world.save("entities.json", &entities(json!([group])));
    assert_eq!(world.until("the file put right", |policy| policy["state"] == "current")["hash"], hired["hash"]);
    std::fs::remove_file(world.folder.join("walls.cedar")).expect("writable");
    assert!(world.until_refused()["problems"].to_string().contains("is empty"));
    let records = world.admin_records();
    let changed =
        records.iter().find(|record| record["body"]["source"] == "file watch" && record["body"]["changed"] != json!(null));
    assert_eq!(changed.expect("one change took effect")["body"]["changed"][0]["file"], "entities.json");
}
