//! A source that is far away.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{BlobSource, ByteStream, FetchRequest};
use crate::{Result, Runtime};

/// A [`BlobSource`] that answers each request a round trip later: a model of distance, for tests and for
/// trying out how a workload would fare elsewhere.
#[derive(Debug)]
pub struct Latency {
    runtime: Arc<dyn Runtime>,
    inner: Arc<dyn BlobSource>,
    round_trip: Duration,
}

impl Latency {
    /// Delays each answer of `inner` by `round_trip`.
    pub fn new(runtime: Arc<dyn Runtime>, inner: Arc<dyn BlobSource>, round_trip: Duration) -> Self {
        Self { runtime, inner, round_trip }
    }
}

#[async_trait]
impl BlobSource for Latency {
    async fn fetch(&self, request: FetchRequest) -> Result<ByteStream> {
        let now = self.runtime.now();
        self.runtime.sleep_until(now.checked_add(self.round_trip).unwrap_or(now)).await;
        self.inner.fetch(request).await
    }
}
