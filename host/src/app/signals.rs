//! The signals that ask a host to stop.

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT and SIGTERM, as requests to drain and stop.
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// Listens from now on: made before anybody is told that the host serves, so that no signal ends it the hard way.
    ///
    /// # Errors
    /// The signals can't be listened to.
    pub fn listen() -> Result<Self> {
        let interrupt = signal(SignalKind::interrupt()).context("can't listen for SIGINT")?;
        let terminate = signal(SignalKind::terminate()).context("can't listen for SIGTERM")?;
        Ok(Self { interrupt, terminate })
    }

    /// Completes when either has arrived.
    pub async fn arrive(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
