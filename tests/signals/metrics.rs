//! Numbers for operators: well-formed, bounded in number, and scraped by a real Prometheus.

use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{ear, host};
use crate::harness::{Host, Receiver, Started, plugins, workspace};

/// Runs one of Prometheus' programs to its end, with this on standard input.
pub fn prometheus(program: &str, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(workspace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("`{program}` of Debian's package `prometheus` can't be run: {error}"));
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends")
}

/// A host after some of everything that is measured, with the plugins it must outlive.
pub fn busy() -> (Started, tempfile::TempDir) {
    let plugins = plugins(&["echo", "hostile", "invoices"]);
    let policies = plugins.path().join("policies");
    std::fs::create_dir(&policies).expect("made");
    let config = format!(
        "[policies]\npath = \"{}\"\n[ledger.sinks.copy]\nkind = \"file\"\npath = \"{}\"\n",
        policies.display(),
        plugins.path().join("copy.jsonl").display()
    );
    let host = Host::dev(plugins.path()).with(&["--backend", &format!("billing={}", ear().0)]).config(&config).start();
    let client = host.client();
    client.call("list_invoices", json!({"user_id": "u1"}));
    client.call("echo", json!({"text": "hi"}));
    client.call("trap", json!({}));
    client.call("no_such_tool", json!({}));
    client.tools();
    std::fs::write(policies.join("walls.cedar"), "forbid (principal, action, resource) when { 1 == 2 };\n").expect("written");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !host.admin("/metrics").1.contains("tidegate_policy_reload_seconds_count") {
        assert!(Instant::now() < deadline, "the change of the policies was not noticed:\n{}", host.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    (host, plugins)
}

/// What a metric with these labels tells.
fn value(metrics: &str, series: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn prometheus_finds_nothing_to_criticize_in_the_metrics() {
    let (host, _plugins) = busy();
    let metrics = host.admin("/metrics").1;
    let checked = prometheus("promtool", &["check", "metrics"], &metrics);
    let said = format!("{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    assert!(checked.status.success(), "{said}\n{metrics}");
}

#[test]
fn operations_are_measured_as_the_conventions_want_and_names_from_outside_are_no_labels() {
    let collector = Receiver::start();
    let (host, _plugins) = host(&collector, &ear().0, "");
    let host = host.start();
    let client = host.client();
    client.call("echo", json!({"text": "hi"}));
    client.call("list_invoices", json!({"user_id": 7}));
    client.call("trap", json!({}));
    for n in 0..20 {
        client.call(&format!("made_up_{n}"), json!({}));
        client.request(&format!("made/up/{n}"), json!({}));
    }
    let metrics = host.admin("/metrics").1;
    let of = |labels: &str| value(&metrics, &format!("mcp_server_operation_duration_seconds_count{{{labels}}}"));
    let spoken = "mcp_protocol_version=\"2026-07-28\",network_transport=\"tcp\"";
    let tool = |name: &str| {
        format!("mcp_method_name=\"tools/call\",gen_ai_tool_name=\"{name}\",gen_ai_operation_name=\"execute_tool\",{spoken}")
    };
    assert_eq!(of(&tool("echo")), Some(1.0), "{metrics}");
    let failed = "error_type=\"-32602\",rpc_response_status_code=\"-32602\"";
    assert_eq!(of(&format!("{},{failed}", tool("_OTHER"))), Some(20.0), "{metrics}");
    for (name, code) in [("list_invoices", "invalid_arguments"), ("trap", "plugin_trapped")] {
        let labels = format!("{},error_type=\"tool_error\",tidegate_error_code=\"{code}\"", tool(name));
        assert_eq!(of(&labels), Some(1.0), "{metrics}");
    }
    assert!(metrics.contains("mcp_method_name=\"_OTHER\"") && !metrics.contains("made_up") && !metrics.contains("made/up"));
    assert!(!metrics.contains("\"u1\""), "callers are no labels:\n{metrics}");
    for bound in ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1", "2", "5", "10", "30", "60", "120", "300", "+Inf"] {
        let series = format!("mcp_server_operation_duration_seconds_bucket{{{},le=\"{bound}\"}}", tool("echo"));
        assert!(value(&metrics, &series).is_some(), "{bound}: {metrics}");
    }
}

/// A Prometheus that scrapes `target` every second and knows the shipped alerts; it ends with the test.
struct Prometheus {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn start(target: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a port").port();
        let config = folder.path().join("prometheus.yml");
        let rules = workspace().join("docs/observability/alerts.yml");
        let target = target.trim_start_matches("http://");
        let text = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [\"{}\"]\nscrape_configs:\n  \
             - job_name: tidegate\n    static_configs: [{{targets: [\"{target}\"]}}]\n",
            rules.display()
        );
        std::fs::write(&config, text).expect("written");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log")).expect("made"))
            .spawn()
            .unwrap_or_else(|error| panic!("`prometheus` of Debian's package of that name can't be run: {error}"));
        Self { child, url: format!("http://127.0.0.1:{port}"), _folder: folder }
    }

    /// What it answers, once there is something that fits.
    fn wait<T>(&self, path: &str, find: impl Fn(&Value) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let answer = ureq::get(format!("{}{path}", self.url)).call().ok();
            let text = answer.and_then(|mut answer| answer.body_mut().read_to_string().ok()).unwrap_or_default();
            let told = serde_json::from_str(&text).unwrap_or(Value::Null);
            if let Some(found) = find(&told) {
                return found;
            }
            assert!(Instant::now() < deadline, "Prometheus says of {path} only {told}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_real_prometheus_scrapes_the_host_and_evaluates_the_alerts() {
    let (mut host, _plugins) = busy();
    let prometheus = Prometheus::start(&host.admin);
    let one = |told: &Value| told["data"]["result"][0]["value"][1].as_str().map(str::to_owned);
    let calls = "sum(mcp_server_operation_duration_seconds_count%7Bmcp_method_name=%22tools/call%22%7D)";
    assert_eq!(prometheus.wait(&format!("/api/v1/query?query={calls}"), one), "4");
    let rules = prometheus.wait("/api/v1/rules", |told| {
        let rules = told["data"]["groups"][0]["rules"].as_array()?.clone();
        rules.iter().all(|rule| rule["health"] != "unknown").then_some(rules)
    });
    assert!(rules.iter().all(|rule| rule["health"] == "ok"), "{rules:#?}");
    let state = |told: &Value, name: &str| {
        let rules = told["data"]["groups"][0]["rules"].as_array()?.clone();
        rules.iter().find(|rule| rule["name"] == name)?["state"].as_str().map(str::to_owned)
    };
    prometheus.wait("/api/v1/rules", |told| state(told, "TidegateDown").filter(|state| state == "inactive"));
    host.kill();
    prometheus.wait("/api/v1/rules", |told| state(told, "TidegateDown").filter(|state| state == "pending"));
}
