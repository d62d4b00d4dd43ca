//! The two servers under load, each a process of its own.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::bare;

/// A running server.
pub struct Server {
    child: Child,
    /// `127.0.0.1:port`
    pub address: String,
    /// The same of its admin listener, if it has one.
    pub admin: Option<String>,
    _data: tempfile::TempDir,
}

/// What a host serves, and how.
pub struct Setup<'a> {
    /// Folders of plugins in this repository.
    pub plugins: &'a [&'a str],
    /// The address of the backend `billing`, if there is one.
    pub billing: Option<&'a str>,
    /// Its `tidegate.toml`.
    pub config: &'a str,
}

impl Setup<'_> {
    /// The echo tool, as the host ships.
    pub const ECHO: Self = Self { plugins: &["plugins/echo"], billing: None, config: "" };
}

/// The time spent in one stage since the server started.
#[derive(Clone)]
pub struct StageTotal {
    /// The stage.
    pub name: String,
    seconds: f64,
    calls: f64,
}

impl StageTotal {
    /// Seconds per call since `before`.
    pub fn since(&self, before: &Self) -> f64 {
        (self.seconds - before.seconds) / (self.calls - before.calls).max(1.0)
    }
}

impl Server {
    /// rmcp with a native echo tool, and nothing else.
    pub fn bare() -> Self {
        let this = std::env::current_exe().expect("this program has a path");
        let mut command = Command::new(this);
        command.arg(bare::FLAG);
        Self::start(command, tempfile::tempdir().expect("a temporary folder"), false)
    }

    /// Tidegate: policies, durable audit, fuel.
    pub fn tidegate(setup: &Setup<'_>) -> Self {
        let data = tempfile::tempdir().expect("a temporary folder");
        let (plugins, config) = (data.path().join("plugins"), data.path().join("tidegate.toml"));
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the host lies in the workspace");
        let tidegate = env!("CARGO_BIN_EXE_tidegate");
        for plugin in setup.plugins {
            let source = root.join(plugin);
            let built = Command::new(tidegate).args(["plugin", "build"]).arg(source).arg("--out").arg(&plugins).status();
            assert!(built.expect("tidegate runs").success(), "the plugin {plugin} does not build");
        }
        std::fs::write(&config, setup.config).expect("the folder can be written");
        let mut command = Command::new(tidegate);
        command.args(["dev", "--port", "0", "--admin-port", "0", "--plugins"]).arg(&plugins);
        command.arg("--data").arg(data.path().join("data")).arg("--config").arg(&config).stderr(Stdio::null());
        if let Some(address) = setup.billing {
            command.args(["--backend", &format!("billing=http://{address}")]);
        }
        Self::start(command, data, true)
    }

    /// The demo backend.
    pub fn billing() -> Self {
        let data = tempfile::tempdir().expect("a temporary folder");
        let built = Command::new(env!("CARGO")).args(["build", "--quiet", "--release", "-p", "tidegate-billing"]).status();
        assert!(built.expect("cargo runs").success(), "billing does not build");
        // Beside this program's folder.
        let this = std::env::current_exe().expect("this program has a path");
        let mut command = Command::new(this.parent().and_then(Path::parent).expect("a folder").join("billing"));
        command.args(["--port", "0", "--db"]).arg(data.path().join("billing.db")).stderr(Stdio::null());
        Self::start(command, data, false)
    }

    fn start(mut command: Command, data: tempfile::TempDir, has_admin: bool) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the server starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let url = |line: &str, end: &str| {
            line.split_whitespace().find_map(|word| word.strip_prefix("http://")?.strip_suffix(end).map(str::to_owned))
        };
        let listens = |line: String| url(&line, "/mcp").or_else(|| url(&line, "").filter(|address| !address.contains('/')));
        let address = lines.by_ref().find_map(listens).expect("the server says where it listens");
        let admin = has_admin
            .then(|| lines.by_ref().find_map(|line| url(&line, "/readyz")).expect("the server says where its metrics are"));
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address, admin, _data: data }
    }

    /// CPU time of the process so far, user and system, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        cpu_seconds(&format!("/proc/{}/stat", self.child.id()))
    }

    /// Fuel that calls of a tool were charged so far.
    pub fn fuel(&self, tool: &str) -> f64 {
        let prefix = format!("tidegate_charged_fuel_total{{tool=\"{tool}\"}} ");
        let text = self.metrics();
        text.lines().find_map(|line| line.strip_prefix(&prefix)?.parse().ok()).unwrap_or(0.0)
    }

    /// Calls that ended so far.
    pub fn calls(&self) -> f64 {
        self.stages().iter().find(|stage| stage.name == "execute").expect("it is a stage").calls
    }

    fn metrics(&self) -> String {
        let admin = self.admin.as_ref().expect("only tidegate has metrics");
        ureq::get(format!("http://{admin}/metrics")).call().expect("it answers").body_mut().read_to_string().expect("text")
    }

    /// The totals of every stage, in call order.
    pub fn stages(&self) -> Vec<StageTotal> {
        let text = self.metrics();
        let value = |name: &str, stage: &str| {
            let prefix = format!("tidegate_stage_seconds_{name}{{stage=\"{stage}\"}} ");
            text.lines().find_map(|line| line.strip_prefix(&prefix)?.parse().ok()).unwrap_or(0.0)
        };
        ["look_up", "validate", "authorize", "claim", "admit", "record_intent", "execute", "record_outcome"]
            .into_iter()
            .map(|stage| StageTotal { name: stage.into(), seconds: value("sum", stage), calls: value("count", stage) })
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time from a `/proc/…/stat` file, in seconds.
pub fn cpu_seconds(stat: &str) -> f64 {
    let stat = std::fs::read_to_string(stat).expect("the process lives");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a name in brackets").split_whitespace().collect();
    let ticks: f64 = [fields[11], fields[12]].iter().map(|field| field.parse::<f64>().expect("a number")).sum();
    // Linux has reported these in 1/100 s on every architecture for decades.
    ticks / 100.0
}
