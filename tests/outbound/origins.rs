//! Literal origins: reached if manifest and operator agree, and if they lead where they may; without any credential.

use serde_json::json;

use super::certificates::Authority;
use super::server::{Server, respond};
use super::{Fetching, fetching_host, fetching_plugin};

#[test]
fn an_origin_that_the_operator_does_not_allow_keeps_the_plugin_out_and_says_what_to_add() {
    for (origin, config) in [
        ("https://api.example.com", ""),
        ("https://api.example.com", "[origins]\nallow = [\"http://api.example.com\", \"https://api.example.com:8443\"]\n"),
        ("https://*.example.com", "[origins]\nallow = [\"https://api.example.com\"]\n"),
    ] {
        let plugins = fetching_plugin(&[], &[origin]);
        let said = fetching_host(plugins.path(), config).try_start().err().expect("it is refused");
        assert!(said.contains(&format!("plugin `hostile`: its origin `{origin}` is not allowed on this host")), "{said}");
        assert!(said.contains(&format!("add \"{origin}\" to `allow` under `[origins]`")), "{said}");
    }
    let plugins = fetching_plugin(&[], &["api.example.com/v1"]);
    let said = fetching_host(plugins.path(), "").try_start().err().expect("it is refused");
    assert!(said.contains("plugin.toml:") && said.contains("is not an origin"), "{said}");
}

#[test]
fn an_origin_is_reached_in_the_open_or_by_tls_without_credentials_and_nothing_beside_it() {
    let authority = Authority::new();
    let elsewhere = Server::plain(|_, to| respond(to, "200 OK", &[], "elsewhere"));
    let away = elsewhere.url.clone();
    let open = Server::plain(move |seen, to| match seen.target.as_str() {
        "/away" => respond(to, "302 Found", &[("location", &away)], ""),
        "/here" => respond(to, "302 Found", &[("location", "/there")], ""),
        _ => respond(to, "200 OK", &[], ""),
    });
    let secured = Server::tls(authority.server("localhost", false), |_, to| respond(to, "200 OK", &[], "secured"));
    let by_name = format!("https://localhost:{}", secured.port);
    let config = format!(
        "[origins]\nallow = [{{ origin = \"{}\", private = true }}, {{ origin = \"{by_name}\", private = true, ca = \"{}\" }}, \
         \"{}\"]\n",
        open.url,
        authority.file().display(),
        elsewhere.url
    );
    let mut fetching = Fetching::start(&[], &[&open.url, &by_name], &config);
    let forged = json!({"authorization": "mine", "cookie": "mine", "idempotency-key": "mine", "x-own": "mine"});
    let answer = fetching.send(json!({"url": format!("{}/v1?a=b", open.url), "headers": forged}));
    assert_eq!(answer.structured()["status"], json!(200), "{answer:?}");
    let seen = &open.seen()[0];
    assert_eq!((seen.target.as_str(), seen.headers["host"].as_str()), ("/v1?a=b", &open.url["http://".len()..]));
    assert!(seen.headers.contains_key("traceparent") && seen.headers["x-own"] == "mine", "{seen:?}");
    for name in ["authorization", "cookie", "idempotency-key"] {
        assert!(!seen.headers.contains_key(name), "{seen:?}");
    }
    let answer = fetching.fetch(&format!("{by_name}/"));
    assert_eq!(answer.structured()["body"], json!("secured"), "{answer:?}");
    let answer = fetching.send(json!({"url": by_name, "by_sdk": true}));
    assert_eq!(answer.structured()["body"], json!("secured"), "{answer:?}");
    assert_eq!(secured.seen()[0].headers["host"], format!("localhost:{}", secured.port));

    // Redirects are the guest's business; one that leads away from a private origin does not say where to.
    for (path, location) in [("here", Some(format!("{}/there", open.url))), ("away", None)] {
        let answer = fetching.fetch(&format!("{}/{path}", open.url));
        let told = answer.structured()["headers"].get("location").and_then(|location| location.as_str().map(str::to_owned));
        assert_eq!((&answer.structured()["status"], told), (&json!(302), location), "{answer:?}");
    }
    // What the operator allows but the manifest does not name, and other spellings, schemes and ports.
    for url in [
        format!("{}/", elsewhere.url),
        format!("https://127.0.0.1:{}/", open.port),
        format!("http://localhost:{}/", open.port),
        format!("http://2130706433:{}/", open.port),
        format!("http://0x7f.1:{}/", open.port),
        format!("http://[::ffff:127.0.0.1]:{}/", open.port),
        format!("http://user@127.0.0.1:{}/", open.port),
        format!("https://127.0.0.1:{}/", secured.port),
    ] {
        let answer = fetching.fetch(&url);
        assert_eq!(answer.error(), "permission_denied", "{url}: {answer:?}");
    }
    assert_eq!((elsewhere.connections(), open.seen().len(), secured.seen().len()), (0, 3, 2));
    fetching.host.stop("-TERM");
    let data = fetching.host.data.display().to_string();
    let records = crate::harness::tidegate(&["audit", "list", "--output", "json", "--data", &data]);
    let records = String::from_utf8_lossy(&records.stdout).into_owned();
    for tried in ["GET http://localhost:", "GET http://2130706433:", "GET http://[::ffff:127.0.0.1]:"] {
        assert!(records.contains(tried), "what was tried is on record: {records}");
    }
    assert!(records.contains(&by_name) && records.contains(&open.url), "what was reached is on record: {records}");
}

#[test]
fn an_origin_that_leads_to_this_machine_is_not_connected_to_unless_that_is_meant() {
    let secret = Server::plain(|_, to| respond(to, "200 OK", &[], "secret"));
    let origins = ["localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"].map(|host| format!("http://{host}:{}", secret.port));
    let origins = origins.each_ref().map(String::as_str);
    let fetching = Fetching::start(&[], &origins, &format!("[origins]\nallow = {}\n", json!(origins)));
    for origin in origins {
        let answer = fetching.fetch(&format!("{origin}/"));
        assert_eq!(answer.error(), "permission_denied", "{origin}: {answer:?}");
    }
    assert_eq!(secret.connections(), 0, "nobody knocked");
    let log = fetching.host.log();
    assert!(log.contains("not of the public internet") && log.contains("`private = true`"), "{log}");
}
