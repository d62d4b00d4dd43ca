//! Traces, metrics and logs: one trace from the client to the backend, numbers that can be relied on, and collectors that can't.

mod collectors;
mod dashboards;
mod logs;
mod metrics;
mod traces;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::mpsc;

use crate::harness::{Host, Receiver, plugins};

/// The example of the W3C's specification, and another trace.
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const OTHER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// The trace of a `traceparent`.
fn trace(parent: &str) -> &str {
    &parent[3..35]
}

/// The span of a `traceparent`.
fn span(parent: &str) -> &str {
    &parent[36..52]
}

/// A host with the demo plugins that sends to `collector`, to be started; the plugins must live as long.
fn host(collector: &Receiver, backend: &str, more: &str) -> (Host, tempfile::TempDir) {
    let plugins = plugins(&["echo", "hostile", "invoices"]);
    let config = format!("[telemetry]\notlp = \"{}\"\ninterval = \"1s\"\n{more}", collector.url);
    (Host::dev(plugins.path()).with(&["--backend", &format!("billing={backend}")]).config(&config), plugins)
}

/// A backend that has no invoices, and tells the head of every request.
fn ear() -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let (say, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|read| read > 0) {}
            let body = "{\"invoices\": [], \"truncated\": false}";
            let head_out = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n", body.len());
            let _ = write!(reader.into_inner(), "{head_out}connection: close\r\n\r\n{body}");
            let _ = say.send(head);
        }
    });
    (url, heard)
}

/// A header of a request's head.
fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines()
        .find_map(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")).then(|| line[name.len() + 1..].trim()))
}
