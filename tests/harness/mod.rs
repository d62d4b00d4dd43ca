//! What every test needs: built plugins, a demo backend, a host of its own on free ports with its own data folder.

mod backend;
mod callers;
mod failpoints;
mod foreign;
mod host;
mod journal;
mod language;
mod load;
mod log;
mod plugins;
mod provider;
mod python;
mod ran;
mod receiver;
mod registry;
mod rpc;
mod scene;
mod versions;

pub use backend::Billing;
pub use callers::{Calls, Over, while_calling};
pub use failpoints::{CRASHES, FAULTS};
pub use foreign::{foreign, report};
pub use host::{Host, Started, command, tidegate};
pub use journal::Figures;
pub use language::{Language, PYTHON, RUST, edit};
pub use load::Habits;
pub use log::{Log, records};
pub use plugins::{guest, plugins, target, workspace};
pub use provider::Provider;
pub use python::{TWIN, snake, twin};
pub use ran::Ran;
pub use receiver::Receiver;
pub use registry::{Registry, USER};
pub use rpc::{Answer, Client, POLL_TOOL, PROTOCOL, until_back};
pub use scene::{Scene, seed};
pub use versions::{Version, save};
