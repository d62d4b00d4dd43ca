//! The plugin `fetch`: real pages from real servers, as far as the operator's allow-list reaches.

use std::io::Write;

use serde_json::{Value, json};

use crate::harness::{Answer, Host, Started, plugins, tidegate, workspace};
use crate::outbound::server::{Server, respond};

/// The page that the plugin's own tests read, and what they make of it.
fn article(extension: &str) -> String {
    let path = workspace().join("plugins/fetch/tests/pages/article").with_extension(extension);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("`{}`: {error}", path.display()))
}

/// A server of pages without rules for programs.
fn site() -> Server {
    Server::plain(|seen, to| match seen.target.as_str() {
        "/robots.txt" => respond(to, "404 Not Found", &[], ""),
        "/page" => respond(to, "200 OK", &[("content-type", "text/html; charset=utf-8")], &article("html")),
        "/large" => respond(to, "200 OK", &[("content-type", "text/html; charset=utf-8")], &large(1 << 20)),
        "/huge" => respond(to, "200 OK", &[("content-type", "text/html")], &large(3 << 20)),
        "/deep" => respond(to, "200 OK", &[("content-type", "text/html")], &"<div><b>".repeat(100_000)),
        "/picture" => respond(to, "200 OK", &[("content-type", "image/png")], "\u{89}PNG"),
        "/here" => respond(to, "302 Found", &[("location", "/page")], ""),
        "/away" => respond(to, "302 Found", &[("location", "https://evil.example/x")], ""),
        "/trouble" => respond(to, "503 Service Unavailable", &[("retry-after", "7")], ""),
        _ => not_found(to),
    })
}

fn not_found(to: &mut dyn Write) -> std::io::Result<()> {
    respond(to, "404 Not Found", &[], "")
}

/// A page of many sections, about so large.
fn large(bytes: usize) -> String {
    let page = article("html");
    let (start, rest) = page.split_once("<article>").expect("it has an article");
    let (section, end) = rest.split_once("</article>").expect("it ends");
    format!("{start}<article>{}</article>{end}", section.repeat(bytes / section.len() + 1))
}

/// A host whose operator allows this.
fn host(allow: &Value) -> (Started, tempfile::TempDir) {
    let plugins = plugins(&["fetch"]);
    let allow = allow.as_array().expect("a list").iter().map(|origin| match origin {
        Value::String(private) if private.starts_with("http://127.") => format!("{{ origin = \"{private}\", private = true }}"),
        other => other.to_string(),
    });
    let allow: Vec<_> = allow.collect();
    let config = format!("[origins]\nallow = [{}]\n", allow.join(", "));
    (Host::dev(plugins.path()).config(&config).start(), plugins)
}

fn fetch(host: &Started, arguments: Value) -> Answer {
    host.client().try_call(json!({"name": "fetch", "arguments": arguments})).expect("the host lives")
}

fn text(answer: &Answer) -> &str {
    assert!(answer.body["result"]["isError"] != json!(true), "{answer:?}");
    answer.body["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text: {answer:?}"))
}

#[test]
fn a_page_comes_as_markdown_in_parts_and_every_request_for_it_is_on_record() {
    let site = site();
    let (mut host, _plugins) = host(&json!([site.url]));
    let url = format!("{}/here", site.url);
    let expected = article("md").trim_end().replace("https://example.com/notes/", &format!("{}/", site.url));
    let expected = expected.replace("https://example.com/", &format!("{}/", site.url));
    let answer = fetch(&host, json!({"url": url}));
    assert_eq!(text(&answer), format!("Contents of {0}/page (redirected from {url}):\n{expected}", site.url));
    let mut whole = String::new();
    for start in (0..).step_by(500) {
        let answer = fetch(&host, json!({"url": format!("{}/page", site.url), "max_length": 500, "start_index": start}));
        let (_, part) = text(&answer).split_once(":\n").expect("it says whose contents they are");
        let (part, notice) = part.split_once("\n\n<error>").unwrap_or((part, ""));
        whole.push_str(part);
        if notice.is_empty() {
            break;
        }
        assert!(notice.contains(&format!("start_index of {} ", start + 500)), "{notice}");
    }
    assert_eq!(whole, expected);
    host.stop("-TERM");
    let data = host.data.display().to_string();
    let records = tidegate(&["audit", "list", "--output", "json", "--data", &data]);
    let records = String::from_utf8_lossy(&records.stdout).into_owned();
    for path in ["/robots.txt", "/here", "/page"] {
        assert!(records.contains(&format!("\"{path}\"")), "{path} is not on record: {records}");
    }
}

#[test]
fn where_the_operator_allows_nothing_the_plugin_loads_and_every_call_says_why_it_fails() {
    let (host, _plugins) = host(&json!([]));
    let answer = fetch(&host, json!({"url": "https://example.com/"}));
    let envelope = answer.envelope();
    let message = envelope["message"].as_str().expect("a message");
    assert_eq!((answer.error().as_str(), &envelope["retryable"]), ("permission_denied", &json!(false)));
    assert!(message.contains("lets the tool reach no origins") && message.contains("`allow` under `[origins]`"), "{message}");
}

#[test]
fn nothing_beyond_the_allow_list_is_reached_and_the_answer_says_what_is() {
    let (allowed, other) = (site(), site());
    let (host, _plugins) = host(&json!([allowed.url, "https://docs.example.com", "https://*.wiki.example"]));
    for url in [
        format!("{}/page", other.url),
        format!("http://localhost:{}/page", allowed.port),
        format!("https://127.0.0.1:{}/page", allowed.port),
        "http://docs.example.com/".to_owned(),
        "https://docs.example.com:8443/".to_owned(),
        "https://wiki.example/".to_owned(),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
    ] {
        let answer = fetch(&host, json!({"url": url}));
        let message = answer.envelope()["message"].as_str().expect("a message").to_owned();
        assert_eq!(answer.error(), "permission_denied", "{url}: {answer:?}");
        let named = "`https://*.wiki.example`, `https://docs.example.com`, 1 more";
        assert!(message.ends_with(&format!("is not among the origins that this host lets the tool reach: {named}")), "{message}");
        assert!(!message.contains(&format!(": {}", allowed.url)), "private origins are the operator's own: {message}");
    }
    let away = fetch(&host, json!({"url": format!("{}/away", allowed.url)}));
    let message = away.envelope()["message"].as_str().expect("a message").to_owned();
    assert!(message.contains("does not say where to"), "nor does a private origin tell what else there is: {message}");
    assert_eq!(other.connections(), 0);
}

#[test]
fn the_whole_public_internet_is_no_private_network() {
    let site = site();
    let (host, _plugins) = host(&json!(["https://*", "http://*"]));
    for host_name in ["localhost", "127.0.0.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"] {
        let answer = fetch(&host, json!({"url": format!("http://{host_name}:{}/page", site.port)}));
        assert_eq!(answer.error(), "permission_denied", "{host_name}: {answer:?}");
        let message = answer.envelope()["message"].as_str().expect("a message").to_owned();
        assert!(message.contains("outside of the public internet"), "{message}");
    }
    assert_eq!(site.connections(), 0, "nobody knocked");
}

#[test]
fn pages_of_every_size_and_kind_are_answered_within_the_limits_of_the_manifest() {
    let site = site();
    let (host, _plugins) = host(&json!([site.url]));
    let get = |path: &str| fetch(&host, json!({"url": format!("{}{path}", site.url), "max_length": 100}));
    assert!(text(&get("/large")).contains("Content truncated"), "{:?}", get("/large"));
    for (path, code, said) in
        [("/huge", "failed", "larger than"), ("/picture", "failed", "image/png"), ("/missing", "not_found", "404")]
    {
        let answer = get(path);
        let message = answer.envelope()["message"].as_str().expect("a message").to_owned();
        assert!(answer.error() == code && message.contains(said), "{path}: {answer:?}");
    }
    // A page made to be costly costs what the manifest says at most, and nobody else anything.
    assert!(["fuel_exhausted", "memory_exceeded", "deadline_exceeded"].contains(&get("/deep").error().as_str()));
    assert!(text(&get("/large")).contains("Content truncated"));
    assert_eq!(get("/trouble").envelope()["retry_after_seconds"], json!(7), "who asks to be left alone is left alone");
}
