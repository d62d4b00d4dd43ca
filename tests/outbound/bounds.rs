//! Backends that are slow, silent, endless or broken: each request ends, with the right word, within its bounds.

use std::time::{Duration, Instant};

use serde_json::json;

use super::Fetching;
use super::server::{Server, respond};

#[test]
fn whatever_a_backend_does_a_request_ends_within_its_bounds() {
    let backend = Server::plain(|seen, to| match seen.target.as_str() {
        "/silent" => {
            std::thread::sleep(super::PATIENCE);
            Ok(())
        }
        "/endless-headers" => {
            write!(to, "HTTP/1.1 200 OK\r\n")?;
            loop {
                write!(to, "x-more: and more\r\n")?;
            }
        }
        "/endless-header" => {
            write!(to, "HTTP/1.1 200 OK\r\nx-more: ")?;
            loop {
                write!(to, "and more ")?;
            }
        }
        "/slow-headers" => {
            write!(to, "HTTP/1.1 200 OK\r\nx-slow: ")?;
            loop {
                write!(to, ".")?;
                to.flush()?;
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        "/slow-body" => {
            write!(to, "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")?;
            loop {
                write!(to, ".")?;
                to.flush()?;
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        "/endless-body" => {
            write!(to, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
            loop {
                write!(to, "10\r\n0123456789abcdef\r\n")?;
            }
        }
        "/truncated" => {
            write!(to, "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nnot all")?;
            to.flush()?;
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        "/garbage" => write!(to, "SMTP ready when you are\r\n\r\n"),
        "/two-lengths" => write!(to, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 9\r\n\r\nok"),
        "/large-head" => respond(to, "200 OK", &[("x-large", &"x".repeat(60_000))], ""),
        "/many-headers" => respond(to, "200 OK", &[("x-one-of-many", "x"); 200], ""),
        "/zipped" => respond(to, "200 OK", &[("content-encoding", "gzip")], "not unpacked"),
        _ => respond(to, "200 OK", &[], ""),
    });
    let mute = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let mute_port = mute.local_addr().expect("bound").port();
    let (hasty, patient) =
        ("timeout = \"1500ms\"\nfirst_byte_timeout = \"700ms\"\n", "timeout = \"90s\"\nmax_response = \"64KiB\"\n");
    // Each is a backend of its own: none shall suffer for another.
    let cases = [
        ("silent", hasty, "backend_timeout", "no response within 700ms"),
        ("slow-headers", hasty, "backend_timeout", "no response within 700ms"),
        ("slow-body", hasty, "backend_timeout", ""),
        ("endless-headers", patient, "backend_unavailable", "a backend failed"),
        ("endless-header", patient, "backend_unavailable", "a backend failed"),
        ("many-headers", patient, "backend_unavailable", "a backend failed"),
        ("endless-body", patient, "failed", ""),
        ("truncated", patient, "backend_unavailable", ""),
        ("garbage", patient, "backend_unavailable", "a backend failed"),
        ("two-lengths", patient, "backend_unavailable", "a backend failed"),
    ];
    let backends = cases.map(|(name, limits, ..)| format!("[backends.{name}]\nurl = \"{}\"\n{limits}", backend.url));
    let config = format!(
        "{}[backends.good]\nurl = \"{}\"\nmax_request = \"1KiB\"\n\
         [backends.mute]\nurl = \"https://127.0.0.1:{mute_port}\"\nconnect_timeout = \"300ms\"\n",
        backends.concat(),
        backend.url
    );
    let names: Vec<_> = cases.iter().map(|(name, ..)| *name).chain(["good", "mute"]).collect();
    let fetching = Fetching::start(&names, &[], &config);
    for (name, _, error, said) in cases {
        let begun = Instant::now();
        let answer = fetching.fetch(&format!("http://{name}/{name}"));
        assert_eq!(answer.error(), error, "{name}: {answer:?}");
        assert!(begun.elapsed() < Duration::from_secs(60), "{name} took {:?}", begun.elapsed());
        let log = fetching.host.log();
        assert!(log.contains(said), "{name}: {log}");
    }
    // TLS that is never answered is a connection that does not come about.
    let answer = fetching.fetch("http://mute/");
    assert_eq!(answer.error(), "backend_unavailable", "{answer:?}");

    let answer = fetching.fetch("http://good/large-head");
    assert_eq!(answer.structured()["headers"]["x-large"].as_str().map(str::len), Some(60_000));

    let answer = fetching.fetch("http://good/zipped");
    assert_eq!(answer.structured()["body"], json!("not unpacked"), "{answer:?}");
    let answer = fetching.send(json!({"url": "http://good/", "method": "POST", "body": "x".repeat(1025)}));
    assert_eq!(answer.body["result"]["isError"], json!(true), "{answer:?}");
    assert!(!backend.seen().iter().any(|seen| seen.method == "POST"), "a body that is too large never leaves");
    assert_eq!(fetching.fetch("http://good/").structured()["status"], json!(200), "it is as good as new");
}

#[test]
fn connections_are_kept_as_long_and_as_many_as_they_may() {
    let ok = |_: &super::server::Seen, to: &mut dyn std::io::Write| respond(to, "200 OK", &[], "");
    let (kept, closed, brief) = (Server::plain(ok), Server::plain(ok), Server::plain(ok));
    let config = format!(
        "[backends.kept]\nurl = \"{}\"\n[backends.closed]\nurl = \"{}\"\nmax_idle = 0\n\
         [backends.brief]\nurl = \"{}\"\nidle_timeout = \"50ms\"\n",
        kept.url, closed.url, brief.url
    );
    let fetching = Fetching::start(&["kept", "closed", "brief"], &[], &config);
    for _ in 0..4 {
        for backend in ["kept", "closed", "brief"] {
            fetching.fetch(&format!("http://{backend}/")).structured();
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!((kept.connections(), closed.connections(), brief.connections()), (1, 4, 4));
}
