//! `tidegate dev`: from a fresh clone to a served tool with one command.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::serve::{configure, data_dir, refuse_to_be_reached, runtime};
use super::{DevArgs, DevProfile, build};
use crate::app::{Addresses, Host, Options, StopSignals, Trust};
use crate::auth::LIFETIME;
use crate::config::Config;
use crate::model::{Effect, Manifest};
use crate::pipeline::Pipeline;
use crate::registry::{manifest, sources};
use crate::telemetry::{Protocol, Telemetry, TelemetryConfig};

/// The protocol version the printed `curl` line speaks.
const PROTOCOL: &str = "2026-07-28";

/// `tidegate dev`
pub fn run(args: &DevArgs) -> Result<ExitCode> {
    let mut config = configure(&args.host, Some(&args.ports))?;
    if !config.server.address.is_loopback() {
        bail!("`dev` lets everyone in, so it serves on loopback only, but `server.address` is {}", config.server.address);
    }
    refuse_to_be_reached(&config, "`dev`")?;
    let data = data_dir(&config);
    let plugins = args.host.plugins.clone().map_or_else(find_plugins, Ok)?;
    let served = select(&plugins, args.profile)?;
    config.plugins.path.clone_from(&plugins);
    // What stands beside the plugins must be found before these are served from elsewhere.
    config.policies.path = config.policy_folder();
    let staged = StagedPlugins::new(&data)?;
    config.plugins.path = stage(&served, &staged.0)?;
    let _backend = start_backends(&served, &mut config, &data)?;

    let is_conformance = args.profile == DevProfile::Conformance;
    config.server.empty_catalogues = is_conformance;
    let telemetry = Telemetry::install(&config.telemetry)?;
    let watcher = telemetry.watcher();
    let options = Options {
        data,
        trust: Trust::Everyone,
        test_hooks: is_conformance,
        watcher,
        reload_on_hangup: false,
        watch_plugins: true,
    };
    runtime()?.block_on(async {
        let mut signals = StopSignals::listen()?;
        let host = Host::open(&config, &options).await?;
        let addresses = match host.listen(&config, telemetry.metrics()).await {
            Ok(addresses) => addresses,
            Err(error) => {
                host.close().await;
                return Err(error);
            }
        };
        print_what_to_try(host.pipeline(), addresses)?;
        signals.arrive().await;
        eprintln!("draining");
        host.close().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// The `plugins` folder of the workspace we stand in.
fn find_plugins() -> Result<PathBuf> {
    let here = std::env::current_dir().context("can't tell the current folder")?;
    let found = here.ancestors().map(|dir| dir.join("plugins")).find(|dir| dir.is_dir());
    found.with_context(|| {
        format!("no `plugins` folder in `{}` or above; run `dev` inside a clone, or pass `--plugins DIR`", here.display())
    })
}

/// The plugins a profile serves: conformance fixtures use test hooks, others never do.
fn select(root: &Path, profile: DevProfile) -> Result<Vec<(PathBuf, Manifest)>> {
    let mut selected = Vec::new();
    for dir in sources::plugin_dirs(root)? {
        let path = dir.join("plugin.toml");
        let text = std::fs::read_to_string(&path).with_context(|| format!("can't read `{}`", path.display()))?;
        let manifest = manifest::parse(&path, &text)?;
        let is_fixture = manifest.tools.iter().any(|tool| tool.test_hook.is_some());
        if is_fixture == (profile == DevProfile::Conformance) {
            selected.push((dir, manifest));
        }
    }
    if selected.is_empty() {
        bail!("`{}` holds no plugin for this profile", root.display());
    }
    Ok(selected)
}

/// A folder of this process's own for built plugins, gone with it: nothing of the user's, or of another host's, is touched.
struct StagedPlugins(PathBuf);

impl StagedPlugins {
    fn new(data: &Path) -> Result<Self> {
        let path = data.join(format!("staged-plugins-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("can't create `{}`", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for StagedPlugins {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Builds plugin crates, and copies components that are built already, into one folder to serve from.
fn stage(plugins: &[(PathBuf, Manifest)], out: &Path) -> Result<PathBuf> {
    for (dir, manifest) in plugins {
        if dir.join("Cargo.toml").exists() {
            build::build(dir, out)?;
        } else {
            build::copy_built(dir, &manifest.name, out)?;
        }
    }
    Ok(out.to_owned())
}

/// The demo backend, ended with us: its stdin is a pipe that closes when this process dies, however it dies.
struct DemoBackend(Child);

impl Drop for DemoBackend {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Starts the demo backend of every plugin that ships one, unless a running backend was given.
fn start_backends(plugins: &[(PathBuf, Manifest)], config: &mut Config, data: &Path) -> Result<Vec<DemoBackend>> {
    let mut started = Vec::new();
    for (dir, manifest) in plugins {
        for name in &manifest.sandbox.backends {
            let crate_manifest = dir.join(name).join("Cargo.toml");
            if config.backends.contains_key(name) || !crate_manifest.exists() {
                continue;
            }
            eprintln!("building backend `{name}`");
            let executable = build::build_executable(&crate_manifest)?;
            let (backend, url) = start_backend(&executable, &data.join(format!("{name}.db")), &config.telemetry)?;
            eprintln!("backend `{name}` listens on {url}");
            config.set_backend(name, &url);
            started.push(backend);
        }
    }
    Ok(started)
}

fn start_backend(executable: &Path, database: &Path, telemetry: &TelemetryConfig) -> Result<(DemoBackend, String)> {
    let mut command = Command::new(executable);
    if let (Some(collector), Protocol::Http) = (&telemetry.otlp, telemetry.protocol) {
        // Its part of a trace belongs where ours goes.
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector);
    }
    let child = command
        .args(["--port", "0", "--exit-with-stdin", "--db"])
        .arg(database)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // A terminal's Ctrl-C goes to the whole group; the backend has to outlive the calls that drain.
        .process_group(0)
        .spawn()
        .with_context(|| format!("can't start `{}`", executable.display()))?;
    let mut backend = DemoBackend(child);
    let mut line = String::new();
    let stdout = backend.0.stdout.take().context("the backend has no stdout")?;
    BufReader::new(stdout).read_line(&mut line).context("the backend said nothing")?;
    let url = line.split_whitespace().find(|word| word.starts_with("http://"));
    let url = url.with_context(|| format!("`{}` did not start: {line}", executable.display()))?.to_owned();
    Ok((backend, url))
}

fn print_what_to_try(pipeline: &Pipeline, addresses: Addresses) -> Result<()> {
    let url = format!("http://{}/mcp", addresses.mcp);
    let tools = pipeline.tools();
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nTidegate serves {} tools at {url}", tools.len())?;
    for tool in &tools {
        let effect = tool.manifest.effect.as_str();
        writeln!(out, "  {:<28} {effect:<6} {}", tool.listing.name, tool.listing.description.lines().next().unwrap_or_default())?;
    }
    writeln!(out, "health and metrics: http://{0}/readyz http://{0}/metrics", addresses.admin)?;
    let example = tools.iter().find(|tool| tool.listing.name.as_str() == "list_invoices");
    let example = example.or_else(|| tools.iter().find(|tool| tool.manifest.effect == Effect::Read));
    if let Some(tool) = example {
        let name = tool.listing.name.as_str();
        let arguments = match name {
            "list_invoices" => json!({"user_id": "u1", "status": "open"}),
            _ => json!({}),
        };
        let request = json!({
            "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": name, "arguments": arguments, "_meta": {
                "io.modelcontextprotocol/protocolVersion": PROTOCOL, "io.modelcontextprotocol/clientCapabilities": {}}},
        });
        writeln!(out, "\nTry:\n  {} call {name} '{arguments}' --url {url}", this_program())?;
        writeln!(
            out,
            "\n  curl -s {url} -H 'content-type: application/json' -H 'accept: application/json, text/event-stream' \
             -H 'mcp-protocol-version: {PROTOCOL}' -H 'mcp-method: tools/call' -H 'mcp-name: {name}' -d '{request}'"
        )?;
    }
    let snippet = json!({"mcpServers": {"tidegate": {"type": "http", "url": url}}});
    writeln!(out, "\nMCP clients take:\n{}", serde_json::to_string_pretty(&snippet)?)?;
    let origin = url.strip_suffix("/mcp").unwrap_or(&url);
    // Quotes in a scope would end those of the shell.
    let scopes = example.map(|tool| tool.manifest.scopes.iter().map(ToString::to_string)).into_iter().flatten();
    let scopes: Vec<_> = scopes.filter(|scope| !scope.contains('\'')).collect();
    let request = json!({"subject": "u2", "scopes": scopes});
    writeln!(
        out,
        "\nFOR DEVELOPMENT ONLY: every caller without a token is `u1` with every scope, and whoever asks gets a token in any name:\n\n  \
         curl -s {origin}/dev/token -H 'content-type: application/json' -d '{request}'\n\n\
         It counts for {} minutes; members besides `subject` and `scopes`: `groups`, `tenant`, `client`, `claims`. Ctrl-C drains and \
         stops.",
        LIFETIME.as_secs() / 60,
    )?;
    out.flush().context("can't print to stdout")
}

/// This executable as the user can type it.
fn this_program() -> String {
    let here = std::env::current_dir().unwrap_or_default();
    match std::env::current_exe() {
        Ok(path) => path.strip_prefix(&here).unwrap_or(&path).display().to_string(),
        Err(_) => "tidegate".to_owned(),
    }
}
