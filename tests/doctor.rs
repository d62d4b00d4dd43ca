//! `tidegate doctor`: what is broken is named, with what to do about it, and nothing is changed by looking.

use std::path::Path;

use serde_json::Value;

use crate::harness::{Billing, Host, Receiver, command, plugins, workspace};
use crate::outbound::certificates::Authority;
use crate::outbound::server::{Seen, Server, respond};

/// What doctor finds with this config: whether all is well, and its findings.
fn doctor(config: &str, plugins: &Path, data: &Path) -> (bool, Vec<Value>) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), config).expect("written");
    let told = command()
        .args(["doctor", "--output", "json", "--config"])
        .arg(file.path())
        .arg("--plugins")
        .arg(plugins)
        .arg("--data")
        .arg(data)
        .output()
        .expect("tidegate runs");
    let report: Value = serde_json::from_slice(&told.stdout).unwrap_or_else(|_| panic!("{told:?}"));
    assert_eq!(report["ok"], told.status.success(), "{report:#}");
    (told.status.success(), report["checks"].as_array().expect("checks").clone())
}

/// One finding: its state, and all it says.
fn of(findings: &[Value], check: &str) -> (String, String) {
    let found =
        findings.iter().find(|finding| finding["check"] == check).unwrap_or_else(|| panic!("no `{check}`: {findings:#?}"));
    let text = |member: &str| found[member].as_str().unwrap_or_default().to_owned();
    (text("state"), format!("{} {}", text("found"), text("fix")))
}

/// Ports that nobody minds.
const PORTS: &str = "[server]\nport = 0\n[admin]\nport = 0\n";

#[test]
fn all_is_well_where_everything_is_there_and_looking_changes_nothing() {
    let (billing, collector, plugins) = (Billing::start(&[]), Receiver::start(), plugins(&["echo", "invoices"]));
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let config = format!(
        "{PORTS}[backends.billing]\nurl = \"{}\"\n[telemetry]\notlp = \"{}\"\n[store]\nmin_free = \"1MiB\"\n",
        billing.url, collector.url
    );
    let (well, findings) = doctor(&config, plugins.path(), &data);
    assert!(well && findings.iter().all(|finding| finding["state"] != "broken"), "{findings:#?}");
    for check in ["config", "store", "clock", "plugins", "policies", "backend billing", "collector", "limits"] {
        assert_ne!(of(&findings, check).0, "broken", "{check}");
    }
    assert!(!data.exists(), "there is no store yet, and looking makes none");
}

#[test]
fn what_is_broken_is_named_with_what_to_do_about_it() {
    let plugins = plugins(&["invoices"]);
    let folder = tempfile::tempdir().expect("a folder");
    let policies = folder.path().join("policies");
    std::fs::create_dir(&policies).expect("made");
    std::fs::write(policies.join("walls.cedar"), "@id(\"wall\")\nforbid (principal, action, resource) when { nonsense };\n")
        .expect("written");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let nobody = "http://127.0.0.1:1";
    let config = format!(
        "[server]\nport = {port}\n[admin]\nport = 0\n[policies]\npath = \"{}\"\n[backends.billing]\nurl = \"{nobody}\"\n\
         [telemetry]\notlp = \"{nobody}\"\n[store]\nmin_free = \"1000000TiB\"\n",
        policies.display()
    );
    let (well, findings) = doctor(&config, plugins.path(), &folder.path().join("data"));
    assert!(!well);
    for (check, state, words) in [
        ("policies", "broken", "walls.cedar"),
        ("policies", "broken", "tidegate policy check"),
        ("backend billing", "broken", "[backends.billing] url"),
        ("collector", "warning", "calls do not wait for it"),
        ("store", "broken", "store.min_free"),
        ("server.port", "broken", "stop whoever listens there"),
    ] {
        let (found, said) = of(&findings, check);
        assert!(found == state && said.contains(words), "{check}: {found}: {said}");
    }
}

#[test]
fn a_backend_whose_certificate_is_not_taken_is_broken_and_it_is_told_why() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let ok = |_: &Seen, to: &mut dyn std::io::Write| respond(to, "200 OK", &[], "");
    let good = Server::tls(ours.server("127.0.0.1", false), ok);
    let expired = Server::tls(ours.server("127.0.0.1", true), ok);
    let misnamed = Server::tls(ours.server("billing.example.com", false), ok);
    let clients = Server::tls(ours.server_for_clients(), ok);
    let plain = Billing::start(&[]);
    let (certificate, key) = ours.client();
    let shown = format!("client_cert = \"{}\"\nclient_key = \"{}\"\n", certificate.display(), key.display());
    let backend = |name: &str, url: &str, ca: &Authority, more: &str| {
        format!("[backends.{name}]\nurl = \"{url}\"\nca = \"{}\"\n{more}", ca.file().display())
    };
    let config = [
        PORTS.to_owned(),
        backend("good", &good.url, &ours, ""),
        backend("foreign", &good.url, &theirs, ""),
        backend("expired", &expired.url, &ours, ""),
        backend("misnamed", &misnamed.url, &ours, ""),
        backend("stranger", &clients.url, &ours, ""),
        backend("known", &clients.url, &ours, &shown),
        backend("plain", &plain.url.replace("http://", "https://"), &ours, ""),
    ];
    let plugins = plugins(&["echo"]);
    let (_, findings) = doctor(&config.concat(), plugins.path(), &plugins.path().join("data"));
    for (name, state, words) in [
        ("good", "ok", "certificate is good"),
        ("known", "ok", "certificate is good"),
        ("foreign", "broken", "signed by nobody this host trusts"),
        ("expired", "broken", "has expired"),
        ("misnamed", "broken", "for another name"),
        ("stranger", "broken", "does it want a `client_cert`?"),
        ("plain", "broken", "does it speak TLS at this port?"),
    ] {
        let (found, said) = of(&findings, &format!("backend {name}"));
        assert!(found == state && said.contains(words), "{name}: {found}: {said}");
    }
}

#[test]
fn a_credential_in_clear_is_a_warning_of_doctor_and_of_the_host_that_starts() {
    let plugins = plugins(&["echo"]);
    let secret = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(secret.path(), "key").expect("written");
    let backend = |name: &str, url: &str| {
        format!("[backends.{name}]\nurl = \"{url}\"\ncredential = {{ file = \"{}\" }}\n", secret.path().display())
    };
    // An address of documentation, where nobody is.
    let config = backend("far", "http://192.0.2.1:8080") + &backend("here", "http://127.0.0.1:1");
    let (_, findings) = doctor(&format!("{PORTS}{config}"), plugins.path(), &plugins.path().join("data"));
    let (state, said) = of(&findings, "backend far credential");
    assert!(state == "warning" && said.contains("in clear") && said.contains("[backends.far] url"), "{said}");
    assert!(findings.iter().all(|finding| finding["check"] != "backend here credential"), "{findings:#?}");
    let host = Host::dev(plugins.path()).config(&config).start();
    let log = host.log();
    let warned: Vec<_> = log.lines().filter(|line| line.contains("travels in clear")).collect();
    assert!(warned.len() == 1 && warned[0].contains("far"), "{log}");
}

#[test]
fn a_config_that_makes_no_sense_is_told_of_and_nothing_else_is_looked_at() {
    let plugins = plugins(&["echo"]);
    for (config, words) in [("[telemetrie]\n", "telemetrie"), ("[admission]\nslots = \"many\"\n", ":2:9")] {
        let (well, findings) = doctor(config, plugins.path(), plugins.path());
        let (state, said) = of(&findings, "config");
        assert!(!well && state == "broken" && said.contains(words) && findings.len() == 1, "{findings:#?}");
    }
}

#[test]
fn what_serve_refuses_is_broken() {
    let plugins = plugins(&["echo"]);
    let issuer = "[auth.issuers.corp]\nissuer = \"https://id.example.com\"\n";
    let own = "[admin]\nport = 0\n[server]\nport = 0\n";
    for (config, check, words) in [
        (format!("{own}[admission]\nslots = 0\n"), "config", "`admission.slots` is zero"),
        (format!("{own}[admission]\nslots = 9\n[sandbox]\nmax_instances = 8\n"), "config", "sandbox.max_instances"),
        (format!("{own}[telemetry]\nlog = \"tidegate=loud\"\n"), "config", "not a log filter"),
        (format!("{own}[ledger.sinks.copy]\nkind = \"file\"\n"), "config", "needs a `path`"),
        (format!("{own}{issuer}[auth.issuers.twin]\nissuer = \"https://id.example.com\"\n"), "config", "the same"),
        (format!("{own}address = \"0.0.0.0\"\n{issuer}"), "callers", "without TLS"),
        (format!("{own}{issuer}[auth.anonymous]\nsubject = \"u1\"\n"), "callers", "drop one of the two"),
    ] {
        let (well, findings) = doctor(&config, plugins.path(), &plugins.path().join("data"));
        let (state, said) = of(&findings, check);
        assert!(!well && state == "broken" && said.contains(words), "{config}: {findings:#?}");
    }
    // Whoever only uses `run` needs nobody to vouch for callers.
    let (well, findings) = doctor(PORTS, plugins.path(), &plugins.path().join("data"));
    assert!(well && of(&findings, "callers").0 == "warning", "{findings:#?}");
}

#[test]
fn a_collector_that_refuses_traces_is_told_from_one_that_takes_them() {
    let (collector, plugins) = (Receiver::start(), plugins(&["echo"]));
    let data = plugins.path().join("data");
    let telemetry = |url: &str| format!("{PORTS}[telemetry]\notlp = \"{url}\"\ntimeout = \"2s\"\n");
    let (state, said) = of(&doctor(&telemetry(&collector.url), plugins.path(), &data).1, "collector");
    assert!(state == "ok" && said.contains("takes traces"), "{said}");
    // The demo backend takes connections, and knows of no traces.
    let other = Billing::start(&[]);
    let (state, said) = of(&doctor(&telemetry(&other.url), plugins.path(), &data).1, "collector");
    assert!(state == "warning" && said.contains("takes no traces"), "{said}");
}

#[test]
fn an_origin_counts_only_if_the_operator_allows_it_too() {
    let plugins = plugins(&["echo"]);
    let manifest = plugins.path().join("echo/plugin.toml");
    let text = std::fs::read_to_string(&manifest).expect("a manifest");
    let text = text.replace("[sandbox]\n", "[sandbox]\norigins = [\"https://api.example.com\"]\n");
    std::fs::write(&manifest, text).expect("written");
    let data = plugins.path().join("data");
    let (state, said) = of(&doctor(PORTS, plugins.path(), &data).1, "plugins");
    assert!(state == "broken" && said.contains("https://api.example.com"), "{said}");
    let allowed = format!("{PORTS}[origins]\nallow = [\"https://api.example.com\"]\n");
    assert_eq!(of(&doctor(&allowed, plugins.path(), &data).1, "plugins").0, "ok");
}

#[test]
fn the_config_that_is_shown_to_operators_makes_sense() {
    let text = std::fs::read_to_string(workspace().join("docs/observability.md")).expect("the document");
    let config = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a config");
    let secret = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(secret.path(), "key").expect("written");
    let config = config.replace("env = \"COLLECTOR_KEY\"", &format!("file = \"{}\"", secret.path().display()));
    let plugins = plugins(&["echo"]);
    let (_, findings) = doctor(&format!("{PORTS}{config}"), plugins.path(), &plugins.path().join("data"));
    assert_eq!(of(&findings, "config").0, "ok");
    assert_ne!(of(&findings, "collector").0, "broken", "{findings:#?}");
}

#[test]
fn a_live_host_a_stopped_one_and_a_stuck_one_are_told_apart() {
    let plugins = plugins(&["echo"]);
    let mut host = Host::dev(plugins.path()).start();
    let store = |host: &crate::harness::Started| of(&doctor(PORTS, plugins.path(), &host.data).1, "store");
    let (state, said) = store(&host);
    assert!(state == "ok" && said.contains("live host"), "{said}");
    assert!(host.stop("-TERM").success());
    let (state, said) = store(&host);
    assert!(state == "ok" && said.contains("no host has it open"), "{said}");
    let lock = std::fs::File::options().write(true).open(host.data.join("lock")).expect("a lock");
    lock.lock().expect("nobody has it");
    let (state, said) = store(&host);
    assert!(state == "broken" && said.contains("does not answer"), "{said}");
}
