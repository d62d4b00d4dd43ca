//! Bad input gets a clear error in the user's words: where, what, what to do; and nothing is lost.

use std::path::Path;

use serde_json::json;

use crate::harness::{Host, guest, plugins, tidegate};

/// What a host says that can't start with these plugins.
fn refusal(plugins: &Path) -> String {
    match Host::dev(plugins).try_start() {
        Ok(_) => panic!("the host started on broken plugins"),
        Err(said) => said,
    }
}

/// The echo plugin with its manifest changed.
fn echo_with(change: impl FnOnce(String) -> String) -> tempfile::TempDir {
    let plugins = plugins(&["echo"]);
    let path = plugins.path().join("echo/plugin.toml");
    let text = std::fs::read_to_string(&path).expect("a manifest");
    std::fs::write(path, change(text)).expect("it can be written");
    plugins
}

#[test]
fn an_unknown_manifest_key_names_file_line_and_what_was_meant() {
    let said = refusal(echo_with(|text| text.replace("effect", "efect")).path());
    assert!(said.contains("plugin.toml:") && said.contains("did you mean `effect`?"), "{said}");
}

#[test]
fn a_manifest_that_is_not_toml_or_is_missing_is_told() {
    let said = refusal(echo_with(|text| text + "\n[[tool").path());
    assert!(said.contains("plugin.toml:"), "{said}");
    let empty = tempfile::tempdir().expect("a temporary folder");
    let said = refusal(empty.path());
    assert!(said.contains("no plugin in") && said.contains("plugin.toml"), "{said}");
}

#[test]
fn a_tool_that_the_component_lacks_is_named() {
    let extra = "\n[[tool]]\nname = \"ecco\"\neffect = \"read\"\nscopes = [\"use:echo\"]\n";
    let said = refusal(echo_with(|text| text + extra).path());
    assert!(said.contains("`ecco`") && said.contains("does not describe it"), "{said}");
}

#[test]
fn a_tool_that_the_manifest_does_not_declare_is_named() {
    let said = refusal(echo_with(|text| text.replace("name = \"echo\"\neffect", "name = \"other\"\neffect")).path());
    assert!(said.contains("`other`"), "{said}");
}

#[test]
fn the_same_tool_in_two_plugins_names_both() {
    let plugins = plugins(&["echo"]);
    let twin = plugins.path().join("twin");
    std::fs::create_dir(&twin).expect("it can be made");
    let manifest = std::fs::read_to_string(guest("echo").join("plugin.toml")).expect("a manifest");
    std::fs::write(twin.join("plugin.toml"), manifest.replacen("name = \"echo\"", "name = \"twin\"", 1)).expect("written");
    std::fs::copy(guest("echo").join("echo.wasm"), twin.join("twin.wasm")).expect("copied");
    let said = refusal(plugins.path());
    assert!(said.contains("`echo` is the name of a tool in both `echo` and `twin`"), "{said}");
}

#[test]
fn a_component_that_is_missing_broken_or_for_another_contract_is_told_apart() {
    let plugins = plugins(&["echo"]);
    let component = plugins.path().join("echo/echo.wasm");
    std::fs::write(&component, b"not wasm").expect("written");
    assert!(refusal(plugins.path()).contains("echo.wasm"));

    let other = r#"(component (component $inner) (instance $tools (instantiate $inner)) (export "tidegate:plugin/tools@0.9.0" (instance $tools)))"#;
    std::fs::write(&component, wat::parse_str(other).expect("a component")).expect("written");
    let said = refusal(plugins.path());
    assert!(said.contains("0.9.0") && said.contains("0.1.1"), "names both versions: {said}");

    std::fs::remove_file(&component).expect("removed");
    let said = refusal(plugins.path());
    assert!(said.contains("there is no component") || said.contains("can't write"), "{said}");
}

#[test]
fn a_component_that_never_says_what_it_has_is_refused() {
    let said = refusal(plugins(&["stuck"]).path());
    assert!(said.contains("plugin `stuck`: `describe` failed"), "{said}");
}

#[test]
fn an_undefined_backend_is_told_how_to_define_it() {
    let said = refusal(plugins(&["invoices"]).path());
    assert!(said.contains("backend `billing` is not defined") && said.contains("--backend billing=URL"), "{said}");
}

#[test]
fn a_typo_in_a_policy_or_a_rule_that_can_never_match_blocks_the_start() {
    let policies = tempfile::tempdir().expect("a temporary folder");
    let plugins = plugins(&["echo"]);
    let refused = |text: &str| {
        std::fs::write(policies.path().join("mine.cedar"), text).expect("written");
        let flags = ["--policies", &policies.path().display().to_string()];
        Host::dev(plugins.path()).with(&flags).try_start().err().expect("the policy is refused")
    };
    let typo = refused("@id(\"x\")\npermit (principal, action == Tidegate::Action::\"ecko\", resource);\n");
    assert!(typo.contains("mine.cedar") && typo.contains("ecko"), "{typo}");
    let never = refused("@id(\"x\")\npermit (principal, action == Tidegate::Action::\"echo\", resource) when { false };\n");
    assert!(never.contains("mine.cedar") && never.contains("impossible"), "{never}");
    let broken = refused("@id(\"x\")\npermit (principal, action, resource\n");
    assert!(broken.contains("mine.cedar:"), "{broken}");
}

#[test]
fn a_config_typo_names_file_line_and_what_was_meant() {
    let plugins = plugins(&["echo"]);
    let said = Host::dev(plugins.path()).config("[admission]\nslotz = 3\n").try_start().err().expect("refused");
    assert!(said.contains(".toml:2:1") && said.contains("did you mean `slots`?"), "{said}");
}

#[test]
fn limits_that_nobody_can_mean_are_refused_by_name() {
    let plugins = plugins(&["echo"]);
    for (config, said) in [
        ("[admission]\nslots = 0\n", "`admission.slots` is zero"),
        ("[admission]\nqueue = -1\n", ".toml:2:9: invalid value: integer `-1`"),
        ("[admission]\nmax_wait = \"0s\"\n", "`admission.max_wait` is zero"),
        ("[admission]\nmax_asking = 0\n", "`admission.max_asking` is zero"),
        ("[admission]\nask_timeout = \"0s\"\n", "`admission.ask_timeout` is zero"),
        ("[admission]\nask_bytes = \"640KiB\"\n", "`admission.ask_bytes` is 640.0 KiB"),
        ("[admission.principal]\nrate = 0\n", "`admission.principal.rate` is zero"),
        ("[admission.principal]\nrat = 1\n", "did you mean `rate`?"),
        ("[admission]\nslots = 1000\n", "`sandbox.max_instances` is 128"),
        ("[admission]\nmemory = \"1MiB\"\n", "`sandbox.max_memory`"),
    ] {
        let refused = Host::dev(plugins.path()).config(config).try_start().err().expect("refused");
        assert!(refused.contains(said), "{config}: {refused}");
    }
}

#[test]
fn a_port_in_use_is_told_and_so_is_the_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    let plugins = plugins(&["echo"]);
    let data = tempfile::tempdir().expect("a temporary folder");
    let (plugins, data) = (plugins.path().display().to_string(), data.path().join("data").display().to_string());
    let refused = tidegate(&["dev", "--plugins", &plugins, "--data", &data, "--port", &port, "--admin-port", "0"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains(&format!("port {port} is in use")) && said.contains("--port"), "{said}");
}

#[test]
fn serve_refuses_to_let_anyone_in_by_accident() {
    let plugins = plugins(&["echo"]);
    let plugins = plugins.path().display().to_string();
    let data = tempfile::tempdir().expect("a temporary folder");
    let data = data.path().join("data").display().to_string();
    let refused = tidegate(&["serve", "--port", "0", "--admin-port", "0", "--plugins", &plugins, "--data", &data]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("--insecure-no-auth"), "{said}");
}

#[test]
fn a_full_disk_refuses_calls_before_they_run_and_loses_nothing() {
    let plugins = plugins(&["echo"]);
    // More free space than any disk has: the watermark is reached at once.
    let host = Host::dev(plugins.path()).config("[store]\nmin_free = \"1EiB\"\n").try_start();
    let said = match host {
        Err(said) => said,
        Ok(host) => {
            let answer = host.client().call("echo", json!({"text": "hello"}));
            assert_eq!(answer.error(), "audit_unavailable");
            assert_eq!(answer.envelope()["effect"], "none");
            assert_eq!(host.admin("/readyz").0, 503);
            return;
        }
    };
    assert!(said.contains("space"), "{said}");
}

#[test]
fn a_data_folder_that_holds_the_plugins_too_loses_nothing() {
    let plugins = plugins(&["echo"]);
    let data = plugins.path().parent().expect("a parent").join(format!("both-{}", std::process::id()));
    std::fs::create_dir_all(data.join("plugins/precious")).expect("made");
    std::fs::write(data.join("plugins/precious/work.rs"), "mine").expect("written");
    drop(Host::dev(plugins.path()).on(&data).start());
    let kept = std::fs::read_to_string(data.join("plugins/precious/work.rs"));
    std::fs::remove_dir_all(&data).expect("removed");
    assert_eq!(kept.expect("still there"), "mine");
}

#[test]
fn a_mistyped_data_folder_does_not_pass_for_an_unbroken_log() {
    let empty = tempfile::tempdir().expect("a temporary folder");
    let refused = tidegate(&["audit", "verify", "--data", &empty.path().display().to_string()]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("no host's data folder"), "{said}");
    assert_eq!(std::fs::read_dir(empty.path()).expect("readable").count(), 0, "looking creates nothing");
}

#[test]
fn plugin_list_and_inspect_show_what_a_reviewer_needs() {
    let folder = guest("invoices").display().to_string();
    let listed = tidegate(&["plugin", "list", &folder, "--output", "json"]);
    let rows: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    let pay = rows.as_array().expect("rows").iter().find(|row| row["tool"] == "pay_invoice").expect("listed").clone();
    assert_eq!((&pay["effect"], &pay["built"]), (&json!("write"), &json!(true)));
    let inspected = tidegate(&["plugin", "inspect", &folder, "--output", "json"]);
    let plugin: serde_json::Value = serde_json::from_slice(&inspected.stdout).expect("JSON");
    assert_eq!(plugin[0]["backends"], json!(["billing"]));
    let pay =
        plugin[0]["tools"].as_array().expect("tools").iter().find(|tool| tool["tool"] == "pay_invoice").expect("shown").clone();
    assert!(pay["input_schema"]["properties"]["idempotency_key"].is_object(), "{pay}");
}
