//! The `tidegate` binary: parse, configure, run, and turn what went wrong into words.

mod admission;
mod app;
mod auth;
mod cli;
mod config;
mod ledger;
mod model;
mod outbound;
mod pipeline;
mod policy;
mod registry;
mod sandbox;
mod server;
mod store;
mod telemetry;

use std::process::ExitCode;

use clap::Parser as _;

/// A call allocates in hundreds of small pieces on several threads; the system's allocator took a sixth of its time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use cli::{Cli, PluginVerb, Verb};

fn main() -> ExitCode {
    // Does nothing but in the binary that tests drive: there `FAILPOINTS` says what fails.
    let _failpoints = fail::has_failpoints().then(fail::FailScenario::setup);
    let result = match Cli::parse().verb {
        Verb::Dev(args) => cli::dev::run(&args),
        Verb::Serve(args) => cli::serve::serve(&args),
        Verb::Run(args) => cli::serve::run(&args),
        Verb::Call(args) => cli::call::run(&args),
        Verb::Calls(verb) => cli::calls::run(&verb),
        Verb::Plugin(PluginVerb::List(args)) => cli::plugin::list(&args),
        Verb::Plugin(PluginVerb::Inspect(args)) => cli::plugin::inspect(&args),
        Verb::Plugin(PluginVerb::Reload(args)) => cli::reload::run(&args),
        Verb::Plugin(PluginVerb::Status(args)) => cli::reload::status(&args),
        Verb::Plugin(PluginVerb::Install(args)) => cli::plugin::install(&args),
        Verb::Plugin(PluginVerb::Diff(args)) => cli::plugin::diff(&args),
        Verb::Plugin(PluginVerb::Rollback(args)) => cli::plugin::roll_back(&args),
        Verb::Plugin(PluginVerb::Remove(args)) => cli::plugin::remove(&args),
        Verb::Plugin(PluginVerb::Build(args)) => cli::build::run(&args).map(|()| ExitCode::SUCCESS),
        Verb::Plugin(PluginVerb::Keygen(args)) => cli::plugin::sign::keygen(&args),
        Verb::Plugin(PluginVerb::Sign(args)) => cli::plugin::sign::sign(&args),
        Verb::Plugin(PluginVerb::Verify(args)) => cli::plugin::verify::run(&args),
        Verb::Plugin(PluginVerb::Pack(args)) => cli::plugin::ship::pack(&args),
        Verb::Plugin(PluginVerb::Push(args)) => cli::plugin::ship::push(&args),
        Verb::Policy(verb) => cli::policy::run(&verb),
        Verb::Audit(verb) => cli::audit::run(&verb),
        Verb::Top(args) => cli::top::run(&args),
        Verb::Bench(args) => cli::bench::run(&args),
        Verb::Doctor(args) => cli::doctor::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {}", sentence(&error));
        ExitCode::FAILURE
    })
}

/// The error and its causes as one line, without saying anything twice: many errors already print their source.
fn sentence(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |line, cause| match line.contains(&cause) {
        true => line,
        false if line.is_empty() => cause,
        false => format!("{line}: {cause}"),
    })
}
