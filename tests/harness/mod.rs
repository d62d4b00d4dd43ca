//! What every test needs: built plugins, a demo backend, a host of its own on free ports with its own data folder.

mod backend;
mod failpoints;
mod foreign;
mod host;
mod journal;
mod load;
mod log;
mod plugins;
mod provider;
mod python;
mod receiver;
mod registry;
mod rpc;
mod scene;
mod versions;

pub use backend::Billing;
pub use failpoints::{CRASHES, FAULTS};
pub use foreign::foreign;
pub use host::{Host, Started, command, tidegate};
pub use journal::Figures;
pub use load::Habits;
pub use log::Log;
pub use plugins::{guest, plugins, workspace};
pub use provider::Provider;
pub use python::{TWIN, snake, twin};
pub use receiver::Receiver;
pub use registry::{Registry, USER};
pub use rpc::{Answer, Client, POLL_TOOL, PROTOCOL, until_back};
pub use scene::{Scene, seed};
pub use versions::{Version, save};
