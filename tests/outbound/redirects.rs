//! Redirects: followed within a backend, and nowhere else; nobody is sent to an address they must not know.

use serde_json::json;

use super::Fetching;
use super::server::{Server, respond};

#[test]
fn redirects_are_followed_within_the_backend_only_and_carry_the_credential_nowhere_else() {
    let elsewhere = Server::plain(|_, to| respond(to, "200 OK", &[], "stolen"));
    let (by_number, by_name) = (format!("{}/v1/x", elsewhere.url), format!("http://localhost:{}/v1/x", elsewhere.port));
    let backend = Server::plain(move |seen, to| {
        let host = &seen.headers["host"];
        let location = match seen.target.as_str() {
            "/v1/within" => format!("http://{host}/v1/end?a=b"),
            "/v1/relative" => "./end".to_owned(),
            "/v1/chain3" => "/v1/chain2".to_owned(),
            "/v1/chain2" => "/v1/chain1".to_owned(),
            "/v1/chain1" => "/v1/end".to_owned(),
            "/v1/loop" => "/v1/loop".to_owned(),
            "/v1/up" => "/admin".to_owned(),
            "/v1/dots" => "/v1/%2e%2e/admin".to_owned(),
            "/v1/number" => by_number.clone(),
            "/v1/name" => by_name.clone(),
            "/v1/metadata" => "http://169.254.169.254/latest/meta-data/".to_owned(),
            _ => return respond(to, "200 OK", &[], &format!("{} {}", seen.method, seen.target)),
        };
        respond(to, "307 Temporary Redirect", &[("location", &location)], "")
    });
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("secret");
    std::fs::write(&file, "s3cret").expect("it can be written");
    let config = format!(
        "[backends.billing]\nurl = \"{}/v1\"\ncredential = {{ kind = \"bearer\", file = \"{}\" }}\n",
        backend.url,
        file.display()
    );
    let fetching = Fetching::start(&["billing"], &[], &config);
    for (path, end) in [("within", "GET /v1/end?a=b"), ("relative", "GET /v1/end"), ("chain3", "GET /v1/end")] {
        let answer = fetching.fetch(&format!("http://billing/{path}"));
        assert_eq!((&answer.structured()["status"], &answer.structured()["body"]), (&json!(200), &json!(end)), "{path}");
    }
    assert!(backend.seen().iter().all(|seen| seen.headers["authorization"] == "Bearer s3cret"));

    // The guest is told of the rest, in its own terms.
    for (path, location) in [
        ("loop", Some("http://billing/loop")),
        ("up", None),
        ("dots", Some("http://billing/%2e%2e/admin")),
        ("number", None),
        ("name", None),
        ("metadata", None),
    ] {
        let before = backend.seen().len();
        let answer = fetching.fetch(&format!("http://billing/{path}"));
        let came = answer.structured();
        let told = came["headers"].get("location").and_then(|location| location.as_str());
        assert_eq!((&came["status"], told), (&json!(307), location), "{path}: {answer:?}");
        assert_eq!(backend.seen().len() - before, if path == "loop" { 4 } else { 1 }, "{path}");
        assert!(!answer.body.to_string().contains("127.0.0.1"), "{answer:?}");
    }
    let answer = fetching.send(json!({"url": "http://billing/within", "method": "POST", "body": "{}"}));
    assert_eq!(answer.structured()["status"], json!(307), "what may change something is not repeated: {answer:?}");
    assert_eq!(elsewhere.connections(), 0, "nobody knocked elsewhere");
    assert!(!backend.seen().iter().any(|seen| seen.target.contains("admin")));
}
