//! Plugins behind URLs, and servers that lie.

use std::io::{self, Write};
use std::net::TcpListener;

use super::Bench;
use crate::outbound::server::{Seen, Server, respond};

/// A server that answers every path with what it is given, and `/elsewhere/…` as told.
fn serving(bytes: Vec<u8>, answer: impl Fn(&Seen, &[u8], &mut dyn Write) -> io::Result<()> + Send + Sync + 'static) -> Server {
    Server::plain(move |seen, to| answer(seen, &bytes, to))
}

/// Says that so many bytes follow, then sends these.
fn send(to: &mut dyn Write, announced: usize, bytes: &[u8]) -> io::Result<()> {
    write!(to, "HTTP/1.1 200 OK\r\ncontent-length: {announced}\r\nconnection: close\r\n\r\n")?;
    to.write_all(bytes)?;
    // Whoever waits for more waits for the end of the connection.
    Err(io::ErrorKind::ConnectionAborted.into())
}

fn redirect(to: &mut dyn Write, location: &str) -> io::Result<()> {
    respond(to, "302 Found", &[("location", location)], "")
}

fn packed(bench: &Bench) -> Vec<u8> {
    std::fs::read(bench.pack()).expect("packed")
}

#[test]
fn a_plugin_behind_a_url_is_fetched_through_redirects() {
    let bench = Bench::signed();
    let server = serving(packed(&bench), |seen, bytes, to| match seen.target.as_str() {
        "/latest" => redirect(to, "/v1/echo.tar.gz?token=secret"),
        _ => send(to, bytes.len(), bytes),
    });
    let said = bench.verified(&format!("{}/latest", server.url));
    assert!(said.contains("signed by  acme"), "{said}");
    assert!(server.seen().iter().all(|seen| seen.headers["user-agent"].starts_with("tidegate/")));
}

#[test]
fn servers_that_lie_about_length_are_caught() {
    let bench = Bench::signed();
    let whole = packed(&bench);
    for (path, expected) in [
        ("/shorter", "is damaged"),
        ("/longer", "announced"),
        ("/huge", "sends more than"),
        ("/endless", "sends more than"),
        ("/encoded", "sends it encoded"),
        ("/missing", "answers 404 Not Found; there is nothing of that name"),
        ("/broken", "answers 500"),
        ("/html", "is damaged"),
    ] {
        let server = serving(whole.clone(), |seen, bytes, to| match seen.target.as_str() {
            // As many bytes as are announced count, whatever follows.
            "/shorter" => send(to, bytes.len() / 2, bytes),
            "/longer" => send(to, bytes.len() + 1, bytes),
            "/huge" => send(to, usize::MAX / 2, b""),
            "/endless" => {
                write!(to, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
                loop {
                    write!(to, "10000\r\n")?;
                    to.write_all(&vec![0; 0x10000])?;
                    write!(to, "\r\n")?;
                }
            }
            "/encoded" => respond(to, "200 OK", &[("content-encoding", "gzip")], "x"),
            "/missing" => respond(to, "404 Not Found", &[], ""),
            "/broken" => respond(to, "500 Internal Server Error", &[], ""),
            _ => respond(to, "200 OK", &[], "<html>Sign in</html>"),
        });
        let said = bench.unverified(&format!("{}{path}", server.url));
        assert!(said.contains(expected) && said.contains(path), "{path}: {said}");
    }
}

#[test]
fn a_server_that_never_ends_is_not_waited_for() {
    let bench = Bench::signed();
    std::fs::write(bench.path("tidegate.toml"), "[plugins]\nfetch_timeout = \"2s\"\n").expect("written");
    let server = serving(Vec::new(), |_, _, to| {
        write!(to, "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")?;
        loop {
            to.write_all(b"x")?;
            to.flush()?;
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    });
    let said = bench.unverified(&format!("{}/slow", server.url));
    assert!(said.contains("took longer than 2s altogether"), "{said}");
    // Nobody at all.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    let said = bench.unverified(&format!("http://127.0.0.1:{port}/a.tar.gz"));
    assert!(said.contains("can't reach") && said.contains("refused"), "{said}");
}

#[test]
fn redirects_that_lead_into_the_clear_or_round_and_round_are_not_followed() {
    let bench = Bench::signed();
    for (path, location, expected) in [
        ("/clear", "http://example.com/a.tar.gz", "plain http can be read"),
        ("/file", "file:///etc/passwd", "to where it may not"),
        ("/round", "/round", "redirects more than 5 times"),
        ("/password", "https://user:secret@example.com/", "to where it may not"),
    ] {
        let server = serving(Vec::new(), move |_, _, to| redirect(to, location));
        let said = bench.unverified(&format!("{}{path}", server.url));
        assert!(said.contains(expected) && !said.contains("secret"), "{path}: {said}");
    }
    for (source, expected) in [
        ("http://example.com/a.tar.gz", "only https is taken, except on loopback"),
        ("https://user:secret@example.com/a.tar.gz", "ends up in logs"),
        ("ftp://example.com/a.tar.gz", "`ftp://` is no way to get a plugin"),
        ("oci://echo:1", "does not name an artifact"),
    ] {
        let said = bench.unverified(source);
        assert!(said.contains(expected) && !said.contains("secret"), "{source}: {said}");
    }
}
