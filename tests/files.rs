//! The plugin `files` and the directories behind it: what is granted is read and written, once, whole, and nothing beside it.

mod crashes;
mod escapes;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{Answer, Host, Started, plugins, tidegate};

/// A host that grants two directories: `docs` for reading, `notes` for writing.
struct Granted {
    host: Started,
    folder: tempfile::TempDir,
    _plugins: tempfile::TempDir,
}

impl Granted {
    fn start(plugin: &str, more: &str) -> Self {
        Self::start_with(plugin, more, |host| host)
    }

    fn start_with(plugin: &str, more: &str, with: impl FnOnce(Host) -> Host) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["docs/manuals", "notes"] {
            std::fs::create_dir_all(folder.path().join(name)).expect("it can be made");
        }
        std::fs::write(folder.path().join("docs/a.txt"), "one\ntwo\nthree\n").expect("written");
        std::fs::write(folder.path().join("docs/manuals/gate.md"), "# Gates\n").expect("written");
        std::fs::write(folder.path().join("notes/b.txt"), "one\ntwo\n").expect("written");
        let plugins = plugins(&[plugin]);
        if plugin == "hostile" {
            let manifest = plugins.path().join("hostile/plugin.toml");
            let text = std::fs::read_to_string(&manifest).expect("it has a manifest").replace("\"billing\"", "\"files\"");
            let text = text.replace("deadline = \"2s\"", "deadline = \"100s\"");
            std::fs::write(&manifest, text).expect("it can be written");
        }
        let host = with(Host::dev(plugins.path()).config(&config(folder.path(), more))).start();
        Self { host, folder, _plugins: plugins }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn content(&self, path: &str) -> String {
        std::fs::read_to_string(self.at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// What lies in a folder, hidden or not.
    fn names(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.at(path)).expect("a folder").map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<_> = entries.map(|name| name.into_string().expect("text")).collect();
        names.sort();
        names
    }

    fn call(&self, tool: &str, arguments: Value) -> Answer {
        self.host.client().try_call(json!({"name": tool, "arguments": arguments})).expect("the host lives")
    }

    fn write(&self, tool: &str, arguments: Value, key: &str) -> Answer {
        let meta = json!({"dev.tidegate/idempotency-key": key});
        self.host.client().try_call(json!({"name": tool, "arguments": arguments, "_meta": meta})).expect("the host lives")
    }
}

/// A config that grants `docs` and `notes` in a folder, with more settings of the backend.
fn config(folder: &Path, more: &str) -> String {
    format!(
        "[backends.files]\n{more}\n[backends.files.directories]\ndocs = {{ path = {:?} }}\n\
         notes = {{ path = {:?}, write = true }}\n",
        folder.join("docs"),
        folder.join("notes")
    )
}

fn text(answer: &Answer) -> &str {
    assert!(answer.body["result"]["isError"] != json!(true), "{answer:?}");
    answer.body["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text: {answer:?}"))
}

fn message(answer: &Answer) -> String {
    answer.envelope()["message"].as_str().expect("a message").to_owned()
}

#[test]
fn directories_are_listed_read_searched_written_and_edited() {
    let mut granted = Granted::start("files", "");
    assert_eq!(text(&granted.call("list_allowed_directories", json!({}))), "Allowed directories:\ndocs (read only)\nnotes");
    assert_eq!(text(&granted.call("list_directory", json!({"path": "docs"}))), "[FILE] a.txt\n[DIR] manuals");
    assert_eq!(text(&granted.call("read_text_file", json!({"path": "docs/a.txt", "tail": 2}))), "two\nthree");
    assert_eq!(text(&granted.call("read_text_file", json!({"path": "docs/a.txt", "head": 1}))), "one");
    assert_eq!(text(&granted.call("search_files", json!({"path": "docs", "pattern": "**/*.md"}))), "docs/manuals/gate.md");
    let info = granted.call("get_file_info", json!({"path": "docs/a.txt"}));
    assert!(text(&info).starts_with("size: 14\ncreated: 2") && text(&info).contains("isFile: true"), "{info:?}");

    let written = granted.write("write_file", json!({"path": "notes/ü 50%.txt", "content": "new\n"}), "files-write-000001");
    assert_eq!(text(&written), "Successfully wrote to notes/ü 50%.txt");
    assert_eq!(granted.content("notes/ü 50%.txt"), "new\n");
    let edits = json!([{"oldText": "two", "newText": "2"}]);
    let edited = granted.write("edit_file", json!({"path": "notes/b.txt", "edits": edits}), "files-edit-0000001");
    assert!(text(&edited).contains("-two\n+2\n"), "{edited:?}");
    assert_eq!(granted.content("notes/b.txt"), "one\n2\n");
    text(&granted.write("create_directory", json!({"path": "notes/old/2025"}), "files-folder-00001"));
    let moved = json!({"source": "notes/b.txt", "destination": "notes/old/2025/b.txt"});
    text(&granted.write("move_file", moved, "files-move-0000001"));
    assert_eq!(granted.content("notes/old/2025/b.txt"), "one\n2\n");
    let listing = granted.call("directory_tree", json!({"path": "notes"}));
    assert!(!text(&listing).contains(".tidegate-"), "nothing is left of what was on its way: {listing:?}");

    granted.host.stop("-TERM");
    let records = tidegate(&["audit", "list", "--output", "json", "--data", &granted.host.data.display().to_string()]);
    let records: Value = serde_json::from_slice(&records.stdout).expect("JSON");
    let outcomes = records.as_array().expect("a list").iter().filter(|record| record["kind"] == "outcome");
    let sent: Vec<Value> = outcomes.flat_map(|outcome| outcome["body"]["sent"].as_array().cloned().unwrap_or_default()).collect();
    let moved_to = "/notes/b.txt?move-to=%2Fnotes%2Fold%2F2025%2Fb.txt";
    for (method, path, status) in [
        ("GET", "/docs/a.txt", 206),
        ("PUT", "/notes/b.txt", 200),
        ("PUT", "/notes/old/2025?folder=", 201),
        ("POST", moved_to, 200),
    ] {
        let is_it = |sent: &&Value| sent["method"] == method && sent["path"] == path && sent["backend"] == "files";
        assert!(sent.iter().filter(is_it).any(|sent| sent["status"] == status), "{method} {path}: {sent:#?}");
    }
}

#[test]
fn what_is_refused_is_refused_in_words_and_changes_nothing() {
    let granted = Granted::start("files", "max_request = \"64KiB\"\nmax_response = \"256KiB\"");
    std::fs::write(granted.at("docs/large"), vec![b'x'; 300 << 10]).expect("written");
    std::fs::write(granted.at("docs/image"), b"\x89PNG\xff\0").expect("written");
    let refused = [
        ("write_file", json!({"path": "docs/a.txt", "content": ""}), "permission_denied", "`docs` is for reading only"),
        (
            "edit_file",
            json!({"path": "docs/a.txt", "edits": [{"oldText": "one", "newText": ""}]}),
            "permission_denied",
            "reading only",
        ),
        ("create_directory", json!({"path": "docs/new"}), "permission_denied", "reading only"),
        ("move_file", json!({"source": "docs/a.txt", "destination": "notes/a.txt"}), "permission_denied", "reading only"),
        ("move_file", json!({"source": "notes/b.txt", "destination": "docs/b.txt"}), "permission_denied", "reading only"),
        ("move_file", json!({"source": "notes", "destination": "notes/n"}), "permission_denied", "the operator's"),
        ("write_file", json!({"path": "notes", "content": ""}), "permission_denied", "the operator's"),
        ("write_file", json!({"path": "notes/none/a", "content": ""}), "not_found", "`notes/none/a` is not there"),
        ("write_file", json!({"path": "notes/b.txt/a", "content": ""}), "not_found", "is no folder"),
        (
            "write_file",
            json!({"path": "notes/large", "content": "x".repeat(100 << 10)}),
            "invalid_arguments",
            "more than the host sends",
        ),
        (
            "write_file",
            json!({"path": format!("notes/{}", "n".repeat(256)), "content": ""}),
            "invalid_arguments",
            "longer than 255",
        ),
        ("create_directory", json!({"path": "notes/b.txt"}), "conflict", "is a file"),
        ("move_file", json!({"source": "notes/none", "destination": "notes/n"}), "not_found", "is not there"),
        ("read_text_file", json!({"path": "docs/none"}), "not_found", "`docs/none` is not there"),
        ("read_text_file", json!({"path": "docs/manuals"}), "conflict", "is a folder"),
        ("read_text_file", json!({"path": "docs/large"}), "failed", "read it in parts"),
        ("read_text_file", json!({"path": "docs/image"}), "failed", "read_media_file"),
        ("read_text_file", json!({"path": "secret/a"}), "not_found", "there is no directory `secret`, but `docs`, `notes`"),
        ("read_text_file", json!({"path": "/etc/passwd"}), "invalid_arguments", "write `etc/passwd`"),
        ("list_directory", json!({"path": "docs/a.txt"}), "not_found", "is no folder"),
        ("list_directory", json!({"path": "docs/../notes"}), "invalid_arguments", "`..`"),
    ];
    for (at, (tool, arguments, code, said)) in refused.into_iter().enumerate() {
        let is_write = ["write_file", "edit_file", "create_directory", "move_file"].contains(&tool);
        let answer = match is_write {
            true => granted.write(tool, arguments, &format!("files-refused-{at:06}")),
            false => granted.call(tool, arguments),
        };
        assert!(answer.error() == code && message(&answer).contains(said), "{at}, {tool}: {answer:?}");
    }
    let onto = json!({"source": "notes/b.txt", "destination": "notes/c.txt"});
    std::fs::write(granted.at("notes/c.txt"), "kept").expect("written");
    assert_eq!(granted.write("move_file", onto, "files-move-onto-01").error(), "conflict");
    assert_eq!((granted.content("notes/c.txt"), granted.content("notes/b.txt")), ("kept".into(), "one\ntwo\n".into()));
    assert_eq!(granted.content("docs/a.txt"), "one\ntwo\nthree\n");
    let names: Vec<_> =
        std::fs::read_dir(granted.at("notes")).expect("a folder").map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn a_write_with_a_key_is_made_once_and_replayed() {
    let granted = Granted::start("files", "");
    let append = json!({"path": "notes/b.txt", "edits": [{"oldText": "two", "newText": "two\nthree"}]});
    let first = granted.write("edit_file", append.clone(), "files-replayed-0001");
    let again = granted.write("edit_file", append, "files-replayed-0001");
    assert!(!first.is_replayed() && again.is_replayed() && text(&first) == text(&again), "{again:?}");
    assert_eq!(granted.content("notes/b.txt"), "one\ntwo\nthree\n");
    let keyless = granted.call("write_file", json!({"path": "notes/b.txt", "content": ""}));
    assert_eq!(keyless.error(), "idempotency_key_required");
}

#[test]
fn of_many_edits_at_once_none_is_lost_and_the_others_are_conflicts() {
    let granted = Granted::start("files", "");
    std::fs::write(granted.at("notes/count"), "00000\n").expect("written");
    let done: usize = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..8)
            .map(|caller| {
                let granted = &granted;
                scope.spawn(move || {
                    let mut done = 0;
                    for turn in 0..10 {
                        let now: usize = text(&granted.call("read_text_file", json!({"path": "notes/count"})))
                            .trim()
                            .parse()
                            .expect("a number");
                        let edit = json!([{"oldText": format!("{now:05}\n"), "newText": format!("{:05}\n", now + 1)}]);
                        let answer = granted.write(
                            "edit_file",
                            json!({"path": "notes/count", "edits": edit}),
                            &format!("files-count-{caller}-{turn:05}"),
                        );
                        match answer.body["result"]["isError"] == json!(true) {
                            true => assert_eq!(answer.error(), "conflict", "{answer:?}"),
                            false => done += 1,
                        }
                    }
                    done
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().expect("it ends well")).sum()
    });
    assert_eq!(granted.content("notes/count"), format!("{done:05}\n"), "each edit that was made counts once");
    assert!(done >= 10, "{done}");
}

#[test]
fn a_policy_that_speaks_of_paths_holds() {
    let policies = tempfile::tempdir().expect("a temporary folder");
    let readme = std::fs::read_to_string(crate::harness::workspace().join("plugins/files/README.md")).expect("it has one");
    let walls: Vec<_> = readme.split("```cedar\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!walls.is_empty());
    std::fs::write(policies.path().join("walls.cedar"), walls.concat()).expect("written");
    let path = policies.path().display().to_string();
    let granted = Granted::start_with("files", "", |host| host.with(&["--policies", &path]));
    std::fs::create_dir(granted.at("docs/drafts")).expect("made");
    std::fs::write(granted.at("docs/drafts/a.txt"), "secret").expect("written");
    assert_eq!(text(&granted.call("read_text_file", json!({"path": "docs/a.txt"}))), "one\ntwo\nthree\n");
    for path in [
        "docs/drafts/a.txt",
        "docs//drafts/a.txt",
        "docs/./drafts/a.txt",
        "docs/manuals/../drafts/a.txt",
        "/docs/drafts/a.txt",
        "docs/drafts/a.txt/",
    ] {
        for (tool, arguments) in [
            ("read_text_file", json!({"path": path})),
            ("read_media_file", json!({"path": path})),
            ("read_multiple_files", json!({"paths": [path]})),
        ] {
            let answer = granted.call(tool, arguments);
            assert!(!answer.body.to_string().contains("secret"), "{tool} {path}: {answer:?}");
        }
    }
    assert_eq!(granted.call("read_text_file", json!({"path": "docs/drafts/a.txt"})).error(), "permission_denied");
}

#[test]
fn a_directory_that_is_not_there_is_said_to_operators_and_callers_and_may_come_later() {
    let granted = Granted::start("files", "");
    std::fs::rename(granted.at("docs"), granted.at("gone")).expect("moved");
    let answer = granted.call("read_text_file", json!({"path": "docs/a.txt"}));
    assert_eq!(answer.error(), "backend_unavailable", "{answer:?}");
    let health = granted.host.readiness()["backends"]["files"].clone();
    assert!(
        health["problem"].as_str().is_some_and(|problem| problem.contains("docs` can't be opened: No such file")),
        "{health}"
    );
    assert!(!message(&answer).contains("can't be opened: No such file"), "where it is, is the operator's affair: {answer:?}");
    // However often it is asked for, the other directory answers, and hides nothing of what is wrong.
    for _ in 0..12 {
        assert_eq!(granted.call("read_text_file", json!({"path": "docs/a.txt"})).error(), "backend_unavailable");
    }
    text(&granted.call("read_text_file", json!({"path": "notes/b.txt"})));
    assert!(granted.host.readiness()["backends"]["files"]["problem"].is_string());
    std::fs::rename(granted.at("gone"), granted.at("docs")).expect("moved");
    text(&granted.call("read_text_file", json!({"path": "docs/a.txt"})));
    assert_eq!(granted.host.readiness()["backends"]["files"]["problem"], Value::Null);
}

#[test]
fn a_grant_that_would_open_the_host_itself_is_refused_at_start() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plugins = plugins(&["files"]);
    let refused = |grant: &str| {
        let config = format!("[backends.files.directories]\n{grant}\n");
        let data = folder.path().join("host/data");
        Host::dev(plugins.path()).on(&data).config(&config).try_start().err().expect("it is refused")
    };
    let at = folder.path().display();
    for (grant, said) in [
        (format!("all = {{ path = \"{at}\" }}"), "holds the data folder of this host, which no plugin may read"),
        ("root = { path = \"/\" }".to_owned(), "holds the data folder"),
        ("here = { path = \"docs\" }".to_owned(), "write an absolute one"),
        ("\"a/b\" = { path = \"/srv\" }".to_owned(), "cannot be the name of a directory"),
        ("docs = { path = \"/srv\", writable = true }".to_owned(), "unknown field `writable`"),
        ("docs = { path = \"/srv\" }\n[backends.files]\nurl = \"http://a\"".to_owned(), "it has a `url` and `directories`"),
    ] {
        let told = refused(&grant);
        assert!(told.contains(said), "{grant}: {told}");
    }
}
