//! From a configuration to a running host, and back: wiring, recovery, listeners, shutdown.

pub mod files;
mod grants;
pub mod opening;
mod reload;
mod signals;
mod vouched;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::{Authenticator, DEV_ISSUER, Minter};
use crate::config::{Config, PrincipalConfig};
use crate::ledger::Ledger;
use crate::model::Watcher;
use crate::outbound::Outbound;
use crate::pipeline::Pipeline;
use crate::registry::{Registry, Reloader};
use crate::server::stdio::Reach;
use crate::server::{self, StdioConfig};
use reload::Reload;
use vouched::{LOCAL_USER, print_of, vouched};

pub use grants::DEMO;
pub use signals::StopSignals;
pub use vouched::is_local_user;

/// How long running calls get to end after shutdown was asked for.
const DRAIN: Duration = Duration::from_secs(20);

/// How long calls that were ended by force get to write their outcome.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Connections to each of the local sockets at once.
const MAX_LOCAL: usize = 64;

/// How long to wait when no connection can be accepted, for example because files ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections that may wait to be accepted, if the operating system allows as many: a crowd that comes all at once is not turned
/// away at the door, to try again a second later.
const BACKLOG: u32 = 16_384;

/// The name in the data folder of the socket for MCP clients.
const SOCKET: &str = "control.sock";

/// The name in the data folder of the socket for the operator.
const ADMIN_SOCKET: &str = "admin.sock";

/// The folder of secrets in the data folder.
pub const KEYS: &str = "keys";

/// Whom a host lets in without credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Everyone on loopback is `u1`, holding every scope: `dev` only.
    Everyone,
    /// Everyone on loopback is `[auth.anonymous]`: `--insecure-no-auth`.
    Configured,
    /// Nobody.
    Nobody,
}

/// What a verb decides about the host it runs.
#[derive(Clone)]
pub struct Options {
    /// The data folder.
    pub data: PathBuf,
    /// Whom to let in without credentials.
    pub trust: Trust,
    /// Whether manifests may name test hooks.
    pub test_hooks: bool,
    /// Who is told of spans.
    pub watcher: Option<Arc<Watcher>>,
    /// Whether SIGHUP means to look at plugins and policies again, as it does to a daemon, rather than the end.
    pub reload_on_hangup: bool,
    /// Whether the plugin folder is watched, unless the config says.
    pub watch_plugins: bool,
}

/// A host with its store open and its plugins loaded.
pub struct Host {
    pipeline: Arc<Pipeline>,
    authenticator: Authenticator,
    /// Mints tokens for whoever asks: `dev` only.
    minter: Option<Arc<Minter>>,
    ledger: Ledger,
    data: PathBuf,
    /// What [`print_of`] says of the local user; nothing if no config decides who that is.
    local_user: String,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    stop: CancellationToken,
}

/// The addresses a host listens on.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The MCP endpoint.
    pub mcp: SocketAddr,
    /// Health, readiness, metrics and the admin API.
    pub admin: SocketAddr,
}

impl Host {
    /// Opens the store, recovers what a crash left behind, and loads plugins and policies.
    ///
    /// # Errors
    /// Anything that keeps the host from serving honestly; nothing is half open then.
    pub async fn open(config: &Config, options: &Options) -> Result<Self> {
        // Before anything else: whoever tells a daemon to look again must not end it, however early, and with whichever folders.
        let hangup = options.reload_on_hangup.then(|| signal(SignalKind::hangup())).transpose();
        let hangup = hangup.context("can't listen for SIGHUP")?;
        opening::check(config, &options.data)?;
        let ledger = opening::open(&options.data, config).await?;
        let host = Self::load(config, options, ledger.clone(), hangup).await;
        if host.is_err() {
            close(&ledger).await;
        }
        host
    }

    async fn load(config: &Config, options: &Options, ledger: Ledger, hangup: Option<Signal>) -> Result<Self> {
        let sandbox = opening::sandbox(config, &options.data, &ledger)?;
        let admission = opening::admission(config, &sandbox)?;
        let loader = Arc::new(opening::loader(config, &options.data, &sandbox, options.test_hooks));
        let sources = opening::sources(config, &options.data);
        opening::sweep(&sources)?;
        let begun = Instant::now();
        let generation = loader.load_dirs(&sources.dirs()?, sources.policy_folder()).await?;
        let (plugins, tools, took) = (generation.plugins.len(), generation.tools.len(), begun.elapsed());
        tracing::info!(plugins, tools, ?took, folder = %sources.plugins.display(), "the plugins are loaded");
        match sources.policy_folder() {
            Some(folder) => tracing::info!(folder = %folder.display(), "the policies of this folder are in force"),
            None => {
                tracing::info!("no policy folder: only what the manifests permit is permitted; name one with `[policies] path`")
            }
        }
        let registry = Arc::new(Registry::new(generation, sources));
        let anonymous = match options.trust {
            Trust::Everyone => {
                let u1 = PrincipalConfig { subject: "u1".into(), ..PrincipalConfig::default() };
                Some(vouched(&u1, DEV_ISSUER, &registry))
            }
            Trust::Configured => config.auth.anonymous.as_ref().map(|who| vouched(who, "tidegate:config", &registry)),
            Trust::Nobody => None,
        };
        let local = match (&options.trust, &anonymous) {
            (Trust::Everyone, Some(u1)) => u1.clone(),
            _ => vouched(&config.auth.local.clone().unwrap_or_default(), "tidegate:config", &registry),
        };
        let mut authenticator = Authenticator::new(anonymous, local, &config.auth.issuers, config.auth.limits())?;
        let minter = match options.trust {
            Trust::Everyone => Some(Arc::new(Minter::new().context("no random bytes for a signing key")?)),
            Trust::Configured | Trust::Nobody => None,
        };
        if let Some(minter) = &minter {
            authenticator = authenticator.with_minter(minter);
        }
        let (shutdown, stop) = (CancellationToken::new(), CancellationToken::new());
        let tasks = TaskTracker::new();
        let outbound = Outbound::new(&config.backends, &config.origins)?;
        outbound.sweep();
        let pipeline = Arc::new(Pipeline::new(crate::pipeline::Parts {
            authenticator: authenticator.clone(),
            registry: registry.clone(),
            reloader: Reloader::new(registry.clone(), loader),
            install: opening::install_rules(config),
            ledger: ledger.clone(),
            admission,
            sandbox,
            outbound,
            watcher: options.watcher.clone(),
            tasks: tasks.clone(),
            shutdown: shutdown.clone(),
            stop: stop.clone(),
        }));
        reload::record_start(&ledger, &registry.current()).await?;
        ledger.start_sinks()?;
        let watch_plugins = config.plugins.watch.unwrap_or(options.watch_plugins);
        let reload = Reload::new(pipeline.clone(), registry.sources(), watch_plugins, hangup)?;
        tasks.spawn(reload.run(shutdown.clone()));
        let (resuming, data) = (pipeline.clone(), options.data.clone());
        let resumed = tokio::task::spawn_blocking(move || resuming.resume()).await??;
        tasks.spawn(pipeline.clone().keep_queue());
        if resumed > 0 {
            tracing::info!(resumed, "calls that were queued when the host stopped are taken up again");
        }
        let local_user = match options.trust {
            Trust::Everyone => String::new(),
            Trust::Configured | Trust::Nobody => print_of(&config.auth.local.clone().unwrap_or_default()),
        };
        Ok(Self { pipeline, authenticator, minter, ledger, data, local_user, tasks, shutdown, stop })
    }

    /// The call path, for those who serve it.
    pub fn pipeline(&self) -> &Arc<Pipeline> {
        &self.pipeline
    }

    /// Ends every listener and queue when cancelled.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Starts the MCP endpoint, the admin listener and the control socket.
    ///
    /// # Errors
    /// A port is in use, or the socket can't be made.
    pub async fn listen(&self, config: &Config, metrics: PrometheusHandle) -> Result<Addresses> {
        let files = files::raise_limit();
        let mcp = bind(SocketAddr::new(config.server.address, config.server.port), "--port")?;
        let admin = bind(config.admin.socket_address(), "--admin-port")?;
        let addresses = Addresses { mcp: mcp.local_addr()?, admin: admin.local_addr()? };
        self.listen_locally(&config.stdio).await?;

        let mut http = config.server.clone();
        // Port 0 is a wish, not an address.
        http.port = addresses.mcp.port();
        http.max_connections = files::for_connections(http.max_connections, files);
        if http.authorization_servers.is_empty() {
            http.authorization_servers = config.auth.issuers.values().map(|issuer| issuer.issuer.clone()).collect();
        }
        let resource = http.resource()?;
        if !config.auth.issuers.is_empty() {
            tracing::info!(%resource, issuers = ?http.authorization_servers, "bearer tokens are taken");
        }
        self.authenticator.serve_as(&resource);
        self.authenticator.keep_keys(&self.tasks, &self.shutdown);
        let (pipeline, shutdown, minter) = (self.pipeline.clone(), self.shutdown.clone(), self.minter.clone());
        self.tasks.spawn(async move {
            if let Err(error) = server::http::serve(mcp, pipeline, http, minter, shutdown).await {
                tracing::error!(%error, "the MCP endpoint ended");
            }
        });
        let (hosts, token) = (config.admin.hosts()?, opening::admin_token(&self.data, &config.admin)?);
        let (pipeline, shutdown) = (self.pipeline.clone(), self.shutdown.clone());
        self.tasks.spawn(async move {
            let render = Arc::new(move || metrics.render());
            server::admin::serve(admin, pipeline, hosts, token, render, shutdown).await;
        });
        Ok(addresses)
    }

    /// Serves the local sockets in the data folder: the control socket, through which `tidegate run` brings MCP clients to a live
    /// host, and the admin socket, through which other verbs ask about the host itself.
    ///
    /// # Errors
    /// A socket can't be made.
    pub async fn listen_locally(&self, config: &StdioConfig) -> Result<()> {
        let local_user = self.data.join(LOCAL_USER);
        std::fs::write(&local_user, &self.local_user).with_context(|| format!("can't write `{}`", local_user.display()))?;
        self.listen_at(socket_path(&self.data), |_| Ok(Reach::Client), config).await?;
        let operator = |stream: &UnixStream| Ok(Reach::Operator { uid: stream.peer_cred()?.uid() });
        self.listen_at(admin_socket_path(&self.data), operator, config).await
    }

    async fn listen_at(
        &self,
        path: PathBuf,
        reach: impl Fn(&UnixStream) -> std::io::Result<Reach> + Send + 'static,
        config: &StdioConfig,
    ) -> Result<()> {
        // The store's lock is ours, so a socket that is still there belongs to nobody.
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).with_context(|| {
            format!("can't make the socket `{}`; if the path is too long, choose a shorter `--data`", path.display())
        })?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .with_context(|| format!("can't protect the socket `{}`", path.display()))?;
        let (pipeline, shutdown, tasks) = (self.pipeline.clone(), self.shutdown.clone(), self.tasks.clone());
        let config = config.clone();
        let places = Arc::new(Semaphore::new(MAX_LOCAL));
        self.tasks.spawn(async move {
            loop {
                let stream = tokio::select! {
                    () = shutdown.cancelled() => return,
                    accepted = listener.accept() => match accepted {
                        Ok((stream, _)) => stream,
                        Err(error) => {
                            tracing::warn!(%error, socket = %path.display(), "a local connection failed");
                            tokio::time::sleep(ACCEPT_PAUSE).await;
                            continue;
                        }
                    },
                };
                // One too many is closed at once: its client sees the end instead of waiting for an answer.
                let Ok(place) = places.clone().try_acquire_owned() else { continue };
                // Gone before anybody could tell who it was.
                let Ok(reach) = reach(&stream) else { continue };
                let (reader, writer) = stream.into_split();
                let (pipeline, shutdown, config) = (pipeline.clone(), shutdown.clone(), config.clone());
                tasks.spawn(async move {
                    server::stdio::serve(pipeline, reach, config, reader, writer, shutdown).await;
                    drop(place);
                });
            }
        });
        Ok(())
    }

    /// Stops taking calls, lets running ones end, and closes the store.
    pub async fn close(self) {
        self.shutdown.cancel();
        self.tasks.close();
        if tokio::time::timeout(DRAIN, self.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.tasks.len(), "ending the calls that are still running");
            self.stop.cancel();
            let _ = tokio::time::timeout(LAST_WORDS, self.tasks.wait()).await;
        }
        for socket in [socket_path(&self.data), admin_socket_path(&self.data)] {
            let _ = std::fs::remove_file(socket);
        }
        close(&self.ledger).await;
    }
}

/// Writes down what is left, and closes the store.
async fn close(ledger: &Ledger) {
    if let Err(error) = ledger.close().await {
        tracing::error!(%error, "the ledger did not close cleanly; recovery will look after it");
    }
}

/// The control socket of the host that owns `data`.
pub fn socket_path(data: &Path) -> PathBuf {
    data.join(SOCKET)
}

/// The admin socket of the host that owns `data`.
pub fn admin_socket_path(data: &Path) -> PathBuf {
    data.join(ADMIN_SOCKET)
}

fn bind(address: SocketAddr, flag: &str) -> Result<TcpListener> {
    match listen(address) {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            bail!(
                "port {} is in use by another program; stop that program, or choose a port with `{flag} N` (0 picks one)",
                address.port()
            )
        }
        Err(error) => Err(error).with_context(|| format!("can't listen on {address}")),
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
