//! Collectors: real ones, over HTTP and gRPC, and dead ones and hung ones, which must not be noticed.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{ear, host, trace};
use crate::harness::{Host, Receiver, foreign, plugins, workspace};

/// What was dropped of a signal, as `/metrics` tells.
fn dropped(metrics: &str, signal: &str) -> f64 {
    let name = format!("tidegate_telemetry_dropped_total{{signal=\"{signal}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0.0)
}

/// Starts everything and makes one call, as the documents tell; the collector is a real one.
fn one_trace(protocol: &str) {
    let output = Command::new(&foreign().python)
        .arg(workspace().join("tests/clients/one_trace.py"))
        .args(["--tidegate", env!("CARGO_BIN_EXE_tidegate"), "--protocol", protocol, "--", "--plugins", "plugins/invoices"])
        .current_dir(workspace())
        .env_remove("TIDEGATE_SEED")
        .stdin(Stdio::null())
        .output()
        .expect("python runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{protocol}: {said}");
    assert!(said.contains("one trace: ") && said.contains("billing") && said.contains("audit log:"), "{said}");
}

#[test]
fn a_real_collector_gets_one_trace_from_the_official_client_to_the_backend_over_http() {
    one_trace("http");
}

#[test]
fn a_real_collector_gets_one_trace_from_the_official_client_to_the_backend_over_grpc() {
    one_trace("grpc");
}

#[test]
fn a_collector_gets_all_three_signals_with_the_secret_that_lets_the_host_in() {
    let collector = Receiver::start();
    let secret = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(secret.path(), "let-me-in\n").expect("written");
    let headers = format!("[telemetry.headers.x-api-key]\nfile = \"{}\"\n", secret.path().display());
    let (host, _plugins) = host(&collector, &ear().0, &headers);
    let mut host = host.start();
    let answer = host.client().call("echo", json!({"text": "hi"}));
    let parent = answer.body["result"]["_meta"]["traceparent"].as_str().expect("a trace").to_owned();
    collector.trace(trace(&parent), 10);
    collector.wait("metrics", |received| {
        received.metrics.get("mcp.server.operation.duration").filter(|unit| *unit == "s").map(|_| ())
    });
    collector.wait("logs", |received| (!received.logs.is_empty()).then_some(()));
    assert!(host.stop("-TERM").success());
    collector.received(|received| {
        assert!(received.heads.iter().all(|head| head.contains("x-api-key: let-me-in")), "{:?}", received.heads);
    });
    assert!(!host.log().contains("let-me-in"), "secrets stay out of the log");
}

/// Rotel, a real collector, with a receiver behind it; it ends with this.
struct Rotel {
    process: Child,
    /// Where it takes OTLP over gRPC.
    url: String,
}

impl Rotel {
    fn start(behind: &Receiver) -> Self {
        let agent = "import pathlib, rotel; print(pathlib.Path(rotel.__file__).parent / 'rotel-agent')";
        let agent = Command::new(&foreign().python).args(["-c", agent]).output().expect("python runs");
        let free = || TcpListener::bind(("127.0.0.1", 0)).and_then(|free| free.local_addr()).expect("a port").to_string();
        let (grpc, http) = (free(), free());
        let process = Command::new(String::from_utf8(agent.stdout).expect("a path").trim())
            .args(["start", "--otlp-grpc-endpoint", &grpc, "--otlp-http-endpoint", &http, "--exporter", "otlp"])
            .args(["--otlp-exporter-endpoint", &behind.url, "--otlp-exporter-protocol", "http"])
            .args(["--otlp-exporter-compression", "none", "--batch-timeout", "100ms"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the collector starts");
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(&grpc).is_err() {
            assert!(Instant::now() < deadline, "the collector does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { process, url: format!("http://{grpc}") }
    }
}

impl Drop for Rotel {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_real_collector_gets_all_three_signals_over_grpc() {
    let receiver = Receiver::start();
    let (collector, plugins) = (Rotel::start(&receiver), plugins(&["echo"]));
    let telemetry = format!("[telemetry]\notlp = \"{}\"\nprotocol = \"grpc\"\ninterval = \"1s\"\n", collector.url);
    let mut host = Host::dev(plugins.path()).config(&telemetry).start();
    let answer = host.client().call("echo", json!({"text": "hi"}));
    let parent = answer.body["result"]["_meta"]["traceparent"].as_str().expect("a trace").to_owned();
    receiver.trace(trace(&parent), 5);
    receiver.wait("metrics", |received| {
        received.metrics.get("mcp.server.operation.duration").filter(|unit| *unit == "s").map(|_| ())
    });
    receiver.wait("logs", |received| received.logs.iter().any(|(_, text, _)| text.contains("the gate is open")).then_some(()));
    let metrics = host.admin("/metrics").1;
    for signal in ["traces", "metrics", "logs"] {
        assert!(dropped(&metrics, signal) == 0.0, "{signal}: {metrics}");
    }
    assert!(host.stop("-TERM").success());
}

#[test]
fn what_a_collector_says_it_rejected_counts_as_dropped() {
    let (collector, plugins) = (Receiver::rejecting(3), plugins(&["echo"]));
    let telemetry = format!("[telemetry]\notlp = \"{}\"\ninterval = \"1s\"\n", collector.url);
    let host = Host::dev(plugins.path()).config(&telemetry).start();
    host.client().call("echo", json!({"text": "hi"})).structured();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let metrics = host.admin("/metrics").1;
        let [traces, logs, batches] = ["traces", "logs", "metrics"].map(|signal| dropped(&metrics, signal));
        if traces >= 3.0 && logs >= 3.0 && batches >= 1.0 {
            assert!(traces % 3.0 == 0.0 && logs % 3.0 == 0.0, "{metrics}");
            break;
        }
        assert!(Instant::now() < deadline, "nothing counts as dropped:\n{metrics}");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(host.log().contains("took only a part") && host.log().contains("too old"), "{}", host.log());
}

/// Calls at a host with such a collector, and stops it: neither may take notice.
fn is_not_noticed(collector: &str) {
    let plugins = plugins(&["echo"]);
    let telemetry =
        format!("[telemetry]\notlp = \"{collector}\"\ninterval = \"1s\"\nqueue = \"64KiB\"\ntimeout = \"1s\"\nflush = \"1s\"\n");
    let mut host = Host::dev(plugins.path()).config(&telemetry).start();
    let client = host.client();
    // More than there is room for.
    for n in 0..200 {
        assert_eq!(client.call("echo", json!({"text": n.to_string()})).structured(), &json!({"text": n.to_string()}));
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let metrics = host.admin("/metrics").1;
        if dropped(&metrics, "traces") > 0.0 && dropped(&metrics, "metrics") > 0.0 {
            break;
        }
        assert!(Instant::now() < deadline, "nothing was dropped:\n{metrics}");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(host.log().contains("the collector takes no telemetry") || dropped(&host.admin("/metrics").1, "traces") > 0.0);
    let stopping = Instant::now();
    assert!(host.stop("-TERM").success());
    // The flush may take a second; the rest is a busy machine's.
    assert!(stopping.elapsed() < Duration::from_secs(20), "{:?}", stopping.elapsed());
}

#[test]
fn a_dead_collector_costs_telemetry_and_nothing_else() {
    let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a port").port();
    is_not_noticed(&format!("http://127.0.0.1:{port}"));
}

#[test]
fn a_hung_collector_costs_telemetry_and_nothing_else() {
    is_not_noticed(&Receiver::hung().url);
}

#[test]
fn what_is_said_of_a_collector_has_to_make_sense() {
    for (config, problem) in [
        ("otlp = \"127.0.0.1:4318\"", "not the URL of a collector"),
        ("otlp = \"http://me:secret@127.0.0.1:4318\"", "holds credentials"),
        ("sample = 1.5", "not a share of all traces"),
        ("protocol = \"udp\"", "unknown variant `udp`"),
        ("otlp = \"http://127.0.0.1:4318\"\n[telemetry.headers.x-key]\nenv = \"NO_SUCH_VARIABLE\"", "NO_SUCH_VARIABLE"),
    ] {
        let plugins = plugins(&["echo"]);
        let refused = Host::dev(plugins.path()).config(&format!("[telemetry]\n{config}\n")).try_start();
        let said = refused.err().unwrap_or_else(|| panic!("it starts with {config}"));
        assert!(said.contains(problem) && !said.contains("secret"), "{config}: {said}");
    }
}
