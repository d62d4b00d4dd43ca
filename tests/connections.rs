//! Connections: more of them than there are files, ones that do nothing, ones that dawdle.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Host, Started, plugins};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn connect(host: &Started) -> TcpStream {
    let stream = TcpStream::connect(address(host)).expect("the backlog has room");
    stream.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
    stream
}

fn address(host: &Started) -> &str {
    host.mcp.trim_start_matches("http://").split('/').next().expect("a host")
}

/// A head whose body is announced and not sent.
fn head(host: &Started) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n\
         content-length: 1000\r\n\r\n",
        address(host)
    )
}

fn answers(host: &Started) {
    assert_eq!(host.client().call("echo", json!({"text": "hi"})).structured(), &json!({"text": "hi"}));
}

/// What the other side says until it closes the connection.
fn told(mut stream: TcpStream) -> String {
    let mut told = Vec::new();
    let _ = stream.read_to_end(&mut told);
    String::from_utf8_lossy(&told).into_owned()
}

#[test]
fn more_connections_than_files_neither_end_the_host_nor_keep_newcomers_out() {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).files(256).start();
    let idle: Vec<_> = (0..400).map(|_| connect(&host)).collect();
    for _ in 0..10 {
        answers(&host);
    }
    assert_eq!(host.admin("/healthz").0, 200, "connections leave files for everything else");
    drop(idle);
    answers(&host);
    let log = host.log();
    assert!(log.contains("the limit on open files allows only 192 connections at once"), "{log}");
    assert!(log.len() < 64 << 10, "it does not complain for each of them");
}

#[test]
fn whoever_did_nothing_for_longest_leaves_and_whoever_is_served_stays() {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).config("[server]\nmax_connections = 4\n").start();
    let regular = host.client();
    let call = || regular.call("echo", json!({"text": "hi"})).structured().clone();
    call();
    let idle: Vec<_> = (0..3).map(|_| connect(&host)).collect();
    let newcomer = std::thread::scope(|scope| {
        let newcomer = scope.spawn(|| answers(&host));
        while !newcomer.is_finished() {
            call();
        }
        newcomer.join()
    });
    newcomer.expect("it is let in");
    drop(idle);
}

#[test]
fn while_all_are_busy_the_next_to_be_answered_makes_room() {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).config("[server]\nmax_connections = 2\n").start();
    // Each sends its next request as soon as it has its answer; none of them ever does nothing, and none may lose a request.
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let client = host.client();
                for _ in 0..20 {
                    assert_eq!(client.call("echo", json!({"text": "hi"})).structured(), &json!({"text": "hi"}));
                }
            });
        }
    });
}

#[test]
fn heads_that_are_never_finished_leave_for_newcomers_long_before_they_are_given_up() {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).config("[server]\nmax_connections = 8\nidle_timeout = \"1h\"\n").start();
    let slow: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = connect(&host);
            stream.write_all(b"POST /mcp HTTP/1.1\r\nhost: local").expect("it takes that much");
            stream
        })
        .collect();
    for _ in 0..4 {
        answers(&host);
    }
    drop(slow);
}

#[test]
fn bodies_that_trickle_in_are_given_up_in_time_and_hold_up_nobody() {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).config("[server]\nbody_timeout = \"2s\"\n").start();
    let begun = Instant::now();
    let mut slow: Vec<_> = (0..200).map(|_| connect(&host)).collect();
    for stream in &mut slow {
        stream.write_all(head(&host).as_bytes()).expect("it takes the head");
    }
    while begun.elapsed() < Duration::from_secs(1) {
        for stream in &mut slow {
            let _ = stream.write_all(b" ");
        }
        answers(&host);
    }
    for stream in slow {
        let told = told(stream);
        assert!(told.starts_with("HTTP/1.1 408 "), "{told}");
    }
    answers(&host);
}
