//! What callers notice of a plugin that is exchanged a thousand times, and what fifty plugins cost.
//!
//! `cargo bench --bench reload` has 64 callers call one tool, first in peace, then while two versions of its plugin take turns, 1,000
//! times unless told otherwise (`cargo bench --bench reload -- 100`). It prints how many calls failed, how fast they were, and the host's
//! memory; then how long a host with 50 plugins takes to start, cold and warm, to list their tools, and what it holds in memory.

#![expect(dead_code, reason = "what tests start is here, and only a part of it is started")]

#[path = "../harness/versions.rs"]
mod versions;

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use versions::Version;

/// Callers at once.
const CALLERS: usize = 64;
/// Reloads, unless told otherwise.
const RELOADS: u32 = 1_000;
/// How long calls run in peace, before and after.
const QUIET: Duration = Duration::from_secs(20);
/// Plugins of the host that has many.
const PLUGINS: u32 = 50;
/// Lists asked for.
const LISTS: usize = 500;

const TIDEGATE: &str = env!("CARGO_BIN_EXE_tidegate");

fn main() {
    let reloads = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(RELOADS);
    let folder = tempfile::tempdir().expect("a temporary folder");
    swaps(&folder.path().join("swaps"), reloads);
    many(&folder.path().join("many"));
}

/// The built guest of this name.
fn guest(name: &str) -> PathBuf {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-plugins");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the host lies in the workspace");
    if !out.join(name).exists() {
        let source = root.join("tests/guests").join(name);
        let built =
            Command::new(TIDEGATE).args(["plugin", "build"]).arg(source).arg("--out").arg(&out).stdout(Stdio::null()).status();
        assert!(built.expect("tidegate runs").success(), "the guest {name} does not build");
    }
    out.join(name)
}

/// Puts a version somewhere, as if it had been there for a while: what was just written is waited for.
fn put(version: &Version, root: &Path) {
    version.put(root);
    for file in std::fs::read_dir(root.join(&version.plugin)).expect("it was made") {
        let file = std::fs::File::open(file.expect("readable").path()).expect("readable");
        file.set_modified(SystemTime::now() - Duration::from_secs(60)).expect("it is ours");
    }
}

fn swaps(folder: &Path, reloads: u32) {
    let (root, versions) = (folder.join("plugins"), [1, 2].map(|number| folder.join(number.to_string())));
    for (number, dir) in [1, 2].into_iter().zip(&versions) {
        put(&Version::new(number), dir);
    }
    std::fs::create_dir_all(&root).expect("writable");
    // Exchanged in one step, as installers do.
    let exchange = |version: usize| {
        symlink(versions[version].join("versions"), folder.join("aside")).expect("writable");
        std::fs::rename(folder.join("aside"), root.join("versions")).expect("writable");
    };
    exchange(0);
    let host = Host::start(folder, &root);
    let peace = load(&host.mcp, || std::thread::sleep(QUIET));
    let (before, begun) = (host.rss(), Instant::now());
    let mut took = Vec::new();
    let storm = load(&host.mcp, || {
        let mut operator = Operator::connect(&folder.join("data"));
        for reload in 1..=reloads {
            exchange(reload as usize % 2);
            let begun = Instant::now();
            operator.reload();
            took.push(begun.elapsed());
        }
    });
    let length = begun.elapsed();
    let after_storm = host.rss();
    let peace_again = load(&host.mcp, || std::thread::sleep(QUIET));
    let after = host.rss();
    println!("{CALLERS} callers, {reloads} reloads in {:.1} s; each {}", length.as_secs_f64(), spread(&mut took));
    for (name, answers) in [("before", &peace), ("reloading", &storm), ("after", &peace_again)] {
        let mut took: Vec<_> = answers.iter().map(|(_, took)| *took).collect();
        let failed = answers.iter().filter(|(version, _)| !version.starts_with("version-")).count();
        let of = |number| answers.iter().filter(|(version, _)| *version == Version::new(number).answer()).count();
        println!(
            "{name:<10} {:>8} calls, {failed} failed, {} by version 1, {} by version 2; {}",
            answers.len(),
            of(1),
            of(2),
            spread(&mut took)
        );
        if let Some((failure, _)) = answers.iter().find(|(version, _)| !version.starts_with("version-")) {
            println!("           such as: {failure}");
        }
    }
    println!("memory     {before} MiB before, {after_storm} MiB after the reloads, {after} MiB a while later");
    let generations = host.metric("tidegate_generations_in_memory");
    println!("generations in memory at the end: {generations}");
}

fn many(folder: &Path) {
    let root = folder.join("plugins");
    for number in 1..=PLUGINS {
        put(&Version::other(&format!("plugin-{number:02}"), number), &root);
    }
    for start in ["cold", "warm"] {
        let begun = Instant::now();
        let host = Host::start(folder, &root);
        let took = begun.elapsed();
        println!("{PLUGINS} plugins, {start} start: {:.2} s until it serves", took.as_secs_f64());
        if start == "warm" {
            let runtime = runtime();
            let mut took = runtime.block_on(async {
                let mut caller = Caller::connect(&host.mcp).await;
                let mut took = Vec::with_capacity(LISTS);
                for _ in 0..LISTS {
                    let begun = Instant::now();
                    let answer = caller.ask("tools/list", json!({}), None).await;
                    took.push(begun.elapsed());
                    // The host's own tool stands behind those of the plugins.
                    assert_eq!(answer["result"]["tools"].as_array().map(Vec::len), Some(PLUGINS as usize + 1), "{answer}");
                }
                took
            });
            println!("tools/list: {}", spread(&mut took));
            std::thread::sleep(Duration::from_secs(3));
            println!("idle memory: {} MiB", host.rss());
        }
        host.stop();
    }
}

/// Calls from all callers as long as `meanwhile` takes. What each call was answered, and how long that took.
fn load(mcp: &str, meanwhile: impl FnOnce()) -> Vec<(String, Duration)> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let callers = scope.spawn(|| {
            runtime().block_on(async {
                let calls = (0..CALLERS).map(|_| async {
                    let (mut caller, mut answers) = (Caller::connect(mcp).await, Vec::new());
                    while !stop.load(Ordering::Relaxed) {
                        let begun = Instant::now();
                        let params = json!({ "name": "which_version_0000", "arguments": {} });
                        let answer = caller.ask("tools/call", params, Some("which_version_0000")).await;
                        let version = answer["result"]["structuredContent"]["version"].as_str();
                        answers.push((version.map_or_else(|| answer.to_string(), str::to_owned), begun.elapsed()));
                    }
                    answers
                });
                futures::future::join_all(calls).await.concat()
            })
        });
        meanwhile();
        stop.store(true, Ordering::Relaxed);
        callers.join().expect("no caller panics")
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// One connection.
struct Caller {
    connection: SendRequest<Full<Bytes>>,
    address: String,
}

impl Caller {
    async fn connect(address: &str) -> Self {
        let stream = tokio::net::TcpStream::connect(address).await.expect("the host listens");
        stream.set_nodelay(true).expect("a TCP socket");
        let (connection, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
        tokio::spawn(driver);
        Self { connection, address: address.to_owned() }
    }

    async fn ask(&mut self, method: &str, mut params: Value, name: Option<&str>) -> Value {
        params["_meta"] =
            json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {} });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let request = hyper::Request::post("/mcp")
            .header("host", &self.address)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", method);
        let request = name.into_iter().fold(request, |request, name| request.header("mcp-name", name));
        self.connection.ready().await.expect("the host lives");
        let response = self.connection.send_request(request.body(Full::new(body.into())).expect("a request")).await;
        let body = response.expect("it answers").into_body().collect().await.expect("a whole answer").to_bytes();
        serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body)))
    }
}

/// The operator's socket.
struct Operator {
    socket: BufReader<std::os::unix::net::UnixStream>,
    asked: u64,
}

impl Operator {
    fn connect(data: &Path) -> Self {
        let socket = std::os::unix::net::UnixStream::connect(data.join("admin.sock")).expect("the host listens");
        Self { socket: BufReader::new(socket), asked: 0 }
    }

    fn reload(&mut self) {
        use std::io::Write as _;
        self.asked += 1;
        let request = json!({ "jsonrpc": "2.0", "id": self.asked, "method": "tidegate/plugin/reload" });
        self.socket.get_mut().write_all(format!("{request}\n").as_bytes()).expect("the host listens");
        loop {
            let mut line = String::new();
            self.socket.read_line(&mut line).expect("it answers");
            let answer: Value = line.parse().expect("JSON");
            if answer["id"] == json!(self.asked) {
                assert!(answer["result"]["change"].is_object(), "{answer}");
                return;
            }
        }
    }
}

/// A daemon.
struct Host {
    child: Child,
    mcp: String,
    admin: String,
}

impl Host {
    fn start(folder: &Path, plugins: &Path) -> Self {
        let config = folder.join("tidegate.toml");
        std::fs::write(&config, "[auth.anonymous]\nsubject = \"a\"\n").expect("writable");
        let mut command = Command::new(TIDEGATE);
        command.args(["serve", "--insecure-no-auth", "--port", "0", "--admin-port", "0", "--plugins"]).arg(plugins);
        command.arg("--data").arg(folder.join("data")).arg("--config").arg(&config).stderr(Stdio::null());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the host starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let mut url = |end: &str| {
            let line = lines.by_ref().find(|line| line.ends_with(end)).expect("it says where it listens");
            let url = line.split_whitespace().last().expect("a URL").strip_prefix("http://").expect("a URL").to_owned();
            url.strip_suffix(end).expect("it ends so").to_owned()
        };
        let (mcp, admin) = (url("/mcp"), url("/readyz"));
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, mcp, admin }
    }

    /// What it holds in memory now, in MiB.
    fn rss(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells");
        line.split_whitespace().next().expect("a number").parse::<u64>().expect("a number") / 1024
    }

    fn metric(&self, name: &str) -> String {
        let page = ureq::get(format!("http://{}/metrics", self.admin)).call().expect("it answers").body_mut().read_to_string();
        let page = page.expect("text");
        page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned)).unwrap_or_default()
    }

    fn stop(mut self) {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
        self.child.wait().expect("it ends");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spread(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let share = |share: f64| {
        let at = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
        times.get(at).copied().unwrap_or_default().as_secs_f64() * 1000.0
    };
    format!("p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms", share(0.5), share(0.99), share(1.0))
}
