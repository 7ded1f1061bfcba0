//! Reads for embedders without async.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::{Error, ErrorKind, Result};

/// A [`Blob`](crate::Blob) whose reads block the calling thread.
///
/// The fetches still run on the runtime of the cache, on its threads. A call from a thread that
/// drives tasks could wait for itself and is refused.
#[derive(Debug, Clone)]
pub struct Blob(crate::Blob);

impl Blob {
    /// Takes a blob. The runtime of its cache must be driven by other threads than those that read.
    pub fn new(blob: crate::Blob) -> Self {
        Self(blob)
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.0.size()
    }

    /// Fills `buf` with the bytes that start at `offset`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AsyncContext`] in a thread that drives tasks (with tokio also inside
    /// `spawn_blocking`; there, use the async read and `Handle::block_on`). Otherwise as
    /// [`Blob::read_at`](crate::Blob::read_at).
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        if self.0.runtime().in_async_context() {
            return Err(Error::new(ErrorKind::AsyncContext, "a blocking read inside an async context"));
        }
        let timeout = self.0.read_timeout().saturating_add(GRACE);
        block_on(self.0.read_at(buf, offset), timeout).unwrap_or_else(|| {
            Err(Error::new(ErrorKind::DeadlineExceeded, "the runtime of the cache is not being driven"))
        })
    }
}

/// Parks the thread until `future` is ready; `None` after `timeout`.
fn block_on<T>(future: impl Future<Output = T>, timeout: Duration) -> Option<T> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    let start = Instant::now();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
        thread::park_timeout(timeout.checked_sub(start.elapsed())?);
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The read's own deadline comes first wherever the runtime's clock runs.
const GRACE: Duration = Duration::from_secs(1);
