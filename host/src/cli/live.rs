//! The line to a live host: over the admin socket in its data folder, or over its admin API, from anywhere.

mod http;
mod socket;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use super::{HostArgs, serve};
use crate::config::Config;
use http::Api;
use socket::Socket;

/// How long the host may take for an answer, unless it is told otherwise.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest answer, in bytes.
const LONGEST: u64 = 64 << 20;

/// Which host to ask: the one that owns a data folder on this machine, or one anywhere, over its admin API.
#[derive(Debug, Clone, Default, Args)]
pub struct WhichHost {
    /// The configuration file; `tidegate.toml` here if it exists.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The data folder of the host.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    #[command(flatten)]
    pub elsewhere: Elsewhere,
}

/// A host anywhere, asked over its admin API.
#[derive(Debug, Clone, Default, Args)]
pub struct Elsewhere {
    /// The admin listener of the host, such as `https://tools.example.com:7301`; it may be on another machine.
    ///
    /// The admin token is taken from --admin-token-file, else from the variable `TIDEGATE_ADMIN_TOKEN`.
    #[arg(long, value_name = "URL", conflicts_with_all = ["config", "data"])]
    pub admin_url: Option<String>,
    /// The file with the admin token of that host; there, it is `keys/admin-token` in the data folder.
    #[arg(long, value_name = "FILE", requires = "admin_url")]
    pub admin_token_file: Option<PathBuf>,
    /// A PEM file with who vouches for the certificate of that host; whom browsers trust by default.
    #[arg(long, value_name = "FILE", requires = "admin_url")]
    pub admin_ca: Option<PathBuf>,
}

impl WhichHost {
    /// The configuration of a host on this machine.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn configure(&self) -> Result<Config> {
        serve::configure(&HostArgs { config: self.config.clone(), data: self.data.clone(), ..HostArgs::default() }, None)
    }

    /// The line to the host; `None` if none is live on the data folder. There is always one at a URL, or so it seems until it is
    /// asked.
    ///
    /// # Errors
    /// The socket is there and can't be used, the URL or the token is none, or the configuration makes no sense.
    pub fn live(&self) -> Result<Option<Live>> {
        match self.elsewhere.live()? {
            Some(live) => Ok(Some(live)),
            None => Live::connect(&serve::data_dir(&self.configure()?)),
        }
    }

    /// The line to the host, which has to be there.
    ///
    /// # Errors
    /// It is not; or as [`WhichHost::live`].
    pub fn demand(&self) -> Result<Live> {
        match self.elsewhere.live()? {
            Some(live) => Ok(live),
            None => Live::demand(&serve::data_dir(&self.configure()?)),
        }
    }
}

impl Elsewhere {
    /// The line to the host at the URL; `None` if there is no URL. That it is there shows only when it is asked.
    ///
    /// # Errors
    /// The URL or the token is none.
    pub fn live(&self) -> Result<Option<Live>> {
        let Some(url) = &self.admin_url else { return Ok(None) };
        Ok(Some(Live(Line::Api(Api::at(url, self.admin_token_file.as_deref(), self.admin_ca.as_deref())?))))
    }
}

/// A line to a live host, for one question after the other.
pub struct Live(Line);

/// What the line goes over.
enum Line {
    Socket(Socket),
    Api(Api),
}

impl Live {
    /// Connects to the host that owns the data folder; `None` if there is none.
    ///
    /// # Errors
    /// If its socket is there and can't be used.
    pub fn connect(data: &Path) -> Result<Option<Self>> {
        Ok(Socket::connect(data)?.map(|socket| Self(Line::Socket(socket))))
    }

    /// Connects to the host that owns the data folder.
    ///
    /// # Errors
    /// If there is none, or its socket can't be used.
    pub fn demand(data: &Path) -> Result<Self> {
        Ok(Self(Line::Socket(Socket::demand(data)?)))
    }

    /// How long the host may take for each answer from now on; 10 s by default.
    ///
    /// # Errors
    /// If the socket is no more.
    pub fn wait_at_most(&mut self, patience: Duration) -> Result<()> {
        match &mut self.0 {
            Line::Socket(socket) => socket.wait_at_most(patience),
            Line::Api(api) => {
                api.wait_at_most(patience);
                Ok(())
            }
        }
    }

    /// Asks one question and waits for its answer.
    ///
    /// # Errors
    /// If the host has no place free, does not answer in time or at all, or refuses, and then in its words.
    pub fn ask(&mut self, method: &str, params: &Value) -> Result<Value> {
        match &mut self.0 {
            Line::Socket(socket) => socket.ask(method, params),
            Line::Api(api) => api.ask(method, params),
        }
    }
}
