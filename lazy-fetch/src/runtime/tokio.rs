//! tokio as the runtime.

use std::time::Instant;

use futures::future::BoxFuture;
use tokio::runtime::Handle;

use super::Runtime;
use crate::{Error, ErrorKind, Result};

/// A tokio runtime. Its clock is tokio's, so that `tokio::time::pause` works in tests.
#[derive(Debug, Clone)]
pub struct TokioRuntime(Handle);

impl TokioRuntime {
    /// The runtime that the caller runs in.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] outside a tokio runtime.
    pub fn current() -> Result<Self> {
        Handle::try_current()
            .map(Self)
            .map_err(|e| Error::new(ErrorKind::InvalidInput, "no tokio runtime here").with_source(e))
    }
}

impl Runtime for TokioRuntime {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.0.spawn(task);
    }

    fn spawn_blocking(&self, job: Box<dyn FnOnce() + Send>) {
        self.0.spawn_blocking(job);
    }

    fn now(&self) -> Instant {
        let _inside = self.0.enter();
        tokio::time::Instant::now().into_std()
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        // A timer belongs to the runtime it is made in; the caller may be outside any.
        let _inside = self.0.enter();
        Box::pin(tokio::time::sleep_until(deadline.into()))
    }

    /// True in every thread that knows a tokio runtime, threads of `spawn_blocking` included: tokio
    /// gives no way to tell those apart.
    fn in_async_context(&self) -> bool {
        Handle::try_current().is_ok()
    }
}
