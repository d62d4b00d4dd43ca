//! Calls that go on without their callers, as clients without tasks see them: the host's own tool, the URL, the command line.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Host, POLL_TOOL, Started, plugins, tidegate};

/// Every call outlasts its caller's patience.
const IMPATIENT: &str = "[admission]\nsync_budget = \"0s\"\n";

const NOBODYS: &str = "call_00000000000000000000000000000000";

fn start(config: &str) -> (tempfile::TempDir, Started) {
    let plugins = plugins(&["conformance"]);
    let host = Host::dev(plugins.path()).with(&["--profile", "conformance"]).config(config).start();
    (plugins, host)
}

/// What a call was told that goes on without its caller.
fn pending(result: &Value) -> Value {
    assert_eq!((&result["isError"], &result["_meta"]["dev.tidegate/pending"]), (&json!(false), &json!(true)), "{result}");
    let told: Value = serde_json::from_str(result["content"][0]["text"].as_str().expect("text")).expect("JSON");
    assert_eq!(result["_meta"]["dev.tidegate/call-id"], told["call_id"]);
    told
}

/// Starts a call that takes `seconds`, and answers its id.
fn compute(host: &Started, seconds: f64) -> String {
    let answer = host.client().call("slow_compute", json!({"seconds": seconds, "label": "it"}));
    pending(&answer.body["result"])["call_id"].as_str().expect("an id").to_owned()
}

/// What the URL of a call answers.
struct Told {
    status: u16,
    headers: ureq::http::HeaderMap,
    body: Value,
}

fn at(host: &Started, method: &str, path: &str, headers: &[(&str, &str)]) -> Told {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let url = format!("{}{path}", host.mcp.trim_end_matches("/mcp"));
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = agent.run(request.body(()).expect("a request")).expect("it answers");
    let text = response.body_mut().read_to_string().expect("text");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Told { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
}

fn get(host: &Started, call: &str) -> Told {
    at(host, "GET", &format!("/v1/calls/{call}"), &[])
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn pending_says_all_it_takes_to_get_the_result() {
    let (_plugins, host) = start(IMPATIENT);
    let client = host.client();
    let answer = client.call("slow_compute", json!({"seconds": 0.5, "label": "it"}));
    let told = pending(&answer.body["result"]);
    let (call, wait) = (told["call_id"].as_str().expect("an id"), told["retry_after_seconds"].as_u64().expect("seconds"));
    assert_eq!((&told["status"], &told["poll_tool"]), (&json!("pending"), &json!(POLL_TOOL)));
    assert_eq!((&told["poll_url"], wait >= 1), (&json!(format!("/v1/calls/{call}")), true));
    assert!(told["message"].as_str().expect("words").contains(POLL_TOOL));
    until("it ends", || {
        let answer = client.call(POLL_TOOL, json!({"call_id": call}));
        let result = &answer.body["result"];
        if result["_meta"]["dev.tidegate/pending"] == true {
            assert_eq!(pending(result)["call_id"], json!(call));
            return false;
        }
        assert_eq!(result["content"][0]["text"], "Computed `it` for 0.5 s.", "{answer:?}");
        assert_eq!(result["_meta"]["dev.tidegate/call-id"], json!(call));
        assert_eq!(result["_meta"]["dev.tidegate/polled"], true);
        true
    });
}

#[test]
fn the_hosts_own_tool_is_listed_for_everybody_and_takes_nothing_but_a_call_id() {
    let (_plugins, host) = start("");
    let client = host.client();
    let listed = client.request("tools/list", json!({})).body["result"]["tools"].as_array().expect("tools").clone();
    let tool = listed.last().expect("there are tools");
    assert_eq!((&tool["name"], &tool["annotations"]["readOnlyHint"]), (&json!(POLL_TOOL), &json!(true)));
    for arguments in [json!({}), json!({"call_id": 7}), json!({"call_id": "call_7"}), json!({"call_id": NOBODYS, "more": 1})] {
        assert_eq!(client.call(POLL_TOOL, arguments.clone()).error(), "invalid_arguments", "{arguments}");
    }
    assert_eq!(client.call(POLL_TOOL, json!({"call_id": NOBODYS})).error(), "not_found");
    // No scope is needed for what is the caller's own.
    let poor = host.caller(&json!({"subject": "u1", "scopes": ["use:nothing"]}));
    assert_eq!(poor.call(POLL_TOOL, json!({"call_id": NOBODYS})).error(), "not_found");
}

#[test]
fn programs_ask_at_the_url_of_a_call() {
    let (_plugins, host) = start(IMPATIENT);
    let call = compute(&host, 1.5);
    let running = get(&host, &call);
    assert_eq!((running.status, &running.body["status"], &running.body["call_id"]), (200, &json!("pending"), &json!(call)));
    assert!(["queued", "running"].contains(&running.body["state"].as_str().expect("a state")), "{}", running.body);
    assert_eq!(running.headers["retry-after"], running.body["retry_after_seconds"].to_string());
    assert_eq!(running.headers["cache-control"], "no-store");
    until("it ends", || get(&host, &call).body["status"] != "pending");
    let done = get(&host, &call);
    assert_eq!((done.status, &done.body["status"], done.headers.get("retry-after")), (200, &json!("done"), None));
    assert_eq!(done.body["result"]["content"][0]["text"], "Computed `it` for 1.5 s.");
    assert_eq!(done.headers["cache-control"], "no-store");
    let head = at(&host, "HEAD", &format!("/v1/calls/{call}"), &[]);
    assert_eq!((head.status, head.body), (200, json!("")));
}

#[test]
fn a_call_can_be_called_off_at_its_url_once() {
    let (_plugins, host) = start(IMPATIENT);
    let call = compute(&host, 60.0);
    let path = format!("/v1/calls/{call}");
    let told = at(&host, "DELETE", &path, &[]);
    assert_eq!((told.status, told.body), (202, json!({"call_id": call, "status": "cancelling"})));
    until("it ends", || get(&host, &call).body["status"] != "pending");
    let ended = get(&host, &call);
    assert_eq!((ended.status, &ended.body["status"]), (200, &json!("cancelled")), "{}", ended.body);
    let late = at(&host, "DELETE", &path, &[]);
    assert_eq!((late.status, &late.body["error"], &late.body["call_id"]), (409, &json!("conflict"), &json!(call)));
}

#[test]
fn whatever_is_no_call_of_the_asker_looks_the_same_at_its_url() {
    let (_plugins, host) = start(IMPATIENT);
    let call = compute(&host, 0.0);
    until("it ends", || get(&host, &call).body["status"] == "done");
    let token = host.mint(&json!({"subject": "u2", "scopes": ["use:conformance"]}));
    let as_other = [("authorization", format!("Bearer {token}"))];
    let as_other = [(as_other[0].0, as_other[0].1.as_str())];
    for method in ["GET", "DELETE"] {
        let told = |id: &str| {
            let told = at(&host, method, &format!("/v1/calls/{id}"), &as_other);
            assert_eq!(told.headers["cache-control"], "no-store");
            (told.status, told.body["error"].clone(), told.body["message"].clone())
        };
        let unknown = told(NOBODYS);
        assert_eq!((unknown.0, &unknown.1), (404, &json!("not_found")));
        for id in [call.as_str(), "call_7", "", "../readyz", "call_00000000000000000000000000000000/x"] {
            assert_eq!(told(id), unknown, "{method} `{id}`");
        }
    }
    assert_eq!(get(&host, &call).body["status"], "done");
}

#[test]
fn the_url_of_a_call_is_guarded_as_the_endpoint_is() {
    let (_plugins, host) = start("");
    let path = format!("/v1/calls/{NOBODYS}");
    let status = |method, path: &str, headers: &[(&str, &str)]| at(&host, method, path, headers).status;
    assert_eq!(status("GET", &path, &[("origin", "https://evil.example.com")]), 403);
    assert_eq!(status("GET", &path, &[("host", "evil.example.com")]), 403);
    assert_eq!(status("GET", &format!("{path}?access_token=x"), &[]), 400);
    let put = at(&host, "PUT", &path, &[]);
    assert_eq!((put.status, &put.headers["allow"]), (405, &"GET, HEAD, POST, DELETE".parse().expect("a value")));
    assert_eq!(at(&host, "POST", &path, &[("origin", "https://evil.example.com")]).status, 403);
    assert_eq!(at(&host, "POST", &path, &[("authorization", "Bearer forged")]).status, 401);
    let forged = at(&host, "GET", &path, &[("authorization", "Bearer forged")]);
    assert_eq!(forged.status, 401);
    assert!(forged.headers["www-authenticate"].to_str().expect("text").contains("invalid_token"));
}

#[test]
fn the_command_line_waits_for_the_result_unless_told_not_to() {
    let (_plugins, host) = start(IMPATIENT);
    let arguments = r#"{"seconds": 0.2, "label": "cli"}"#;
    let waited = tidegate(&["call", "slow_compute", arguments, "--url", &host.mcp]);
    let (said, heard) = (String::from_utf8_lossy(&waited.stdout), String::from_utf8_lossy(&waited.stderr));
    assert!(waited.status.success(), "{heard}");
    assert_eq!(said.trim(), "Computed `cli` for 0.2 s.");
    assert!(heard.contains("is not finished; asking again in 1 s"), "{heard}");
    let at_once = tidegate(&["call", "slow_compute", arguments, "--url", &host.mcp, "--no-wait", "--output", "json"]);
    assert!(at_once.status.success());
    let told: Value = serde_json::from_slice(&at_once.stdout).expect("JSON");
    assert_eq!(pending(&told)["status"], "pending");
    let impatient = tidegate(&["call", "slow_compute", arguments, "--url", &host.mcp, "--wait", "1ms"]);
    let hint = String::from_utf8_lossy(&impatient.stderr).into_owned();
    assert!(hint.contains(&format!("tidegate call {POLL_TOOL} ")), "{hint}");
}
