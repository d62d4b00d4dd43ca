//! HTTP around the messages: who may call, how much, how slowly.

use std::io::Read as _;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Raw, exchange, legacy};
use crate::harness::{Host, Started, plugins};

fn echo() -> (tempfile::TempDir, Started) {
    with_config("")
}

fn with_config(config: &str) -> (tempfile::TempDir, Started) {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).config(config).start();
    (plugins, host)
}

/// A host that takes tokens only, of an issuer that is never up.
fn guarded(config: &str) -> (tempfile::TempDir, Started) {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).config(config).trusting(&["http://127.0.0.1:9"]).start();
    (plugins, host)
}

fn list() -> String {
    legacy(1, "tools/list", json!({}))
}

/// Sends a request line and headers as they are, and returns the status.
fn status_of(host: &Started, head: &str) -> u16 {
    let mut raw = Raw::connect(&host.mcp);
    raw.send(format!("{head}\r\nconnection: close\r\n\r\n").as_bytes());
    raw.response().status
}

#[test]
fn other_names_and_other_pages_are_turned_away() {
    let (_plugins, host) = echo();
    let port = host.mcp.split(':').nth(2).and_then(|rest| rest.split('/').next()).expect("a port").to_owned();
    for name in ["localhost", "127.0.0.1", "[::1]", &format!("localhost:{port}"), "LOCALHOST:1"] {
        assert_eq!(exchange(&host, &[("host", name)], &list()).status, 200, "{name}");
    }
    for name in ["evil.example.com", "localhost.evil.example.com", "127.0.0.1.nip.io", &format!("evil.example.com:{port}")] {
        let refused = exchange(&host, &[("host", name)], &list());
        assert_eq!((refused.status, refused.error_code()), (403, 403), "{name}");
    }
    for origin in ["http://localhost:3000", "http://127.0.0.1", "https://[::1]:8443"] {
        assert_eq!(exchange(&host, &[("origin", origin)], &list()).status, 200, "{origin}");
    }
    for origin in ["https://evil.example.com", "null", "http://localhost.evil.example.com", "file://"] {
        assert_eq!(exchange(&host, &[("origin", origin)], &list()).status, 403, "{origin}");
    }
    assert_eq!(status_of(&host, "GET /mcp HTTP/1.1"), 400, "no host at all");
    assert_eq!(status_of(&host, "POST http://evil.example.com/mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0"), 403);
}

#[test]
fn names_the_operator_allows_are_answered() {
    // What lets callers in without credentials has no names; so these get as far as being asked for a token.
    let (_plugins, host) = guarded(
        "[server]\npublic_url = \"https://tools.example.com/mcp\"\nallowed_hosts = [\"gate.internal:7300\"]\n\
         allowed_origins = [\"https://app.example.com\"]\n",
    );
    for (headers, status) in [
        ([("host", "tools.example.com"), ("origin", "https://tools.example.com")], 401),
        ([("host", "gate.internal:7300"), ("origin", "https://app.example.com")], 401),
        ([("host", "gate.internal:7301"), ("origin", "https://app.example.com")], 403),
        ([("host", "localhost"), ("origin", "https://app.example.com:444")], 403),
    ] {
        assert_eq!(exchange(&host, &headers, &list()).status, status, "{headers:?}");
    }
}

#[test]
fn mcp_takes_post_alone_and_lives_at_one_place() {
    let (_plugins, host) = echo();
    for method in ["GET", "DELETE", "PUT", "HEAD", "OPTIONS"] {
        let mut raw = Raw::connect(&host.mcp);
        raw.send(format!("{method} /mcp HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes());
        let response = raw.response();
        assert_eq!(response.status, 405, "{method}");
        assert!(response.head.contains("allow: post"), "{}", response.head);
    }
    for path in ["/", "/mcp/", "/mcp/x", "/sse", "/.well-known/oauth-protected-resource"] {
        assert_eq!(status_of(&host, &format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0")), 404, "{path}");
    }
}

#[test]
fn a_token_in_the_url_is_refused() {
    let (_plugins, host) = echo();
    for query in ["access_token=x", "a=b&Access_Token=x", "token=x"] {
        assert_eq!(
            status_of(&host, &format!("POST /mcp?{query} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0")),
            400,
            "{query}"
        );
    }
}

#[test]
fn media_types_are_checked_and_refusals_are_json() {
    let (_plugins, host) = echo();
    for (header, status) in [
        (("content-type", "text/plain"), 415),
        (("content-type", ""), 415),
        (("accept", "application/json"), 406),
        (("accept", "text/event-stream"), 406),
        (("accept", "application/json;q=0, text/event-stream"), 406),
    ] {
        let refused = exchange(&host, &[header], &list());
        assert_eq!((refused.status, refused.error_code()), (status, i64::from(status)), "{header:?}");
    }
    for header in [
        ("accept", "*/*"),
        ("accept", "text/event-stream;q=0.5,application/json"),
        ("content-type", "application/json; charset=utf-8"),
    ] {
        assert_eq!(exchange(&host, &[header], &list()).status, 200, "{header:?}");
    }
}

#[test]
fn a_token_nobody_vouches_for_is_refused_with_the_way_to_a_better_one() {
    let config = "[server]\nauthorization_servers = [\"https://id.example.com\"]\npublic_url = \"http://localhost/mcp\"\n";
    let (_plugins, host) = guarded(config);
    let refused = exchange(&host, &[("authorization", "Bearer forged")], &list());
    assert_eq!((refused.status, refused.error_code()), (401, 401), "{refused:?}");
    let metadata = "resource_metadata=\"http://localhost/.well-known/oauth-protected-resource/mcp\"";
    assert!(refused.head.contains("www-authenticate: bearer error=\"invalid_token\""), "{}", refused.head);
    assert!(refused.head.contains(metadata), "{}", refused.head);
    for wrong in ["Basic dTpw", "Bearer", "Bearer "] {
        assert_eq!(exchange(&host, &[("authorization", wrong)], &list()).status, 400, "{wrong}");
    }
    for path in ["/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"] {
        let mut raw = Raw::connect(&host.mcp);
        raw.send(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes());
        let document = raw.response().json();
        assert_eq!(document["resource"], json!("http://localhost/mcp"), "{path}");
        assert_eq!(document["authorization_servers"], json!(["https://id.example.com"]));
    }
}

#[test]
fn an_oversized_body_is_refused_announced_or_not() {
    let (_plugins, host) = with_config("[server]\nmax_body = \"64KiB\"\n");
    let large = legacy(1, "tools/call", json!({"name": "echo", "arguments": {"text": "x".repeat(70_000)}}));
    let refused = exchange(&host, &[("content-length", "70000000")], "");
    assert_eq!((refused.status, refused.error_code()), (413, 413), "{refused:?}");
    let mut raw = Raw::connect(&host.mcp);
    let head = "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                accept: application/json, text/event-stream\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    raw.send(format!("{head}{:x}\r\n{large}", large.len()).as_bytes());
    assert_eq!(raw.response().status, 413);
    let fits = legacy(1, "tools/call", json!({"name": "echo", "arguments": {"text": "x".repeat(60_000)}}));
    assert_eq!(exchange(&host, &[], &fits).status, 200);
}

#[test]
fn a_request_head_beyond_its_limit_is_refused() {
    let (_plugins, host) = with_config("[server]\nmax_head = \"4KiB\"\nmax_fields = 20\n");
    assert_eq!(exchange(&host, &[("x-long", &"y".repeat(5000))], &list()).status, 431);
    let many: Vec<_> = (0..30).map(|number| format!("x-{number}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "y")).collect();
    assert_eq!(exchange(&host, &many, &list()).status, 431);
}

#[test]
fn clients_that_dawdle_are_cut_off() {
    let (_plugins, host) = with_config("[server]\nidle_timeout = \"400ms\"\nbody_timeout = \"400ms\"\n");
    let mut idle = Raw::connect(&host.mcp);
    let mut half_a_head = Raw::connect(&host.mcp);
    half_a_head.send(b"POST /mcp HTTP/1.1\r\nhost: localhost\r\nx-slow: ");
    let mut half_a_body = Raw::connect(&host.mcp);
    half_a_body.post(&[("content-length", "1000")], b"{\"jsonrpc\":");
    let since = Instant::now();
    for silent in [&mut idle, &mut half_a_head] {
        let mut rest = Vec::new();
        let _ = silent.stream.read_to_end(&mut rest);
    }
    let response = half_a_body.response();
    assert_eq!((response.status, response.error_code()), (408, 408), "{response:?}");
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
}

#[test]
fn connections_beyond_the_limit_wait_for_a_place() {
    let (_plugins, host) = with_config("[server]\nmax_connections = 2\n");
    let mut held: Vec<_> = (0..2)
        .map(|_| {
            let mut raw = Raw::connect(&host.mcp);
            raw.post(&[("connection", "keep-alive")], list().as_bytes());
            let mut start = [0; 12];
            raw.stream.read_exact(&mut start).expect("an answer");
            raw
        })
        .collect();
    let mut waiting = Raw::connect(&host.mcp);
    waiting.post(&[], list().as_bytes());
    waiting.stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a TCP socket");
    assert!(waiting.stream.read(&mut [0; 1]).is_err(), "both places are taken");
    held.pop();
    waiting.stream.set_read_timeout(Some(super::PATIENCE)).expect("a TCP socket");
    assert_eq!(waiting.response().status, 200);
}

#[test]
fn operators_see_health_and_strangers_do_not() {
    let (_plugins, host) = echo();
    assert_eq!(host.admin("/healthz").0, 200);
    let (status, body) = host.admin("/readyz");
    assert!(status == 200 && body.contains("\"ready\":true"), "{body}");
    assert_eq!(host.admin("/metrics").0, 200);
    let mut raw = Raw::connect(&host.admin);
    raw.send(b"GET /metrics HTTP/1.1\r\nhost: evil.example.com\r\nconnection: close\r\n\r\n");
    assert_eq!(raw.response().status, 403);
}
