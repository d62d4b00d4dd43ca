//! What is looked at, one by one. Nothing is changed: a store that no host has open stays closed.

use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Finding;
use super::reach::reach;
use crate::app::{Trust, files, opening};
use crate::cli::live::Live;
use crate::cli::serve;
use crate::config::Config;
use crate::model::Bytes;
use crate::outbound::{self, Outbound};
use crate::registry::LoadError;
use crate::sandbox::Sandbox;
use crate::telemetry;

/// How far the newest file of the store may be ahead of the clock.
const AHEAD: Duration = Duration::from_secs(5);

/// The day this version knows of: no clock can be before it.
const NOT_BEFORE: Duration = Duration::from_secs(1_767_225_600); // 2026-01-01

/// Everything that a host with this configuration needs.
pub async fn all(config: &Config) -> Vec<Finding> {
    let data = serve::data_dir(config);
    let is_live = matches!(Live::connect(&data), Ok(Some(_)));
    let mut findings = settings(config);
    findings.push(store(config, &data, is_live));
    findings.push(clock(&data));
    findings.extend(plugins_and_policies(config, &data).await);
    findings.extend(backends(config).await);
    findings.push(collector(config).await);
    findings.push(open_files(config));
    findings.extend(ports(config, is_live));
    findings
}

/// What a host refuses before it opens anything.
fn settings(config: &Config) -> Vec<Finding> {
    let server = config.server.check_limits().and_then(|()| config.server.resource());
    let problems = [
        server.as_ref().err().map(|error| format!("`[server]`: {error}")),
        opening::check(config).err().map(|error| format!("{error:#}")),
        telemetry::filter(&config.telemetry).err().map(|error| format!("{error:#}")),
    ];
    let broken = |problem| Finding::broken("config", problem, "correct it; no host starts with it");
    let mut findings: Vec<_> = problems.into_iter().flatten().map(broken).collect();
    if let (true, Ok(resource)) = (findings.is_empty(), server) {
        findings.push(Finding::ok("config", format!("it makes sense; MCP is to be reached at {resource}")));
    }
    findings.push(callers(config));
    findings
}

/// Whether `serve` lets anybody in; with its flag, if the config says whom the flag is about.
fn callers(config: &Config) -> Finding {
    let auth = &config.auth;
    match serve::trust(config, auth.anonymous.is_some()) {
        Ok(Trust::Configured) => Finding::ok("callers", "with `--insecure-no-auth` everyone on this machine is let in"),
        Ok(_) => Finding::ok("callers", format!("{} issuers of tokens vouch for them", auth.issuers.len())),
        Err(error) if auth.issuers.is_empty() && auth.anonymous.is_none() => Finding::warning(
            "callers",
            error.to_string(),
            "nothing, if only `tidegate run` or `dev` is used: `serve` does not start",
        ),
        Err(error) => Finding::broken("callers", error.to_string(), "correct it; `serve` does not start with it"),
    }
}

fn store(config: &Config, data: &Path, is_live: bool) -> Finding {
    let at = format!("`{}`", data.display());
    let existing = data.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    if let Ok(disk) = rustix::fs::statvfs(if existing.as_os_str().is_empty() { Path::new(".") } else { existing }) {
        let (free, needed) = (Bytes(disk.f_bavail.saturating_mul(disk.f_frsize)), config.store.min_free);
        if free < needed {
            let found = format!("the disk of {at} has {free} left, and no call is taken below {needed}");
            return Finding::broken("store", found, "free space, or lower `store.min_free`");
        }
    }
    if !data.exists() {
        return Finding::ok("store", format!("{at} is not there yet; the first start makes it"));
    }
    let lock = match File::options().read(true).write(true).open(data.join("lock")) {
        Ok(lock) => lock,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Finding::warning(
                "store",
                format!("{at} holds no store yet"),
                "nothing, unless there should be one: then look at `--data`",
            );
        }
        Err(error) => {
            let fix = "run it as the user whose host it is, or give that user the folder (`chown`)";
            return Finding::broken("store", format!("{at} can't be used: {error}"), fix);
        }
    };
    match (lock.try_lock(), is_live) {
        (Ok(()), _) => {
            Finding::ok("store", format!("{at} is there, and no host has it open; `tidegate audit verify` reads it whole"))
        }
        (Err(TryLockError::WouldBlock), true) => Finding::ok("store", format!("{at} is that of a live host")),
        (Err(TryLockError::WouldBlock), false) => {
            let found = format!("a process has {at} open but does not answer on its socket");
            Finding::broken(
                "store",
                found,
                "wait for it to start or to stop; if it does neither, end it: what it wrote down is safe",
            )
        }
        (Err(TryLockError::Error(error)), _) => Finding::broken(
            "store",
            format!("{at} can't be locked: {error}"),
            "use a local disk; stores on network disks are not safe",
        ),
    }
}

fn clock(data: &Path) -> Finding {
    let now = SystemTime::now();
    let fix = "set the clock and keep it right (`timedatectl set-ntp true`): deadlines of tokens and retention depend on it";
    if now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() < NOT_BEFORE {
        return Finding::broken("clock", "it is before this version was made", fix);
    }
    let written = |entry: std::io::Result<std::fs::DirEntry>| entry.ok()?.metadata().ok()?.modified().ok();
    let newest = std::fs::read_dir(data).ok().and_then(|entries| entries.filter_map(written).max());
    match newest.and_then(|newest| newest.duration_since(now).ok()).filter(|ahead| *ahead > AHEAD) {
        Some(ahead) => {
            let ahead = humantime::format_duration(Duration::from_secs(ahead.as_secs()));
            Finding::broken("clock", format!("the store was written {ahead} in the future: the clock went back"), fix)
        }
        None => Finding::ok("clock", humantime::format_rfc3339_seconds(now).to_string()),
    }
}

async fn plugins_and_policies(config: &Config, data: &Path) -> Vec<Finding> {
    let root = &config.plugins.path;
    let loader = match Sandbox::new(&config.sandbox, outbound::is_reserved) {
        Ok(sandbox) => opening::loader(config, data, &Arc::new(sandbox), false),
        Err(error) => return vec![Finding::broken("plugins", error.to_string(), "correct `[sandbox]`")],
    };
    let folder = config.policy_folder();
    let of = folder
        .as_ref()
        .map_or_else(|| "no folder, only what the manifests permit".to_owned(), |folder| format!("`{}`", folder.display()));
    let loaded = match opening::sources(config, data).dirs() {
        Ok(dirs) => loader.load_dirs(&dirs, folder.as_deref()).await,
        Err(error) => Err(error),
    };
    match loaded {
        Ok(generation) => vec![
            Finding::ok(
                "plugins",
                format!("{} with {} tools in `{}`", generation.plugins.len(), generation.tools.len(), root.display()),
            ),
            Finding::ok("policies", format!("{} files of {of}", generation.policy_files.len())),
        ],
        Err(LoadError::Policy(error)) => {
            let fix = "correct them; `tidegate policy check` says the same, and `tidegate policy explain` what they decide";
            vec![Finding::broken("policies", format!("{of}: {error}"), fix)]
        }
        Err(error) => {
            let fix = "correct it, or name another folder with `--plugins DIR`; `tidegate plugin inspect` looks at one alone";
            vec![Finding::broken("plugins", error.to_string(), fix)]
        }
    }
}

async fn backends(config: &Config) -> Vec<Finding> {
    if let Err(error) = Outbound::new(&config.backends, &config.origins) {
        let fix = "correct `[backends]` and `[origins]`, or put the secret where it says";
        return vec![Finding::broken("backends", error.to_string(), fix)];
    }
    if config.backends.is_empty() {
        return vec![Finding::ok("backends", "none are defined")];
    }
    let mut findings = Vec::new();
    for (name, backend) in &config.backends {
        let check = format!("backend {name}");
        if let Some(concern) = backend.concern() {
            let fix = format!("write `https://` in `[backends.{name}] url`, unless whatever lies between is trusted with it");
            findings.push(Finding::warning(format!("{check} credential"), concern, fix));
        }
        let reached = match reach(&backend.url).await {
            Ok(address) => outbound::greet(name, backend).await.map(|()| address),
            Err(problem) => Err(problem),
        };
        let is_secured = backend.url.starts_with("https:");
        findings.push(match reached {
            Ok(address) if is_secured => {
                Finding::ok(check, format!("a TLS connection to {address} comes about, and its certificate is good"))
            }
            Ok(address) => Finding::ok(check, format!("a connection to {address} comes about")),
            Err(problem) => {
                let fix =
                    format!("start it, or correct `[backends.{name}] url`; until then its tools answer `backend_unavailable`");
                Finding::broken(check, problem, fix)
            }
        });
    }
    findings
}

async fn collector(config: &Config) -> Finding {
    let settings = &config.telemetry;
    let told = settings.collector().and_then(|collector| settings.read_headers().map(|_| collector));
    match told {
        Err(error) => {
            Finding::broken("collector", format!("{error:#}"), "correct `[telemetry]`, or put the secret where it says")
        }
        Ok(None) => Finding::ok("collector", "none: no traces are kept; metrics are at `/metrics`"),
        Ok(Some(url)) => match reach(&url.to_string()).await {
            Ok(address) => match telemetry::probe(settings).await {
                Ok(()) => Finding::ok("collector", format!("it takes traces at {address}")),
                Err(error) => {
                    let fix = "correct `telemetry.otlp`, its `protocol` or `[telemetry.headers]`; what is refused is dropped";
                    Finding::warning("collector", format!("{address} takes no traces: {error:#}"), fix)
                }
            },
            Err(problem) => Finding::warning(
                "collector",
                problem,
                "start it, or correct `telemetry.otlp`; calls do not wait for it, telemetry is dropped",
            ),
        },
    }
}

fn open_files(config: &Config) -> Finding {
    let wanted = config.server.max_connections;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let most = files::for_connections(wanted, limit);
    let shown = limit.map_or_else(|| "no limit on open files".to_owned(), |limit| format!("{limit} open files"));
    if most < wanted {
        let found = format!("{shown} allow {most} connections at once, not the {wanted} of `server.max_connections`");
        return Finding::warning("limits", found, "raise the limit (`ulimit -Hn`, or `LimitNOFILE=` in a systemd unit)");
    }
    Finding::ok("limits", format!("{shown}, enough for {wanted} connections"))
}

fn ports(config: &Config, is_live: bool) -> Vec<Finding> {
    if is_live {
        return Vec::new();
    }
    let mcp = ("server.port", SocketAddr::new(config.server.address, config.server.port));
    let admin = ("admin.port", config.admin.socket_address());
    let look = |(key, address): (&str, SocketAddr)| match std::net::TcpListener::bind(address) {
        Ok(_) => Finding::ok(key, format!("{address} is free")),
        Err(error) => {
            Finding::broken(key, format!("{address}: {error}"), format!("stop whoever listens there, or change `{key}`"))
        }
    };
    vec![look(mcp), look(admin)]
}
