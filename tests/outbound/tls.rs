//! Whose certificates are taken, and what is said about those that are not.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;

use serde_json::json;

use super::Fetching;
use super::certificates::Authority;
use super::server::{Server, respond};

fn backend(name: &str, server: &Server, ca: Option<&Path>, more: &str) -> String {
    let ca = ca.map_or_else(String::new, |path| format!("ca = \"{}\"\n", path.display()));
    format!("[backends.{name}]\nurl = \"{}\"\nconnect_timeout = \"9s\"\n{ca}{more}\n", server.url)
}

#[test]
fn a_certificate_counts_if_the_chosen_authority_vouches_for_it_and_the_log_says_why_not() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let ok = |_: &super::server::Seen, to: &mut dyn std::io::Write| respond(to, "200 OK", &[], "");
    let good = Server::tls(ours.server("127.0.0.1", false), ok);
    let expired = Server::tls(ours.server("127.0.0.1", true), ok);
    let misnamed = Server::tls(ours.server("billing.example.com", false), ok);
    let theirs_server = Server::tls(theirs.server("127.0.0.1", false), ok);
    let clients = Server::tls(ours.server_for_clients(), ok);
    let plain = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let plain_as_tls = format!("[backends.plain]\nurl = \"https://{}\"\n", plain.local_addr().expect("bound"));
    std::thread::spawn(move || {
        // As servers do that are greeted in a language they do not know.
        for mut stream in plain.incoming().map_while(Result::ok) {
            let mut greeting = [0; 1024];
            let _ = stream.read(&mut greeting).and_then(|_| stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
        }
    });
    let (certificate, key) = ours.client();
    let shown = format!("client_cert = \"{}\"\nclient_key = \"{}\"\n", certificate.display(), key.display());
    let (our_file, their_file) = (ours.file(), theirs.file());
    let config = [
        backend("good", &good, Some(&our_file), ""),
        backend("unknown", &good, None, ""),
        backend("system", &theirs_server, None, "ca = \"system\"\n"),
        backend("elsewhere", &good, None, "ca = \"system\"\n"),
        backend("foreign", &good, Some(&their_file), ""),
        backend("expired", &expired, Some(&our_file), ""),
        backend("misnamed", &misnamed, Some(&our_file), ""),
        backend("stranger", &clients, Some(&our_file), ""),
        backend("known", &clients, Some(&our_file), &shown),
        plain_as_tls,
    ];
    let names = ["good", "unknown", "system", "elsewhere", "foreign", "expired", "misnamed", "stranger", "known", "plain"];
    // What this machine trusts is what the variable says.
    let trusted = their_file.display().to_string();
    let fetching = Fetching::start_with(&names, &[], &config.concat(), |host| host.env("SSL_CERT_FILE", &trusted));
    for name in ["good", "known", "system"] {
        assert_eq!(fetching.fetch(&format!("http://{name}/")).structured()["status"], json!(200), "{name}");
    }
    for (name, said) in [
        ("unknown", "signed by nobody this host trusts"),
        ("elsewhere", "signed by nobody this host trusts"),
        ("foreign", "signed by nobody this host trusts"),
        ("expired", "has expired"),
        ("misnamed", "for another name"),
        ("stranger", "does it want a `client_cert`?"),
        ("plain", "does it speak TLS at this port?"),
    ] {
        let answer = fetching.fetch(&format!("http://{name}/"));
        assert_eq!(answer.error(), "backend_unavailable", "{name}: {answer:?}");
        assert!(!answer.body.to_string().contains("certificate"), "callers learn no more than that: {answer:?}");
        let log = fetching.host.log();
        let line = log.lines().rfind(|line| line.contains(name) && line.contains("a backend failed"));
        assert!(line.is_some_and(|line| line.contains(said)), "{name}: {line:?}\n{log}");
    }
}

#[test]
fn files_that_are_missing_or_no_certificates_keep_the_host_from_starting() {
    let plugins = super::fetching_plugin(&["billing"], &[]);
    for (line, said) in [
        ("ca = \"/no/such/ca.pem\"", "backend `billing`: can't read `/no/such/ca.pem`"),
        ("ca = \"sytem\"", "neither \"webpki\" nor \"system\""),
        ("client_cert = \"/no/such/client.pem\"", "set both or neither"),
        ("url = \"http://billing.example\"\nca = \"system\"", "`ca` says nothing to a `http://` url"),
    ] {
        let url = if line.contains("url") { "" } else { "url = \"https://billing.example\"\n" };
        let config = format!("[backends.billing]\n{url}{line}\n");
        let refused = super::fetching_host(plugins.path(), &config).try_start().err().expect("it does not start");
        assert!(refused.contains(said), "{line}: {refused}");
    }
}
