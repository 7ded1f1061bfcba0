//! The end of verbs that serve.

use std::io::Result;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT and SIGTERM, which from now on end only what waits for them.
#[derive(Debug)]
pub(crate) struct Interrupted {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupted {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
