//! Why the sandbox could not be set up, a component could not be compiled, or its tools not described.

use std::path::PathBuf;

use crate::model::Bytes;

/// Why the sandbox could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The limits contradict each other or the machine.
    #[error("setting up the sandbox: {0:#}; check the limits under `[sandbox]`")]
    Engine(wasmtime::Error),
    /// The folder for compiled components is not usable.
    #[error("can't keep compiled components in `{}`: {reason}; or keep none, with `cache = \"0B\"` under `[sandbox]`", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
}

/// Why a file is not a plugin this host can run.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The file is larger than the operator allows.
    #[error("the component has {size}, more than the {limit} that `sandbox.max_component` allows")]
    TooLarge {
        /// Its size.
        size: Bytes,
        /// The limit.
        limit: Bytes,
    },
    /// A core module was given.
    #[error("this is a core WebAssembly module, not a component; build it with `--target wasm32-wasip2`")]
    CoreModule,
    /// The file is no WebAssembly at all.
    #[error("this is not a WebAssembly component")]
    NotWasm,
    /// A component, but broken or using a feature that is switched off.
    #[error("the component is not valid here: {0}")]
    Invalid(String),
    /// A component, but not a plugin.
    #[error("the component does not export `{expected}`; it is not a Tidegate plugin")]
    NotAPlugin {
        /// The interface a plugin exports.
        expected: String,
    },
    /// A plugin for another version of the contract.
    #[error("the component is built for version {found} of the contract `tidegate:plugin`; this host supports {supported}")]
    OtherContract {
        /// The version the component names.
        found: String,
        /// The version this host speaks.
        supported: &'static str,
    },
    /// The component wants something that no guest gets.
    #[error("the component imports `{import}`, which no plugin gets")]
    ForbiddenImport {
        /// The interface.
        import: String,
    },
    /// An import is offered, but not in the shape the component wants.
    #[error("an import of the component does not fit this host: {0}")]
    Mismatch(String),
}

/// Why a plugin's tools could not be described.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// The guest was stopped or crashed.
    #[error("the plugin was asked to describe its tools and {0}")]
    Ended(String),
    /// It has more tools than anybody could choose from.
    #[error("the plugin describes {count} tools, more than the {limit} that one plugin may have")]
    TooMany {
        /// How many it has.
        count: usize,
        /// How many it may have.
        limit: usize,
    },
}
