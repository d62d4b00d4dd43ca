//! Attacks on the directories, by a guest that speaks to them directly: nothing outside is read, written or made to hang.

use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::harness::Over;

/// What must not be seen.
const SECRET: &str = "root of all secrets";

/// A hostile guest beside two directories, and a secret beside those.
fn hostile() -> Granted {
    let granted = Granted::start("hostile", "");
    std::fs::create_dir(granted.at("outside")).expect("made");
    std::fs::write(granted.at("outside/secret"), SECRET).expect("written");
    granted
}

/// The status that the directories answered, if they were asked.
fn status(answer: &Answer) -> Option<u64> {
    match answer.body["result"]["isError"] == json!(true) {
        true => message(answer).strip_prefix("status ")?.get(..3)?.parse().ok(),
        false => answer.structured()["status"].as_u64(),
    }
}

impl Granted {
    /// Asks the directories by the tool for it: only one that writes may change something.
    fn ask(&self, method: &str, target: &str, headers: Value, body: &str) -> Answer {
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        let wanted = json!({"url": format!("http://files{target}"), "method": method, "headers": headers, "body": body});
        match method {
            "GET" | "HEAD" => self.call("fetch", wanted),
            _ => self.write("change", wanted, &format!("files-change-{:08}", CALLS.fetch_add(1, Ordering::Relaxed))),
        }
    }

    /// Holds that a request comes to nothing, refused by the host, or by the directories with a status of 4xx; while an honest one is
    /// answered.
    fn comes_to_nothing(&self, method: &str, target: &str) {
        let answer = self.ask(method, target, json!({}), if method == "PUT" { "x" } else { "" });
        assert!(!answer.body.to_string().contains(SECRET), "{method} {target}: {answer:?}");
        match status(&answer) {
            Some(status) => assert!((400..500).contains(&status), "{method} {target}: {answer:?}"),
            // Not let through by the host, or no URL at all.
            None => {
                let codes = ["permission_denied", "backend_unavailable", "invalid_arguments"];
                let is_refused = codes.contains(&answer.error().as_str()) && answer.envelope()["effect"] == json!("none");
                assert!(is_refused, "{method} {target}: {answer:?}");
            }
        }
        let honest = self.ask("GET", "/notes/b.txt", json!({}), "");
        assert_eq!(status(&honest), Some(200), "after {method} {target}: {honest:?}");
        assert_eq!(self.content("outside/secret"), SECRET);
    }
}

#[test]
fn a_tool_that_only_reads_changes_nothing_however_it_asks() {
    let granted = hostile();
    let wanted = |method: &str, target: &str| json!({"url": format!("http://files{target}"), "method": method, "body": "x"});
    let changes = [
        ("PUT", "/notes/b.txt"),
        ("PUT", "/notes/new"),
        ("PUT", "/notes/folder?folder"),
        ("POST", "/notes/b.txt?move-to=%2Fnotes%2Fmoved"),
    ];
    for (method, target) in changes {
        let answer = granted.call("fetch", wanted(method, target));
        assert_eq!(answer.error(), "permission_denied", "{method} {target}: {answer:?}");
        assert!(message(&answer).contains("the tool only reads"), "{answer:?}");
        let names: Vec<_> =
            std::fs::read_dir(granted.at("notes")).expect("a folder").map(|entry| entry.expect("an entry").file_name()).collect();
        assert_eq!((names, granted.content("notes/b.txt")), (vec!["b.txt".into()], "one\ntwo\n".to_owned()));
    }
    for (method, target) in changes {
        let answer = granted.ask(method, target, json!({}), "x");
        assert!(matches!(status(&answer), Some(200 | 201)), "{method} {target}: {answer:?}");
        let keyless = granted.call("change", wanted(method, target));
        assert_eq!(keyless.error(), "idempotency_key_required", "{keyless:?}");
    }
}

#[test]
fn no_spelling_of_a_path_leads_out() {
    let granted = hostile();
    let real = granted.folder.path().display().to_string();
    let long = format!("/notes/{}", "n".repeat(300));
    let deep = format!("/notes{}", "/n".repeat(100));
    for target in [
        "/notes/../outside/secret",
        "/notes/..%2foutside%2fsecret",
        "/notes/%2e%2e/outside/secret",
        "/notes/%252e%252e/outside/secret",
        "/notes/.%2e/outside/secret",
        "/notes/..;/outside/secret",
        "/notes/..%5coutside%5csecret",
        "/../outside/secret",
        "/outside/secret",
        "//outside/secret",
        "/notes//../../outside/secret",
        "/notes/a%00/../../outside/secret",
        "/notes/%2fetc%2fpasswd",
        "/%2fetc/passwd",
        "/notes/%c0%ae%c0%ae/outside/secret",
        "/notes/\u{ff0e}\u{ff0e}/outside/secret",
        "/notes?depth=1&depth=2",
        "/notes?depth=33",
        "/notes?depth=-1",
        "/notes/.tidegate-0123456789abcdef.part",
        &long,
        &deep,
        &format!("/notes{real}/outside/secret"),
        &format!("/{real}/outside/secret"),
    ] {
        granted.comes_to_nothing("GET", target);
        granted.comes_to_nothing("PUT", target);
        granted.comes_to_nothing("POST", &format!("{target}?move-to=%2Fnotes%2Fstolen"));
    }
    for to in ["%2Foutside%2Fx", "%2Fnotes%2F..%2Fx", "%2Fnotes%2F%252e%252e%2Fx", "notes%2Fx", "%2F", "%2Fdocs%2Fx", ""] {
        granted.comes_to_nothing("POST", &format!("/notes/b.txt?move-to={to}"));
    }
    for method in ["DELETE", "PATCH", "OPTIONS", "MKCOL", "PROPFIND", "TRACE", "CONNECT"] {
        granted.comes_to_nothing(method, "/notes/b.txt");
    }
    assert_eq!(granted.content("notes/b.txt"), "one\ntwo\n");
    let left: Vec<_> =
        std::fs::read_dir(granted.at("notes")).expect("a folder").map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(left, ["b.txt"], "nothing was made");
}

#[test]
fn links_pipes_and_devices_are_listed_and_neither_followed_nor_opened() {
    let granted = hostile();
    symlink(granted.at("outside"), granted.at("notes/folder")).expect("made");
    symlink(granted.at("outside/secret"), granted.at("notes/file")).expect("made");
    symlink("b.txt", granted.at("notes/inside")).expect("made");
    symlink("/etc", granted.at("notes/etc")).expect("made");
    symlink(granted.at("outside/new"), granted.at("notes/dangling")).expect("made");
    symlink("loop", granted.at("notes/loop")).expect("made");
    assert!(Command::new("mkfifo").arg(granted.at("notes/pipe")).status().expect("it runs").success());
    let _socket = std::os::unix::net::UnixListener::bind(granted.at("notes/socket")).expect("bound");
    for name in ["file", "inside", "dangling", "loop", "pipe", "socket", "folder/secret", "etc/passwd", "folder", "etc"] {
        granted.comes_to_nothing("GET", &format!("/notes/{name}"));
        granted.comes_to_nothing("PUT", &format!("/notes/{name}"));
        granted.comes_to_nothing("GET", &format!("/notes/{name}?depth=3"));
        granted.comes_to_nothing("PUT", &format!("/notes/{name}/made?folder"));
        granted.comes_to_nothing("POST", &format!("/notes/{name}?move-to=%2Fnotes%2Fmoved"));
        granted.comes_to_nothing("POST", &format!("/notes/b.txt?move-to=%2Fnotes%2F{name}%2Fx"));
    }
    assert!(!granted.at("outside/new").exists());
    let listed = granted.ask("GET", "/notes?depth=9", json!({}), "");
    let listing: Value = listed.structured()["body"].as_str().expect("a body").parse().expect("JSON");
    let kinds: Vec<_> = listing["entries"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| (entry["path"].as_str().expect("a path"), entry["kind"].as_str().expect("a kind")))
        .collect();
    assert_eq!(
        kinds,
        [
            ("b.txt", "file"),
            ("dangling", "link"),
            ("etc", "link"),
            ("file", "link"),
            ("folder", "link"),
            ("inside", "link"),
            ("loop", "link"),
            ("pipe", "other"),
            ("socket", "other")
        ]
    );
}

#[test]
fn a_folder_that_is_swapped_for_a_link_between_looking_and_reading_leads_nowhere() {
    let granted = hostile();
    std::fs::create_dir(granted.at("notes/turn")).expect("made");
    std::fs::write(granted.at("notes/turn/secret"), "harmless").expect("written");
    std::fs::write(granted.at("outside/b.txt"), SECRET).expect("written");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let over = Over(&is_over);
        scope.spawn(|| {
            let (turn, aside, link) = (granted.at("notes/turn"), granted.at("aside"), granted.at("link"));
            symlink(granted.at("outside"), &link).expect("made");
            while !is_over.load(Ordering::Relaxed) {
                std::fs::rename(&turn, &aside).expect("moved");
                std::fs::rename(&link, &turn).expect("moved");
                std::fs::rename(&turn, &link).expect("moved");
                std::fs::rename(&aside, &turn).expect("moved");
            }
        });
        let (mut seen, begun) = ((0, 0), Instant::now());
        for turn in 0.. {
            let read = granted.ask("GET", "/notes/turn/secret", json!({}), "");
            assert!(!read.body.to_string().contains(SECRET), "{read:?}");
            match status(&read) {
                Some(200) => seen.0 += 1,
                _ => seen.1 += 1,
            }
            granted.ask("PUT", &format!("/notes/turn/new-{turn}"), json!({}), "x");
            if turn >= 150 && seen.0 > 0 && seen.1 > 0 {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "both are met some time: {seen:?}");
        }
        drop(over);
    });
    let outside: Vec<_> =
        std::fs::read_dir(granted.at("outside")).expect("a folder").map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(outside.len(), 2, "{outside:?}");
}

#[test]
fn ranges_tags_and_limits_hold_for_whoever_asks() {
    let granted = Granted::start("hostile", "max_request = \"1KiB\"\nmax_response = \"4KiB\"");
    std::fs::write(granted.at("docs/large"), vec![b'x'; 10_000]).expect("written");
    let status = |answer: &Answer| status(answer).expect("a status");
    assert_eq!(status(&granted.ask("GET", "/docs/large", json!({}), "")), 413);
    let part = granted.ask("GET", "/docs/large", json!({"range": "bytes=0-9999999"}), "");
    assert_eq!((status(&part), part.structured()["body"].as_str().map(str::len)), (206, Some(4096)), "{part:?}");
    assert_eq!(part.structured()["headers"]["content-range"], "bytes 0-4095/10000");
    assert_eq!(status(&granted.ask("GET", "/docs/large", json!({"range": "bytes=10000-"}), "")), 416);
    let tag = granted.ask("GET", "/notes/b.txt", json!({}), "").structured()["headers"]["etag"].clone();
    for (headers, expected) in [
        (json!({"if-match": "\"other\""}), 412),
        (json!({"if-none-match": "*"}), 412),
        (json!({"if-match": tag}), 200),
        (json!({"if-match": tag}), 412),
    ] {
        assert_eq!(status(&granted.ask("PUT", "/notes/b.txt", headers.clone(), "changed")), expected, "{headers}");
    }
    assert_eq!(status(&granted.ask("PUT", "/notes/new", json!({"if-none-match": "*"}), "made")), 201);
    assert_eq!(status(&granted.ask("PUT", "/notes/new", json!({"if-match": "\"x\""}), "")), 412);
    assert_eq!(status(&granted.ask("PUT", "/notes/none", json!({"if-match": "\"x\""}), "")), 412);
    // More than may be sent never leaves.
    granted.ask("PUT", "/notes/new", json!({}), &"x".repeat(2000));
    assert_eq!(granted.content("notes/new"), "made");
    for n in 0..200 {
        std::fs::write(granted.at(&format!("notes/{n}-{}", "n".repeat(100))), "").expect("written");
    }
    let listed = granted.ask("GET", "/notes?depth=1", json!({}), "");
    let body = listed.structured()["body"].as_str().expect("a body");
    assert!(body.len() <= 4096 && body.ends_with("\"truncated\":true}"), "{body}");
}
