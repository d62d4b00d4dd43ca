//! `tidegate dev`: from sources to served tools with one command, and again after every edit.

mod backends;
mod demo;
mod greeting;
mod rebuild;
mod watch;
mod workshop;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use super::serve::{configure, data_dir, refuse_to_be_reached, runtime, until_stopped};
use super::{HostArgs, PortArgs};
use crate::app::{Options, Trust};
use crate::model::Watcher;
use crate::telemetry::Telemetry;
use workshop::Workshop;

/// `tidegate dev`
#[derive(Debug, Clone, Args)]
pub struct DevArgs {
    /// What to serve: a plugin folder, or a folder of them; the plugin we stand in, or the `plugins` of the clone we stand in, if absent.
    #[arg(value_name = "DIR", conflicts_with = "plugins")]
    pub dir: Option<PathBuf>,
    #[command(flatten)]
    pub host: HostArgs,
    #[command(flatten)]
    pub ports: PortArgs,
    /// Which of the plugins to serve.
    #[arg(long, value_enum, default_value_t = DevProfile::Demo)]
    pub profile: DevProfile,
}

/// Which plugins `dev` serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DevProfile {
    /// All but the conformance fixtures, with the demo backend.
    Demo,
    /// The fixtures of the official MCP conformance suite, with authentication off.
    Conformance,
}

/// `tidegate dev`
pub fn run(args: &DevArgs) -> Result<ExitCode> {
    let mut config = configure(&args.host, Some(&args.ports))?;
    if !config.server.address.is_loopback() {
        bail!("`dev` lets everyone in, so it serves on loopback only, but `server.address` is {}", config.server.address);
    }
    refuse_to_be_reached(&config, "`dev`")?;
    let data = data_dir(&config);
    let plugins = args.dir.clone().or_else(|| args.host.plugins.clone()).map_or_else(workshop::find, Ok)?;
    config.plugins.path.clone_from(&plugins);
    if std::mem::take(&mut config.plugins.require_signatures) {
        eprintln!("note: `[plugins] require_signatures` is left aside: nobody has signed what `dev` has just built");
    }
    if config.policies.path.is_none() {
        // What stands beside the plugins, or in the only one, must be found before these are served from elsewhere. Or it comes yet.
        let own = Some(plugins.join("policies")).filter(|_| plugins.join("plugin.toml").exists());
        let there = own.clone().filter(|own| own.is_dir()).or_else(|| config.policy_folder());
        config.policies.path = there.or(own).or_else(|| Some(config.policies_beside()));
        config.policies.awaited = true;
    }
    let mut workshop = Workshop::open(plugins, args.profile, &data)?;
    let watch = rebuild::build_first(&mut workshop)?;
    config.plugins.path = workshop.out().to_owned();
    let _backends = backends::start(&workshop.plugins()?, &mut config, &data)?;

    let is_conformance = args.profile == DevProfile::Conformance;
    config.server.empty_catalogues = is_conformance;
    let telemetry = Telemetry::install(&config.telemetry)?;
    let watcher = Some(Watcher::remembering(telemetry.watcher()));
    // Whatever is edited is built first; what was built is then loaded at once, and whole.
    let options = Options {
        data,
        trust: Trust::Everyone,
        test_hooks: is_conformance,
        watcher,
        reload_on_hangup: false,
        watch_plugins: false,
    };
    runtime()?.block_on(until_stopped(&config, &options, telemetry.metrics(), |host, addresses| {
        greeting::print(host.pipeline(), addresses)?;
        rebuild::keep_building(watch, workshop, host.pipeline().clone())
    }))
}
