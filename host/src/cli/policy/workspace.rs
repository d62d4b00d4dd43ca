//! The plugins and policies that a policy verb is about: those of a workspace, built as far as they are not, never served.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::Value;

use crate::cli::{HostArgs, plugin, serve};
use crate::config::Config;
use crate::model::{Arguments, Rejection, ToolName};
use crate::outbound;
use crate::pipeline::keys;
use crate::policy::GeneratedPermits;
use crate::registry::installed::Promises;
use crate::registry::{Generation, LoadError, Loader, sources};
use crate::sandbox::Sandbox;

/// Which plugins and policies.
#[derive(Debug, Clone, Default, Args)]
pub struct WorkspaceArgs {
    /// The configuration file; `tidegate.toml` here if it exists.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A folder of `*.cedar` policies; what the configuration says, or `policies` beside the plugins, by default.
    #[arg(long, value_name = "DIR")]
    pub policies: Option<PathBuf>,
    /// A folder of plugin folders, or one plugin folder; `plugins` by default. Crates are built first.
    #[arg(long, value_name = "DIR")]
    pub plugins: Option<PathBuf>,
}

/// Plugins, built, and the folder of policies that go with them.
pub struct Workspace {
    /// The configuration.
    pub config: Config,
    plugins: Vec<PathBuf>,
    policies: Option<PathBuf>,
    loader: Loader,
}

impl Workspace {
    /// Finds the plugins and builds those that are crates without a component.
    ///
    /// # Errors
    /// There is no plugin, a manifest is broken, or one does not build.
    pub fn open(args: &WorkspaceArgs) -> Result<Self> {
        let host = HostArgs {
            config: args.config.clone(),
            plugins: args.plugins.clone(),
            policies: args.policies.clone(),
            ..HostArgs::default()
        };
        let config = serve::configure(&host, None)?;
        let root = &config.plugins.path;
        let (mut plugins, mut backends, mut origins) = (Vec::new(), BTreeSet::new(), Vec::new());
        for dir in sources::plugin_dirs(root)? {
            let manifest = plugin::read_manifest(&dir)?;
            if manifest.tools.iter().any(|tool| tool.test_hook.is_some()) {
                eprintln!("leaving out `{}`: its tools are fixtures of the conformance profile", manifest.name);
                continue;
            }
            plugins.push(plugin::built_dir(&dir)?);
            // Where a backend is does not matter to policies, so every one counts as defined, and every origin as allowed.
            backends.extend(manifest.sandbox.backends);
            origins.extend(manifest.sandbox.origins);
        }
        if plugins.is_empty() {
            bail!("`{}` holds no plugin but fixtures", root.display());
        }
        let policies = config.policy_folder();
        let sandbox = Arc::new(Sandbox::new(&config.sandbox, outbound::is_reserved)?);
        let permits = if config.policies.generate { GeneratedPermits::On } else { GeneratedPermits::Off };
        let (keep_answers, promises) = (config.ledger.keep_answers, Promises::default());
        let loader = Loader { sandbox, backends, origins, test_hooks: false, permits, keep_answers, promises };
        Ok(Self { config, plugins, policies, loader })
    }

    /// The folder of policies, if there is one.
    pub fn policies(&self) -> Option<&Path> {
        self.policies.as_deref()
    }

    /// Loads the plugins with the policies, as a host would.
    ///
    /// # Errors
    /// What a host would refuse them for.
    pub fn load(&self) -> Result<Result<Generation, LoadError>> {
        Ok(serve::runtime()?.block_on(self.loader.load_dirs(&self.plugins, self.policies())))
    }
}

/// The arguments of a supposed call as policies get to see them, without the host's own, and what the tool's schema says against
/// them. What the tool is not known to take is left for whoever knows better.
pub fn as_called(generation: &Generation, tool: &ToolName, arguments: &Arguments) -> (Arguments, Option<Vec<String>>) {
    let mut arguments = arguments.clone();
    let Some(tool) = generation.tools.get(tool) else { return (arguments, None) };
    let key = keys::take_key_argument(&tool.manifest, &mut arguments);
    let invalid = match key {
        Err(Rejection::InvalidArguments(violations)) => Some(violations),
        _ => tool.input.check(&Value::Object(arguments.clone())).err(),
    };
    (arguments, invalid)
}
