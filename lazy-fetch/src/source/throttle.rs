//! A source that keeps a rate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::{StreamExt, stream};

use super::{BlobSource, ByteStream, FetchRequest};
use crate::sync::{Mutex, lock};
use crate::{Result, Runtime};

/// A [`BlobSource`] whose streams together give at most so many bytes per second: a share of a link that
/// others use too, or a model of a link in a test. To share a rate between blobs, share the limit with
/// [`also`](Self::also).
#[derive(Debug)]
pub struct Throttle {
    runtime: Arc<dyn Runtime>,
    inner: Arc<dyn BlobSource>,
    bytes_per_second: u64,
    /// When the bytes that were let through have had their time.
    free_at: Arc<Mutex<Option<Instant>>>,
}

impl Throttle {
    /// Lets at most `bytes_per_second` of `inner` through.
    pub fn new(runtime: Arc<dyn Runtime>, inner: Arc<dyn BlobSource>, bytes_per_second: u64) -> Self {
        Self { runtime, inner, bytes_per_second: bytes_per_second.max(1), free_at: Arc::default() }
    }

    /// Another source under the same limit.
    #[must_use]
    pub fn also(&self, inner: Arc<dyn BlobSource>) -> Self {
        let (runtime, free_at) = (Arc::clone(&self.runtime), Arc::clone(&self.free_at));
        Self { runtime, inner, bytes_per_second: self.bytes_per_second, free_at }
    }
}

#[async_trait]
impl BlobSource for Throttle {
    async fn fetch(&self, request: FetchRequest) -> Result<ByteStream> {
        let progress = request.progress.clone();
        let pieces = self.inner.fetch(request).await?;
        let (runtime, free_at, rate) =
            (Arc::clone(&self.runtime), Arc::clone(&self.free_at), self.bytes_per_second);
        Ok(Box::pin(stream::unfold(pieces, move |mut pieces| {
            let (runtime, free_at) = (Arc::clone(&runtime), Arc::clone(&free_at));
            let progress = progress.clone();
            async move {
                let piece = pieces.next().await?;
                if let Ok(bytes) = &piece {
                    let until = reserve(&free_at, runtime.now(), bytes.len() as u64, rate);
                    let _waiting = progress.wait();
                    runtime.sleep_until(until).await;
                }
                Some((piece, pieces))
            }
        })))
    }
}

/// Takes the time that `bytes` need, after all that was taken before; gives its end.
fn reserve(free_at: &Mutex<Option<Instant>>, now: Instant, bytes: u64, rate: u64) -> Instant {
    let took = Duration::from_secs_f64(bytes as f64 / rate as f64);
    let mut free_at = lock(free_at);
    let begin = free_at.map_or(now, |free_at| free_at.max(now));
    let end = begin.checked_add(took).unwrap_or(begin);
    *free_at = Some(end);
    end
}
