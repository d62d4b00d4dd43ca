//! The sandbox: compiles plugins, asks them for their tools, and runs each call in a fresh instance. The only place that
//! knows the WebAssembly engine.

mod bindings;
mod capacity;
mod compiled;
mod config;
mod contract;
mod ending;
mod engine;
mod error;
mod host;
mod http;
mod limits;
mod logs;
mod meter;
mod random;
mod run;
mod slices;
mod state;
mod supply;
#[cfg(test)]
mod tests;
mod turnstile;
mod wasi;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderName, Request, Response};
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::combinators::UnsyncBoxBody;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use self::bindings::PluginPre;
use self::compiled::Compiled;
use self::state::State;
use self::turnstile::Turnstile;
use crate::model::{self, Ended, GuestLog, Question};

pub use self::config::SandboxConfig;
pub use self::error::{CompileError, DescribeError, SandboxError};
pub use self::supply::{Fuel, Supply};

/// A body on its way out or in. Errors are told apart by [`io::ErrorKind`] alone.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Sends one request of a guest. Called in the order the guest makes its requests; the work is in the future.
///
/// Of an error the guest learns the kind: `PermissionDenied` (not a backend of this plugin), `InvalidInput` (a path that
/// leads out), `ConnectionRefused`, `HostUnreachable`, `TimedOut`, `ConnectionReset`, `QuotaExceeded` (too many at once),
/// `ArgumentListTooLong` (the request's body), `FileTooLarge` (the response's body); anything else is a protocol error.
pub type SendRequest = Arc<dyn Fn(Request<Body>, Duration) -> BoxFuture<'static, io::Result<Response<Body>>> + Send + Sync>;

/// Decides whether the policies permit a row (JSON) of a resource.
pub type Permits = Box<dyn Fn(&str, &str) -> bool + Send + Sync>;

/// Says as JSON which rows of the tool's resource the caller may see, if that can be said.
pub type RowFilter = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// Takes a progress report: done, total, text. Reports grow and are bounded.
pub type ReportProgress = Box<dyn Fn(u64, Option<u64>, String) + Send + Sync>;

/// Takes a line of the guest's log: syslog severity (0 to 7) and escaped text. Bounded by [`SandboxConfig::max_log`].
pub type TakeLine = Box<dyn Fn(u8, &str) + Send + Sync>;

/// One question of a guest, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedFor {
    /// Its name among the questions of the call.
    pub key: String,
    /// The MCP request that asks for it.
    pub method: String,
    /// The request's parameters, JSON, not parsed yet.
    pub params: String,
}

/// Why a guest that asks gets no answers: its run ends.
#[derive(Clone, Debug, PartialEq)]
pub enum Unanswered {
    /// The caller has to be asked these first.
    Asks(Vec<Question>),
    /// They are no questions. The text says why.
    Malformed(String),
}

/// Answers the questions of a guest, in their order: JSON, or nothing for what can't be asked.
pub type Ask = Box<dyn Fn(Vec<AskedFor>) -> Result<Vec<Option<String>>, Unanswered> + Send + Sync>;

/// Whether a header belongs to the host: guests can neither set it nor see it.
pub type ReservedHeader = fn(&HeaderName) -> bool;

/// The sandbox. One per process; cheap to share behind an [`Arc`].
pub struct Sandbox {
    config: SandboxConfig,
    reserved: ReservedHeader,
    engine: Engine,
    linker: Linker<State>,
    compiled: Option<Compiled>,
    /// Places for instances; as many as the pool has.
    instances: Semaphore,
    turnstile: Arc<Turnstile>,
    /// How long it takes to make an instance, for `/metrics`.
    instantiation: metrics::Histogram,
}

/// A compiled plugin, ready to be instantiated. Cheap to clone.
#[derive(Clone)]
pub struct Program {
    pre: PluginPre<State>,
}

/// One tool as the plugin describes it. Texts named JSON are not parsed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The tool's name.
    pub name: String,
    /// Its title for people.
    pub title: Option<String>,
    /// What it does, for a language model.
    pub description: String,
    /// JSON Schema of its arguments, JSON.
    pub input_schema: String,
    /// JSON Schema of its structured answer, JSON.
    pub output_schema: Option<String>,
    /// MCP tool annotations, JSON.
    pub annotations: Option<String>,
}

/// One call to run.
pub struct Invocation {
    /// The tool's name.
    pub tool: String,
    /// Its arguments, JSON.
    pub arguments: String,
    /// What it may take.
    pub limits: CallLimits,
    /// Where that comes from.
    pub supply: Supply,
    /// What the guest may know of the call.
    pub context: GuestContext,
    /// What the guest may ask of the host.
    pub host: HostFunctions,
    /// Ends the call as [`Ended::Cancelled`], whatever it is doing: the host is shutting down.
    pub stop: CancellationToken,
}

/// What one call may take.
#[derive(Clone, Copy, Debug)]
pub struct CallLimits {
    /// Fuel, in wasmtime fuel units; host calls cost some too.
    pub fuel: u64,
    /// Linear memory. More than [`SandboxConfig::max_memory`] is cut down to it.
    pub memory: model::Bytes,
    /// Wall-clock time, from when [`Sandbox::execute`] is called; waiting for a place counts.
    pub deadline: Duration,
}

/// What a guest may know of its call.
#[derive(Clone, Debug)]
pub struct GuestContext {
    /// The principal's subject.
    pub subject: String,
    /// The trace id, 32 hex digits.
    pub trace_id: String,
    /// Which run of the call this is, from 1.
    pub attempt: u32,
    /// The caller's idempotency key, for write tools.
    pub idempotency_key: Option<String>,
}

/// What a guest may ask of the host during one call. None of these may block: they run while the guest holds a CPU slot.
pub struct HostFunctions {
    /// Asks the policies.
    pub permits: Permits,
    /// Says which rows the caller may see, if that can be said: a hint, JSON. Made when the guest asks for its context.
    pub row_filter: RowFilter,
    /// Asks the caller.
    pub ask: Ask,
    /// Sends a request to a backend.
    pub send: SendRequest,
    /// Whether the guest may ask for `https`: it is one that reaches literal origins.
    pub https: bool,
    /// Passes progress on to the caller.
    pub progress: ReportProgress,
    /// Passes the guest's log on, beside what [`Execution::log`] keeps.
    pub log: TakeLine,
    /// Whether the caller has given up. The guest may ask; it is not stopped by this.
    pub cancelled: CancellationToken,
}

/// How a call went.
#[derive(Clone, Debug)]
pub struct Execution {
    /// How it ended.
    pub ended: Ended,
    /// Fuel burned. After a crash in the guest's own code up to one slice of fuel may be missing.
    pub fuel: u64,
    /// Peak linear memory, in bytes.
    pub memory_peak: u64,
    /// What the guest wrote.
    pub log: GuestLog,
}

impl Sandbox {
    /// A sandbox within `config`, in which the headers of `reserved` are the host's alone.
    pub fn new(config: &SandboxConfig, reserved: ReservedHeader) -> Result<Self, SandboxError> {
        let engine = engine::new(config)?;
        Ok(Self {
            linker: engine::linker(&engine)?,
            instances: Semaphore::new(config.max_instances as usize),
            turnstile: Turnstile::new(config.running()),
            config: config.clone(),
            instantiation: metrics::histogram!("tidegate_instantiation_seconds"),
            compiled: None,
            engine,
            reserved,
        })
    }

    /// The same, keeping compiled components in `folder`, as many as [`SandboxConfig::cache`] says. `key` tells what this host
    /// wrote there from everything else: whoever knows it and can write there can run code in the host.
    ///
    /// # Errors
    /// The folder can't be made, or is not ours alone.
    pub fn with_cache(mut self, folder: &Path, key: &[u8; 32]) -> Result<Self, SandboxError> {
        if self.config.cache.0 > 0 {
            self.compiled = Some(Compiled::open(folder, key, self.config.cache, &self.engine)?);
        }
        Ok(self)
    }

    /// The most memory one guest can have.
    pub fn max_memory(&self) -> model::Bytes {
        self.config.max_memory
    }

    /// The largest component that is looked at.
    pub fn max_component(&self) -> model::Bytes {
        self.config.max_component
    }

    /// Compiles a component of this digest and checks that it is a plugin of this contract. Takes up to seconds of CPU, unless it
    /// was compiled before: call it where blocking is allowed.
    pub fn compile(&self, wasm: &[u8], digest: &model::Digest) -> Result<Program, CompileError> {
        let size = model::Bytes(wasm.len() as u64);
        if size > self.config.max_component {
            return Err(CompileError::TooLarge { size, limit: self.config.max_component });
        }
        contract::check_kind(wasm)?;
        let kept = self.compiled.as_ref().and_then(|compiled| compiled.get(&self.engine, digest));
        let is_kept = kept.is_some();
        let component = kept.map_or_else(|| Component::from_binary(&self.engine, wasm), Ok);
        let component = component.map_err(|error| CompileError::Invalid(format!("{error:#}")))?;
        contract::check_interfaces(&self.engine, &component)?;
        let pre = self.linker.instantiate_pre(&component).and_then(PluginPre::new);
        let program = pre.map(|pre| Program { pre }).map_err(|error| CompileError::Mismatch(format!("{error:#}")))?;
        if let Some(compiled) = self.compiled.as_ref().filter(|_| !is_kept) {
            compiled.keep(digest, &component);
        }
        Ok(program)
    }
}
