//! The demo backends that plugins ship: built, started, and ended with us.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::cli::language::rust;
use crate::config::Config;
use crate::model::Manifest;
use crate::telemetry::{Protocol, TelemetryConfig};

/// The demo backend, ended with us: its stdin is a pipe that closes when this process dies, however it dies.
pub struct DemoBackend(Child);

impl Drop for DemoBackend {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Starts the demo backend of every plugin that ships one, unless a running backend was given.
pub fn start(plugins: &[(PathBuf, Manifest)], config: &mut Config, data: &Path) -> Result<Vec<DemoBackend>> {
    let mut started = Vec::new();
    for (dir, manifest) in plugins {
        for name in &manifest.sandbox.backends {
            let crate_manifest = dir.join(name).join("Cargo.toml");
            if config.backends.contains_key(name) || !crate_manifest.exists() {
                continue;
            }
            eprintln!("building backend `{name}`");
            let executable = rust::build_executable(&dir.join(name))?;
            let (backend, url) = start_one(&executable, &data.join(format!("{name}.db")), &config.telemetry)?;
            eprintln!("backend `{name}` listens on {url}");
            config.set_backend(name, &url);
            started.push(backend);
        }
    }
    Ok(started)
}

fn start_one(executable: &Path, database: &Path, telemetry: &TelemetryConfig) -> Result<(DemoBackend, String)> {
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
