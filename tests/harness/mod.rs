//! What every test needs: built plugins, a demo backend, a host of its own on free ports with its own data folder.

mod backend;
mod foreign;
mod host;
mod plugins;
mod provider;
mod rpc;

pub use backend::Billing;
pub use foreign::foreign;
pub use host::{Host, Started, tidegate};
pub use plugins::{guest, plugins, workspace};
pub use provider::Provider;
pub use rpc::{Answer, Client};
