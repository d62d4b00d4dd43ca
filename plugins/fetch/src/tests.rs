//! The tool against a stand-in for the web.

use serde_json::json;
use tidegate_plugin_sdk::code;
use tidegate_plugin_sdk::http::{HttpError, Request, Response};
use tidegate_plugin_sdk::testing::Host;

use super::PLUGIN;

const PAGE: &str = "<html><head><title>T</title></head><body><h1>Hello</h1><p>of <a href='/x'>x</a></p></body></html>";

fn answer(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Result<Response, HttpError> {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    Ok(Response::new("web", status, headers, body.to_vec()))
}

/// A web of one server without rules, which answers so.
fn web(served: impl Fn(&Request) -> Result<Response, HttpError> + 'static) -> Host {
    Host::new().backend("https://example.com", move |request| match request.path.as_str() {
        "/robots.txt" => answer(404, &[], b""),
        _ => served(request),
    })
}

fn fetched(host: &Host, arguments: serde_json::Value) -> Result<String, (String, String)> {
    let output =
        PLUGIN.call("fetch", &arguments.to_string(), &host.context()).map_err(|failure| (failure.code, failure.message))?;
    let content: serde_json::Value = serde_json::from_str(&output.content).expect("JSON");
    Ok(content[0]["text"].as_str().expect("a text").to_owned())
}

fn html(body: &'static str) -> Host {
    web(move |_| answer(200, &[("content-type", "text/html; charset=utf-8")], body.as_bytes()))
}

#[test]
fn a_page_is_returned_as_markdown_and_raw_if_that_is_wanted() {
    let host = html(PAGE);
    let url = "https://example.com/a/b?c=d#e";
    assert_eq!(
        fetched(&host, json!({ "url": url })).as_deref(),
        Ok("Contents of https://example.com/a/b?c=d#e:\n# T\n\n# Hello\n\nof [x](https://example.com/x)")
    );
    let raw = fetched(&host, json!({ "url": url, "raw": true })).expect("it is there");
    assert_eq!(
        raw,
        format!(
            "Content type text/html; charset=utf-8 cannot be simplified to markdown, but here is the raw content:\nContents of {url}:\n{PAGE}"
        )
    );
    let requests = host.requests();
    assert_eq!(requests[1].path, "/a/b?c=d", "neither the fragment nor the origin is part of it");
    assert!(requests[1].headers.iter().any(|(name, value)| name == "user-agent" && value.starts_with("Tidegate/")));
}

#[test]
fn a_long_page_is_returned_in_parts() {
    let host = web(|_| answer(200, &[("content-type", "text/plain")], "ä".repeat(12).as_bytes()));
    let part = fetched(&host, json!({ "url": "https://example.com/", "max_length": 5, "start_index": 5 })).expect("it is there");
    assert!(part.starts_with("Content type text/plain cannot be simplified"), "{part}");
    assert!(part.ends_with(
        "äääää\n\n<error>Content truncated. Call the fetch tool with a start_index of 10 to get more content.</error>"
    ));
    let last = fetched(&host, json!({ "url": "https://example.com/", "max_length": 5, "start_index": 10 })).expect("it is there");
    assert!(last.ends_with(":\nää"), "{last}");
    let beyond = fetched(&host, json!({ "url": "https://example.com/", "start_index": 12 })).expect("it is there");
    assert!(beyond.ends_with("<error>No more content available.</error>"), "{beyond}");
}

#[test]
fn what_is_no_html_is_returned_as_it_is_and_what_is_no_text_not_at_all() {
    for (content_type, body) in
        [("application/json", "{\"a\": 1}"), ("text/markdown", "# A"), ("image/svg+xml", "<svg/>"), ("", "plain")]
    {
        let host = web(move |_| answer(200, &[("content-type", content_type)], body.as_bytes()));
        let text = fetched(&host, json!({ "url": "https://example.com/" })).expect("text");
        assert!(text.ends_with(body), "{text}");
    }
    for (content_type, body) in
        [("image/png", &b"\x89PNG"[..]), ("application/pdf", b"%PDF"), ("application/octet-stream", b"a\0b"), ("video/mp4", b"x")]
    {
        let host = web(move |_| answer(200, &[("content-type", content_type)], body));
        let (code, message) = fetched(&host, json!({ "url": "https://example.com/" })).expect_err("no text");
        assert!(code == code::FAILED && message.contains(content_type) && message.contains("only text"), "{message}");
    }
    let packed = web(|_| answer(200, &[("content-type", "text/html"), ("content-encoding", "gzip")], b"\x1f\x8b"));
    let (_, message) = fetched(&packed, json!({ "url": "https://example.com/" })).expect_err("packed");
    assert!(message.contains("`gzip`"), "{message}");
}

#[test]
fn redirects_are_followed_to_where_the_host_lets_them_lead() {
    let host = web(|request| match request.path.as_str() {
        "/here" => answer(302, &[("location", "../there?x=1#y")], b""),
        "/away" => answer(301, &[("location", "https://evil.example/")], b""),
        "/lost" => answer(301, &[], b""),
        "/file" => answer(301, &[("location", "file:///etc/passwd")], b""),
        "/round" => answer(308, &[("location", "/round")], b""),
        _ => answer(200, &[("content-type", "text/plain")], b"found"),
    });
    let found = fetched(&host, json!({ "url": "https://example.com/here" })).expect("it is there");
    assert!(
        found.ends_with("Contents of https://example.com/there?x=1#y (redirected from https://example.com/here):\nfound"),
        "{found}"
    );
    for (path, expected, said) in [
        ("away", code::PERMISSION_DENIED, "nothing was fetched from `https://evil.example`"),
        ("lost", code::FAILED, "does not say where to"),
        ("file", code::FAILED, "redirects to what can't be fetched"),
        ("round", code::FAILED, "more than 5 redirects"),
    ] {
        let (code, message) =
            fetched(&host, json!({ "url": format!("https://example.com/{path}") })).expect_err("it leads nowhere");
        assert!(code == expected && message.contains(said), "{path}: {code}: {message}");
    }
}

#[test]
fn what_is_no_url_of_the_web_is_refused_before_anything_is_sent() {
    let host = html(PAGE);
    for url in [
        "example.com",
        "ftp://example.com/",
        "file:///etc/passwd",
        "https://user:secret@example.com/",
        "https://",
        "javascript:alert(1)",
        " ",
    ] {
        let (code, message) = fetched(&host, json!({ "url": url })).expect_err("no URL");
        assert!(code == code::INVALID_ARGUMENTS && !message.contains("secret"), "{url}: {message}");
    }
    assert!(host.requests().is_empty());
}

#[test]
fn a_server_that_answers_with_an_error_is_told_in_words() {
    for (status, expected) in [
        (404, code::NOT_FOUND),
        (403, code::FAILED),
        (410, code::NOT_FOUND),
        (429, code::RATE_LIMITED),
        (500, code::BACKEND_UNAVAILABLE),
    ] {
        let host = web(move |_| answer(status, &[("retry-after", "7")], b"<html>internal details</html>"));
        let (code, message) = fetched(&host, json!({ "url": "https://example.com/x" })).expect_err("an error");
        assert!(code == expected && message.contains(&status.to_string()) && !message.contains("internal"), "{code}: {message}");
    }
}

#[test]
fn robots_txt_is_honoured() {
    let host = Host::new().backend("https://example.com", |request| match request.path.as_str() {
        "/robots.txt" => answer(200, &[], b"User-agent: *\nDisallow: /private/\nAllow: /private/open\n\nUser-agent: tidegate\nDisallow: /cgi-bin/*.sh$\nDisallow: /private/\n"),
        "/moved" => answer(301, &[("location", "/private/x")], b""),
        _ => answer(200, &[("content-type", "text/plain")], b"found"),
    });
    for (path, is_allowed) in [
        ("/", true),
        ("/private/x", false),
        ("/private/open", false),
        ("/cgi-bin/a.sh", false),
        ("/cgi-bin/a.sh?x", true),
        ("/moved", false),
    ] {
        let fetched = fetched(&host, json!({ "url": format!("https://example.com{path}") }));
        match fetched {
            Ok(_) => assert!(is_allowed, "{path}"),
            Err((code, message)) => {
                assert!(!is_allowed && code == code::PERMISSION_DENIED && message.contains("robots.txt"), "{path}: {message}");
            }
        }
    }
    for (status, expected) in [(403, code::PERMISSION_DENIED), (500, code::BACKEND_UNAVAILABLE)] {
        let host = Host::new().backend("https://example.com", move |_| answer(status, &[], b""));
        let (code, _) = fetched(&host, json!({ "url": "https://example.com/" })).expect_err("nobody knows the rules");
        assert_eq!(code, expected);
    }
}

#[test]
fn rules_that_are_no_rules_break_nothing() {
    for rules in [
        &b"\xff\xfe\0"[..],
        b"disallow: /\xc3\xbc*$$**%zz\nuser-agent: *\ndisallow: /z%",
        b":::\n\r\r\n#",
        "user-agent: tidegate\ndisallow: /q*€\nallow: *ß".as_bytes(),
    ] {
        let host = Host::new().backend("https://example.com", move |request| match request.path.as_str() {
            "/robots.txt" => answer(200, &[], rules),
            _ => answer(200, &[("content-type", "text/plain")], b"found"),
        });
        let _ = fetched(&host, json!({ "url": "https://example.com/ü/€?ß" }));
        assert_eq!(host.requests().len(), 2, "{rules:?}");
    }
}

#[test]
fn the_arguments_are_those_of_the_reference_server() {
    let definition = PLUGIN.describe().into_iter().next().expect("one tool");
    let schema = definition.input_schema;
    assert_eq!(schema["required"], json!(["url"]));
    for (name, kind, default) in
        [("max_length", "integer", json!(5000)), ("start_index", "integer", json!(0)), ("raw", "boolean", json!(false))]
    {
        assert_eq!(
            (&schema["properties"][name]["type"], &schema["properties"][name]["default"]),
            (&json!(kind), &default),
            "{schema}"
        );
    }
}
