//! The tools against a stand-in for the host's directories.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::{Value, json};
use tidegate_plugin_sdk::code;
use tidegate_plugin_sdk::http::{Method, Request, Response};
use tidegate_plugin_sdk::testing::{Host, reply};

use super::PLUGIN;

/// Files by path, as the host's directories hold them.
type Disk = Rc<RefCell<BTreeMap<String, Vec<u8>>>>;

fn tag(content: &[u8]) -> String {
    format!("\"{}-{}\"", content.len(), content.iter().map(|byte| u64::from(*byte)).sum::<u64>())
}

fn with(status: u16, headers: &[(&str, String)], body: &[u8]) -> Response {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into_bytes())).collect();
    Response::new("files", status, headers, body.to_vec())
}

fn header<'r>(request: &'r Request, name: &str) -> Option<&'r str> {
    request.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// Answers as the host does; see `host/src/outbound/directory`.
fn answer(disk: &Disk, request: &Request) -> Response {
    let mut disk = disk.borrow_mut();
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    match (request.method, query) {
        (Method::Get, "") if path == "/" => {
            reply(200, &json!({"directories": [{"name": "docs", "write": false}, {"name": "notes", "write": true}]}))
        }
        (Method::Get, "") => {
            let Some(content) = disk.get(path) else { return reply(404, &json!({"message": "`it` is not there"})) };
            let Some(range) = header(request, "range") else { return with(200, &[("etag", tag(content))], content) };
            let (first, last) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')).expect("a range");
            let (from, to) = match first.parse::<usize>() {
                Ok(from) => (from, (last.parse::<usize>().expect("a number") + 1).min(content.len())),
                Err(_) => (content.len().saturating_sub(last.parse().expect("a number")), content.len()),
            };
            if from >= to {
                return reply(416, &json!({"message": "nothing is there"}));
            }
            with(206, &[("content-range", format!("bytes {from}-{}/{}", to - 1, content.len()))], &content[from..to])
        }
        (Method::Get, depth) if depth.starts_with("depth=") => {
            let below = format!("{path}/");
            let files = disk.iter().filter_map(|(file, content)| Some((file.strip_prefix(&below)?, content)));
            let entries: Vec<_> =
                files.map(|(path, content)| json!({"path": path, "kind": if path.ends_with("dir") { "folder" } else { "file" }, "size": content.len()})).collect();
            reply(200, &json!({"entries": entries, "truncated": entries.len() > 9}))
        }
        (Method::Get, _) => reply(
            200,
            &json!({"kind": "file", "size": 3, "created": null, "modified": "2026-05-03T00:00:00Z", "accessed": "2026-05-03T00:00:00Z", "permissions": "644"}),
        ),
        (Method::Put, "") if path.starts_with("/docs") => {
            reply(403, &json!({"message": "the directory `docs` is for reading only"}))
        }
        (Method::Put, "") => {
            if header(request, "if-match").is_some_and(|wanted| disk.get(path).is_none_or(|content| tag(content) != wanted)) {
                return reply(412, &json!({"message": "`it` was changed"}));
            }
            disk.insert(path.to_owned(), request.body.clone());
            with(201, &[], b"")
        }
        (Method::Put, _) => with(201, &[], b""),
        (Method::Post, _) if query.contains("full") => reply(507, &json!({"message": "the disk is full"})),
        (Method::Post, _) => with(200, &[], b""),
        _ => reply(405, &json!({"message": "no"})),
    }
}

fn disk(files: &[(&str, &str)]) -> (Host, Disk) {
    let files = files.iter().map(|(path, content)| ((*path).to_owned(), content.as_bytes().to_vec())).collect();
    let disk: Disk = Rc::new(RefCell::new(files));
    let shared = Rc::clone(&disk);
    (Host::new().backend("files", move |request| Ok(answer(&shared, request))), disk)
}

fn call(host: &Host, tool: &str, arguments: Value) -> Result<String, (String, String)> {
    let output = PLUGIN.call(tool, &arguments.to_string(), &host.context()).map_err(|failure| (failure.code, failure.message))?;
    let content: Value = serde_json::from_str(&output.content).expect("JSON");
    Ok(content[0]["text"].as_str().unwrap_or_else(|| panic!("{content}")).to_owned())
}

#[test]
fn a_file_is_read_whole_or_from_either_end() {
    let numbered: Vec<_> = (1..=50_000).map(|n| format!("line {n}")).collect();
    let (host, _) = disk(&[("/docs/a.txt", "one\ntwo\nthree\n"), ("/docs/none", ""), ("/docs/long", &numbered.join("\n"))]);
    let read = |arguments: Value| call(&host, "read_text_file", arguments);
    assert_eq!(read(json!({"path": "docs/a.txt"})).as_deref(), Ok("one\ntwo\nthree\n"));
    assert_eq!(read(json!({"path": "docs/a.txt", "head": 2})).as_deref(), Ok("one\ntwo"));
    assert_eq!(read(json!({"path": "docs/a.txt", "tail": 2})).as_deref(), Ok("two\nthree"));
    assert_eq!(read(json!({"path": "docs/a.txt", "tail": 9})).as_deref(), Ok("one\ntwo\nthree"));
    assert_eq!(read(json!({"path": "docs/a.txt", "head": 9})).as_deref(), Ok("one\ntwo\nthree\n"));
    assert_eq!(read(json!({"path": "docs/none", "head": 1})).as_deref(), Ok(""));
    assert_eq!(read(json!({"path": "docs/long", "head": 1})).as_deref(), Ok("line 1"));
    assert_eq!(read(json!({"path": "docs/long", "head": 20_000})).map(|text| text.lines().count()), Ok(20_000));
    assert_eq!(
        read(json!({"path": "docs/long", "tail": 20_000})).map(|text| text.lines().next().map(str::to_owned)),
        Ok(Some("line 30001".into()))
    );
    let (code, _) = read(json!({"path": "docs/a.txt", "head": 1, "tail": 1})).expect_err("not both");
    assert_eq!(code, code::INVALID_ARGUMENTS);
    let (code, message) = read(json!({"path": "docs/b.txt"})).expect_err("it is not there");
    assert_eq!((code.as_str(), message.as_str()), (code::NOT_FOUND, "`it` is not there"));
    assert_eq!(call(&host, "read_file", json!({"path": "docs/a.txt"})).as_deref(), Ok("one\ntwo\nthree\n"));
}

#[test]
fn of_a_large_file_only_the_part_that_is_asked_for_is_read() {
    let (host, _) = disk(&[("/docs/long", &"a line of it\n".repeat(100_000)), ("/docs/line", &"x".repeat(2 << 20))]);
    call(&host, "read_text_file", json!({"path": "docs/long", "tail": 3})).expect("it is there");
    assert_eq!(header(&host.requests()[0], "range"), Some("bytes=-65536"));
    let (code, message) = call(&host, "read_text_file", json!({"path": "docs/long"})).expect_err("it is too large");
    assert!(code == code::FAILED && message.contains("`head` or `tail`"), "{message}");
    let (_, message) = call(&host, "read_text_file", json!({"path": "docs/line", "head": 1})).expect_err("one long line");
    assert!(message.contains("ask for fewer"), "{message}");
}

#[test]
fn what_is_no_text_is_read_as_media() {
    let (host, disk) = disk(&[]);
    disk.borrow_mut().insert("/docs/gate.PNG".into(), b"\x89PNG\xff".to_vec());
    let (_, message) = call(&host, "read_text_file", json!({"path": "docs/gate.PNG"})).expect_err("no text");
    assert!(message.contains("read_media_file"), "{message}");
    let output = PLUGIN.call("read_media_file", r#"{"path":"docs/gate.PNG"}"#, &host.context()).expect("media");
    let content: Value = serde_json::from_str(&output.content).expect("JSON");
    assert_eq!(content, json!([{"type": "image", "data": "iVBOR/8=", "mimeType": "image/png"}]));
}

#[test]
fn several_files_are_read_and_one_that_cannot_be_keeps_none_back() {
    let (host, _) = disk(&[("/docs/a", "A"), ("/docs/c", "C")]);
    let text =
        call(&host, "read_multiple_files", json!({"paths": ["docs/a", "docs/b", "/docs/c", "docs/c"]})).expect("some are there");
    assert!(text.starts_with("docs/a:\nA\n\n---\ndocs/b: Error - `it` is not there\n---\n/docs/c: Error - "), "{text}");
    assert!(text.ends_with("\n---\ndocs/c:\nC\n"), "{text}");
}

#[test]
fn folders_are_listed_as_people_know_it() {
    let (host, _) = disk(&[("/docs/a.txt", "12345"), ("/docs/dir", ""), ("/docs/dir/b.md", &"x".repeat(2048))]);
    assert_eq!(
        call(&host, "list_allowed_directories", json!({})).as_deref(),
        Ok("Allowed directories:\ndocs (read only)\nnotes")
    );
    assert_eq!(call(&host, "list_directory", json!({"path": "docs"})).as_deref(), Ok("[FILE] a.txt\n[DIR] dir\n[FILE] dir/b.md"));
    let sized = call(&host, "list_directory_with_sizes", json!({"path": "docs", "sortBy": "size"})).expect("a listing");
    assert!(sized.starts_with("[FILE] dir/b.md") && sized.contains("2.00 KB\n[FILE] a.txt"), "{sized}");
    assert!(sized.ends_with("Total: 2 files, 1 directories\nCombined size: 2.00 KB"), "{sized}");
    let tree: Value = call(&host, "directory_tree", json!({"path": "docs"})).expect("a tree").parse().expect("JSON");
    assert_eq!(
        tree,
        json!([{"name": "a.txt", "type": "file"},
               {"name": "dir", "type": "directory", "children": [{"name": "b.md", "type": "file"}]}])
    );
    assert_eq!(call(&host, "search_files", json!({"path": "docs", "pattern": "**/*.md"})).as_deref(), Ok("docs/dir/b.md"));
    assert_eq!(call(&host, "search_files", json!({"path": "docs", "pattern": "*.md"})).as_deref(), Ok("No matches found"));
    assert_eq!(
        call(&host, "search_files", json!({"path": "docs", "pattern": "**", "excludePatterns": ["dir"]})).as_deref(),
        Ok("docs/a.txt")
    );
    let info = call(&host, "get_file_info", json!({"path": "docs/a.txt"})).expect("it is known");
    assert!(info.contains("created: unknown\nmodified: 2026-05-03T00:00:00Z") && info.contains("isFile: true"), "{info}");
}

#[test]
fn a_listing_that_is_cut_off_says_so() {
    let names: Vec<_> = (0..10).map(|n| format!("/docs/{n}")).collect();
    let (host, _) = disk(&names.iter().map(|name| (name.as_str(), "")).collect::<Vec<_>>());
    for (tool, arguments) in
        [("list_directory", json!({"path": "docs"})), ("search_files", json!({"path": "docs", "pattern": "x"}))]
    {
        assert!(call(&host, tool, arguments).is_ok_and(|text| text.ends_with("look into the folders one by one.")), "{tool}");
    }
}

#[test]
fn an_edit_shows_what_it_changed_and_a_preview_changes_nothing() {
    let (host, disk) = disk(&[("/notes/a", "one\ntwo\nthree\n")]);
    let edit = |dry_run: bool| {
        let edits = json!([{"oldText": "two", "newText": "2"}, {"oldText": "three", "newText": "```"}]);
        call(&host, "edit_file", json!({"path": "notes/a", "edits": edits, "dryRun": dry_run}))
    };
    let diff = "````diff\n--- notes/a\n+++ notes/a\n@@ -1,3 +1,3 @@\n one\n-two\n-three\n+2\n+```\n````\n";
    assert_eq!(edit(true).as_deref(), Ok(diff));
    assert_eq!(disk.borrow()["/notes/a"], b"one\ntwo\nthree\n");
    assert_eq!(edit(false).as_deref(), Ok(diff));
    assert_eq!(disk.borrow()["/notes/a"], b"one\n2\n```\n");
    let (code, message) = edit(false).expect_err("it is not there any more");
    assert!(code == code::CONFLICT && message.contains("edit 1 of `notes/a`: `oldText` is not there"), "{message}");
}

#[test]
fn an_edit_keeps_the_line_breaks_of_the_file() {
    let (host, disk) = disk(&[("/notes/a", "one\r\ntwo\r\n")]);
    call(&host, "edit_file", json!({"path": "notes/a", "edits": [{"oldText": "one\ntwo", "newText": "1\n2"}]})).expect("edited");
    assert_eq!(disk.borrow()["/notes/a"], b"1\r\n2\r\n");
    disk.borrow_mut().insert("/notes/a".into(), b"one\r\ntwo\nthree\n".to_vec());
    call(&host, "edit_file", json!({"path": "notes/a", "edits": [{"oldText": "two\n", "newText": "2\n"}]})).expect("edited");
    assert_eq!(disk.borrow()["/notes/a"], b"one\r\n2\nthree\n", "of a file with both kinds nothing else changes");
}

#[test]
fn an_edit_of_what_somebody_else_changed_meanwhile_is_a_conflict() {
    let disk: Disk = Rc::new(RefCell::new(BTreeMap::from([("/notes/a".to_owned(), b"one".to_vec())])));
    let shared = Rc::clone(&disk);
    let host = Host::new().backend("files", move |request| {
        let answered = answer(&shared, request);
        shared.borrow_mut().insert("/notes/a".into(), b"one and more".to_vec());
        Ok(answered)
    });
    let (code, message) = call(&host, "edit_file", json!({"path": "notes/a", "edits": [{"oldText": "one", "newText": "1"}]}))
        .expect_err("a conflict");
    assert!(code == code::CONFLICT && message.contains("read it and edit it anew"), "{message}");
    assert_eq!(disk.borrow()["/notes/a"], b"one and more");
}

#[test]
fn what_the_host_refuses_is_told_in_its_words() {
    let (host, disk) = disk(&[]);
    let (code, message) = call(&host, "write_file", json!({"path": "docs/a", "content": "x"})).expect_err("read only");
    assert_eq!((code.as_str(), message.as_str()), (code::PERMISSION_DENIED, "the directory `docs` is for reading only"));
    assert_eq!(
        call(&host, "write_file", json!({"path": "notes/ü %.txt", "content": "x"})).as_deref(),
        Ok("Successfully wrote to notes/ü %.txt")
    );
    assert!(disk.borrow().contains_key("/notes/%C3%BC%20%25.txt"));
    assert!(call(&host, "create_directory", json!({"path": "notes/a/b"})).is_ok());
    assert!(call(&host, "move_file", json!({"source": "notes/a", "destination": "notes/50%"})).is_ok());
    assert_eq!(
        host.requests().last().map(|request| request.path.clone()).as_deref(),
        Some("/notes/a?move-to=%2Fnotes%2F50%2525")
    );
    let (code, _) =
        call(&host, "move_file", json!({"source": "notes/a", "destination": "notes/full"})).expect_err("the disk is full");
    assert_eq!(code, code::FAILED);
}

#[test]
fn no_path_is_sent_that_leads_anywhere_else() {
    let (host, _) = disk(&[]);
    for path in ["../etc/passwd", "docs/../../etc", "/etc/passwd", "", "docs//a", "docs/a\u{0}"] {
        for (tool, arguments) in [
            ("read_text_file", json!({"path": path})),
            ("list_directory", json!({"path": path})),
            ("write_file", json!({"path": path, "content": ""})),
            ("move_file", json!({"source": "notes/a", "destination": path})),
        ] {
            assert_eq!(
                call(&host, tool, arguments).map_err(|(code, _)| code),
                Err(code::INVALID_ARGUMENTS.to_owned()),
                "{tool} {path}"
            );
        }
    }
    assert!(host.requests().is_empty());
}

#[test]
fn the_tools_and_their_arguments_are_those_of_the_reference_server() {
    let schemas: BTreeMap<_, _> = PLUGIN.describe().into_iter().map(|tool| (tool.name, tool.input_schema)).collect();
    for (tool, arguments) in [
        ("read_file", &["path", "head", "tail"][..]),
        ("read_text_file", &["path", "head", "tail"]),
        ("read_media_file", &["path"]),
        ("read_multiple_files", &["paths"]),
        ("write_file", &["path", "content"]),
        ("edit_file", &["path", "edits", "dryRun"]),
        ("create_directory", &["path"]),
        ("list_directory", &["path"]),
        ("list_directory_with_sizes", &["path", "sortBy"]),
        ("directory_tree", &["path", "excludePatterns"]),
        ("move_file", &["source", "destination"]),
        ("search_files", &["path", "pattern", "excludePatterns"]),
        ("get_file_info", &["path"]),
        ("list_allowed_directories", &[]),
    ] {
        let properties =
            schemas[tool]["properties"].as_object().map(|known| known.keys().map(String::as_str).collect::<Vec<_>>());
        let (mut known, mut expected) = (properties.unwrap_or_default(), arguments.to_vec());
        known.sort_unstable();
        expected.sort_unstable();
        assert_eq!(known, expected, "{tool}");
    }
    let edits = &schemas["edit_file"]["properties"]["edits"]["items"];
    assert!(edits.to_string().contains("oldText") || schemas["edit_file"].to_string().contains("oldText"), "{edits}");
}
