//! `tidegate serve` and `tidegate run`: the host for programs and for desktop clients.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use http::Uri;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::UnixStream;

use super::{HostArgs, PortArgs, RunArgs, ServeArgs};
use crate::app::{self, Addresses, Host, Options, StopSignals, Trust};
use crate::auth::is_loopback;
use crate::config::Config;
use crate::server;
use crate::server::stdio::Reach;
use crate::store::StoreError;
use crate::telemetry::Telemetry;

/// The data folder when nobody names one.
const DEFAULT_DATA: &str = ".tidegate";

/// `tidegate serve`
pub fn serve(args: &ServeArgs) -> Result<ExitCode> {
    let config = configure(&args.host, Some(&args.ports))?;
    let trust = trust(&config, args.insecure_no_auth)?;
    let telemetry = Telemetry::install(&config.telemetry)?;
    let watcher = telemetry.watcher();
    let options =
        Options { data: data_dir(&config), trust, test_hooks: false, watcher, reload_on_hangup: true, watch_plugins: false };
    runtime()?.block_on(until_stopped(&config, &options, telemetry.metrics(), |_, addresses| {
        println!("MCP    http://{}/mcp", addresses.mcp);
        println!("admin  http://{}/readyz", addresses.admin);
        Ok(())
    }))
}

/// Serves until a signal says to stop, then drains. `begun` comes in between, once everybody can call.
///
/// # Errors
/// Whatever keeps the host from serving, or what `begun` answers with; the host is closed then.
pub async fn until_stopped(
    config: &Config,
    options: &Options,
    metrics: PrometheusHandle,
    begun: impl FnOnce(&Host, Addresses) -> Result<()>,
) -> Result<ExitCode> {
    let mut signals = StopSignals::listen()?;
    let host = Host::open(config, options).await?;
    let begun = host.listen(config, metrics).await.and_then(|addresses| begun(&host, addresses));
    if begun.is_ok() {
        signals.arrive().await;
        eprintln!("draining");
    }
    host.close().await;
    begun.map(|()| ExitCode::SUCCESS)
}

/// Whom `serve` lets in without credentials, if what the config and the flag say about callers makes sense together.
///
/// # Errors
/// It does not: what, and what to do.
pub fn trust(config: &Config, insecure_no_auth: bool) -> Result<Trust> {
    let server = &config.server;
    match (config.auth.issuers.is_empty(), insecure_no_auth) {
        (_, false) if config.auth.anonymous.is_some() => {
            bail!("`[auth.anonymous]` lets callers in without credentials; if you mean that, pass `--insecure-no-auth`")
        }
        (true, false) => bail!(
            "no way to authenticate callers is configured, so nobody could call anything; name an issuer of tokens in the config \
             (`[auth.issuers.corp]` with `issuer = \"https://id.example.com\"`), or, on loopback, set `[auth.anonymous]` and pass \
             `--insecure-no-auth`"
        ),
        (false, false) => match server.public_uri()? {
            None if !server.address.is_loopback() => bail!(
                "`server.address` is {}, but bearer tokens must not travel without TLS; put a proxy with TLS in front and set \
                     `server.public_url` to its `https` URL",
                server.address
            ),
            Some(url) if !is_protected(&url, server.address.is_loopback()) => bail!(
                "`server.public_url` is `{url}`, but bearer tokens must not travel without TLS; put a proxy with TLS in front and \
                     set `public_url` to its `https` URL"
            ),
            _ => Ok(Trust::Nobody),
        },
        (false, true) => bail!(
            "`--insecure-no-auth` lets callers in without credentials, but `[auth.issuers]` says who vouches for them; drop one of the two"
        ),
        (true, true) if config.auth.anonymous.is_none() => {
            bail!("`--insecure-no-auth` needs to know who callers are: set `[auth.anonymous]` with a `subject` in the config")
        }
        (true, true) if !server.address.is_loopback() => {
            bail!("`--insecure-no-auth` works on loopback only, but `server.address` is {}", server.address)
        }
        (true, true) => {
            refuse_to_be_reached(config, "`--insecure-no-auth`")?;
            Ok(Trust::Configured)
        }
    }
}

/// Whether nobody on the way can read what is sent to `url`: it is encrypted, or, as we listen there alone, stays on this machine.
fn is_protected(url: &Uri, on_loopback: bool) -> bool {
    url.scheme_str() == Some("https") || (on_loopback && is_loopback(url))
}

/// Refuses names of this server beyond this machine: behind a proxy, whoever reaches the proxy would come from loopback, and be
/// let in by `what`.
pub fn refuse_to_be_reached(config: &Config, what: &str) -> Result<()> {
    let name = match (&config.server.public_url, config.server.allowed_hosts.first()) {
        (Some(url), _) => format!("`server.public_url` is `{url}`"),
        (None, Some(host)) => format!("`server.allowed_hosts` lists `{host}`"),
        (None, None) => return Ok(()),
    };
    bail!(
        "{what} lets callers in without credentials, but {name}, so others could reach this server through a proxy; leave both keys \
         out, or run `serve` with an issuer of tokens (`[auth.issuers.corp]`)"
    )
}

/// `tidegate run`: speaks for a live host on the same data if there is one, else is the host itself.
pub fn run(args: &RunArgs) -> Result<ExitCode> {
    let config = configure(&args.host, None)?;
    let telemetry = Telemetry::install(&config.telemetry)?;
    let watcher = telemetry.watcher();
    let options = Options {
        data: data_dir(&config),
        trust: Trust::Nobody,
        test_hooks: false,
        watcher,
        reload_on_hangup: false,
        watch_plugins: false,
    };
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let mut signals = StopSignals::listen()?;
        let host = match Host::open(&config, &options).await {
            Ok(host) => host,
            Err(error) if matches!(error.downcast_ref(), Some(StoreError::InUse { .. })) => {
                if config.auth.local.as_ref().is_some_and(|local| !app::is_local_user(&options.data, local)) {
                    bail!(
                        "a host is live on `{}` and decides who the local user is, but `[auth.local]` (or `TIDEGATE_AUTH__LOCAL__…`) \
                         says otherwise here; drop it here, say the same for that host, or run on a data folder of its own (`--data DIR`)",
                        options.data.display()
                    );
                }
                return tokio::select! {
                    relayed = relay(&options.data) => relayed.map(|()| ExitCode::SUCCESS),
                    () = signals.arrive() => Ok(ExitCode::SUCCESS),
                };
            }
            Err(error) => return Err(error),
        };
        host.listen_locally(&config.stdio).await?;
        tokio::select! {
            () = server::stdio::serve(
                host.pipeline().clone(), Reach::Client, config.stdio.clone(), tokio::io::stdin(), tokio::io::stdout(), host.shutdown().clone(),
            ) => {}
            () = signals.arrive() => {}
        }
        host.close().await;
        Ok(ExitCode::SUCCESS)
    });
    // Tokio reads stdin on a thread that can't be cancelled; nothing is left to be done, so don't wait for it.
    runtime.shutdown_background();
    ended
}

/// Carries stdin and stdout to and from the live host's control socket.
async fn relay(data: &Path) -> Result<()> {
    let path = app::socket_path(data);
    let stream = UnixStream::connect(&path).await.with_context(|| {
        format!("another process owns the data folder `{}` but does not answer on `{}`", data.display(), path.display())
    })?;
    let (mut from_host, mut to_host) = stream.into_split();
    let (was_silent, was_answered) = (AtomicBool::new(false), AtomicBool::new(false));
    let upstream = async {
        let (mut stdin, mut to_host) = (tokio::io::stdin(), &mut to_host);
        let said = tokio::io::copy(&mut stdin, &mut to_host).await?;
        was_silent.store(said == 0, Ordering::Relaxed);
        tokio::io::AsyncWriteExt::shutdown(&mut to_host).await
    };
    let downstream = async {
        let mut stdout = tokio::io::stdout();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = tokio::io::AsyncReadExt::read(&mut from_host, &mut buffer).await?;
            if count == 0 {
                return std::io::Result::Ok(());
            }
            was_answered.store(true, Ordering::Relaxed);
            tokio::io::AsyncWriteExt::write_all(&mut stdout, &buffer[..count]).await?;
            // A client waits for whole lines; a buffered tail would be a hang.
            tokio::io::AsyncWriteExt::flush(&mut stdout).await?;
        }
    };
    let ended = tokio::select! {
        // The host closed the connection; whatever the client still has to say has no reader.
        done = downstream => done.context("the connection to the live host failed"),
        failed = async { upstream.await?; std::future::pending::<std::io::Result<()>>().await } => failed.context("stdin failed"),
    };
    if was_answered.into_inner() || was_silent.into_inner() {
        return ended;
    }
    // One connection too many is closed at once, whichever side of it notices first.
    let cause = ended.err().map(|error| format!(" ({error:#})")).unwrap_or_default();
    bail!("the host has no place free, try again: it closed the connection without an answer{cause}")
}

/// The configuration with the flags on top.
pub fn configure(host: &HostArgs, ports: Option<&PortArgs>) -> Result<Config> {
    // Other programs' variables may hold anything; ours are text.
    let environment = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut config = Config::load(host.config.as_deref(), environment)?;
    if let Some(data) = &host.data {
        config.data = Some(data.clone());
    }
    if let Some(plugins) = &host.plugins {
        config.plugins.path.clone_from(plugins);
    }
    if let Some(policies) = &host.policies {
        config.policies.path = Some(policies.clone());
    }
    for (name, url) in &host.backend {
        config.set_backend(name, url);
    }
    if let Some(port) = ports.and_then(|ports| ports.port) {
        config.server.port = port;
    }
    if let Some(port) = ports.and_then(|ports| ports.admin_port) {
        config.admin.port = port;
    }
    Ok(config)
}

/// The data folder that `config` names.
pub fn data_dir(config: &Config) -> PathBuf {
    config.data.clone().unwrap_or_else(|| DEFAULT_DATA.into())
}

/// The most threads for what blocks on the disk or the resolver. A crowd that polls would have the runtime start 512, and each keeps
/// a stack and a heap.
const BLOCKING: usize = 128;

/// The multi-threaded runtime every verb with sockets runs on.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().max_blocking_threads(BLOCKING).build().context("can't start the async runtime")
}
