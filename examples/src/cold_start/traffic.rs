//! What comes over the link while a way runs.

use std::time::{Duration, Instant};

use registry::Server;
use tokio::sync::oneshot;

/// Watches a server until it is stopped.
pub(super) struct Traffic<'a> {
    server: &'a Server,
    begun: Instant,
    requests: usize,
}

impl<'a> Traffic<'a> {
    /// Counts from now on.
    pub(super) fn of(server: &'a Server) -> Self {
        Self { server, begun: Instant::now(), requests: server.log().len() }
    }

    pub(super) fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// Requests and bytes so far.
    pub(super) fn so_far(&self) -> (usize, u64) {
        let log = self.server.log();
        let new = log.get(self.requests..).unwrap_or_default();
        (new.len(), new.iter().map(|request| request.body_bytes).sum())
    }

    /// Notes the bytes at intervals until `stop`.
    pub(super) async fn watch(&self, mut stop: oneshot::Receiver<()>) -> Vec<(f64, u64)> {
        let mut timeline = vec![(0.0, 0)];
        while tokio::time::timeout(INTERVAL, &mut stop).await.is_err() {
            timeline.push((self.seconds(), self.so_far().1));
        }
        timeline.push((self.seconds(), self.so_far().1));
        timeline
    }
}

const INTERVAL: Duration = Duration::from_millis(50);
