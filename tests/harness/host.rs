//! A real `tidegate` process on free ports, with its own data folder.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Client, workspace};

/// How long a host may take to start or stop on a busy machine, where it may have to build its plugins first.
const PATIENCE: Duration = Duration::from_secs(400);

/// What the tests themselves are told by the environment. A host refuses to start if it knows no setting of such a name.
const TOLD_TO_TESTS: [&str; 3] = ["TIDEGATE_KILLS", "TIDEGATE_POWER_CUTS", "TIDEGATE_SEED"];

/// The `tidegate` under test, to be run.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    for name in TOLD_TO_TESTS {
        command.env_remove(name);
    }
    // What is fetched for plugins in Python stays among what tests build, and is there for the next run.
    command.env("XDG_CACHE_HOME", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"));
    command
}

/// Runs `tidegate` to its end.
pub fn tidegate(arguments: &[&str]) -> Output {
    command().current_dir(workspace()).args(arguments).stdin(Stdio::null()).output().expect("tidegate runs")
}

/// A host to be started.
pub struct Host {
    verb: String,
    arguments: Vec<String>,
    config: String,
    data: PathBuf,
    folder: Option<tempfile::TempDir>,
    failpoints: String,
    files: Option<u32>,
    environment: Vec<(String, String)>,
}

/// A host that serves.
pub struct Started {
    child: Child,
    /// The MCP endpoint.
    pub mcp: String,
    /// The admin listener, without a path.
    pub admin: String,
    /// The data folder.
    pub data: PathBuf,
    _folder: Option<tempfile::TempDir>,
}

impl Host {
    /// `tidegate dev` with these plugins, built already.
    pub fn dev(plugins: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data = folder.path().join("data");
        let arguments = vec!["--plugins".into(), plugins.display().to_string()];
        Self {
            verb: "dev".into(),
            arguments,
            config: String::new(),
            data,
            folder: Some(folder),
            failpoints: String::new(),
            files: None,
            environment: Vec::new(),
        }
    }

    /// The same host on the data another one left behind.
    pub fn on(mut self, data: &Path) -> Self {
        self.data = data.to_owned();
        self
    }

    /// With further flags.
    pub fn with(mut self, flags: &[&str]) -> Self {
        self.arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        self
    }

    /// With a `tidegate.toml`.
    pub fn config(mut self, toml: &str) -> Self {
        self.config = toml.to_owned();
        self
    }

    /// With these failpoints set, as in `store::sync=2*off->return`.
    pub fn failing(mut self, failpoints: &str) -> Self {
        self.failpoints = failpoints.to_owned();
        self
    }

    /// With a variable in its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Under a limit on open files.
    pub fn files(mut self, limit: u32) -> Self {
        self.files = Some(limit);
        self
    }

    /// With more of a `tidegate.toml`.
    pub fn with_config(mut self, toml: &str) -> Self {
        self.config += toml;
        self
    }

    /// As the verb `serve`, with callers taken for `[auth.anonymous]`.
    pub fn serve(mut self) -> Self {
        self.verb = "serve".into();
        self.arguments.push("--insecure-no-auth".into());
        self
    }

    /// As the verb `serve`, with callers identified by the tokens of these issuers.
    pub fn trusting(mut self, issuers: &[&str]) -> Self {
        self.verb = "serve".into();
        for (index, issuer) in issuers.iter().enumerate() {
            self.config += &format!("[auth.issuers.i{index}]\nissuer = \"{issuer}\"\nmin_refresh = \"1s\"\n");
        }
        self
    }

    /// Starts it and waits until it serves.
    pub fn start(self) -> Started {
        self.try_start().unwrap_or_else(|said| panic!("the host did not start:\n{said}"))
    }

    /// Starts it, and kills it a moment later, whether or not it serves by then.
    pub fn kill_after(self, moment: Duration) {
        let mut child = self.spawn();
        std::thread::sleep(moment);
        child.kill().expect("nobody has waited for it");
        child.wait().expect("it ends");
    }

    /// Starts it; if it ends instead of serving, returns what it said.
    pub fn try_start(self) -> Result<Started, String> {
        let mut child = self.spawn();
        let stdout = child.stdout.take().expect("piped");
        let (say, heard) = mpsc::channel();
        std::thread::spawn(move || {
            let mut urls = Vec::new();
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                urls.extend(line.split_whitespace().filter(|word| word.starts_with("http://")).map(str::to_owned));
                let mcp = urls.iter().find(|url| url.ends_with("/mcp"));
                let admin = urls.iter().find_map(|url| url.strip_suffix("/readyz"));
                if let (Some(mcp), Some(admin)) = (mcp, admin) {
                    let _ = say.send((mcp.clone(), admin.to_owned()));
                }
            }
        });
        match heard.recv_timeout(PATIENCE) {
            Ok((mcp, admin)) => Ok(Started { child, mcp, admin, data: self.data, _folder: self.folder }),
            Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(std::fs::read_to_string(self.data.with_extension("log")).unwrap_or_default())
            }
        }
    }

    fn spawn(&self) -> Child {
        std::fs::create_dir_all(self.data.parent().expect("the data folder has a parent")).expect("it can be made");
        let config = self.data.with_extension("toml");
        std::fs::write(&config, &self.config).expect("the config can be written");
        let log = self.data.with_extension("log");
        let mut host = command();
        if let Some(limit) = self.files {
            // The limit is that of whoever starts it.
            let mut limited = Command::new("sh");
            limited.args(["-c", &format!("ulimit -n {limit} && exec \"$0\" \"$@\"")]).arg(host.get_program());
            for name in TOLD_TO_TESTS {
                limited.env_remove(name);
            }
            host = limited;
        }
        host.current_dir(workspace())
            .arg(&self.verb)
            .args(["--port", "0", "--admin-port", "0", "--data"])
            .arg(&self.data)
            .arg("--config")
            .arg(&config)
            .args(&self.arguments)
            .env("FAILPOINTS", &self.failpoints)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).expect("the log can be made"))
            .spawn()
            .expect("tidegate starts")
    }
}

impl Started {
    /// An MCP client of this host.
    pub fn client(&self) -> Client {
        Client::new(&self.mcp)
    }

    /// A client that calls in somebody's name, with a token that `dev` mints on this request.
    pub fn caller(&self, request: &Value) -> Client {
        self.client().with_token(&self.mint(request))
    }

    /// A token that `dev` mints on this request.
    pub fn mint(&self, request: &Value) -> String {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let url = self.mcp.replace("/mcp", "/dev/token");
        let request = agent.post(url).header("content-type", "application/json").send(request.to_string());
        let minted: Value = request.expect("it answers").body_mut().read_to_string().expect("text").parse().expect("JSON");
        minted["access_token"].as_str().expect("a token").to_owned()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data.with_extension("log")).unwrap_or_default()
    }

    /// Waits until it has said something so many times.
    #[track_caller]
    pub fn until_said(&self, what: &str, times: usize) {
        let begun = Instant::now();
        while self.log().matches(what).count() < times {
            assert!(begun.elapsed() < PATIENCE, "it never said `{what}` {times} times");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The body of a page of the admin listener, and its status.
    pub fn admin(&self, path: &str) -> (u16, String) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut response = agent.get(format!("{}{path}", self.admin)).call().expect("the admin listener answers");
        let mut body = String::new();
        response.body_mut().as_reader().read_to_string(&mut body).expect("text");
        (response.status().as_u16(), body)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a crash does; its data stays. Answers how it ended: it may have died before.
    pub fn kill(&mut self) -> ExitStatus {
        self.child.kill().expect("nobody has waited for it");
        self.child.wait().expect("it ends")
    }

    /// Sends a signal, and waits for the end.
    pub fn stop(&mut self, signal: &str) -> ExitStatus {
        self.signal(signal);
        self.ended()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Waits for the end.
    pub fn ended(&mut self) -> ExitStatus {
        self.child.wait().expect("it ends")
    }

    /// What `/readyz` tells in detail.
    pub fn readiness(&self) -> Value {
        self.admin("/readyz").1.parse::<Value>().expect("JSON")["detail"].take()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the host's log ---\n{}", self.log());
        }
    }
}
