//! The small part of an async runtime that is used: tasks, a clock, and threads for file I/O.
//!
//! Time is an argument everywhere else in the crate; here is where it comes from. Tests run on a
//! virtual clock, and embedders with a runtime of their own implement four methods.

#[cfg(feature = "tokio")]
mod tokio;

use std::fmt;
use std::time::Instant;

use futures::channel::oneshot;
use futures::future::BoxFuture;

#[cfg(feature = "tokio")]
pub use self::tokio::TokioRuntime;
use crate::{Error, ErrorKind, Result};

/// Tasks, a clock and blocking jobs.
///
/// # Contract
///
/// * A spawned task runs to its end whether or not anybody waits for it, unless the runtime shuts
///   down: then the task is dropped, never leaked.
/// * [`now`](Self::now) never goes back, and a [`sleep_until`](Self::sleep_until) that is over means
///   that `now` has reached its deadline.
/// * A blocking job may take as long as a disk takes. It does not hold up tasks.
pub trait Runtime: Send + Sync + fmt::Debug {
    /// Runs `task` to its end, independently of the caller.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// Runs `job` where it may block.
    fn spawn_blocking(&self, job: Box<dyn FnOnce() + Send>);

    /// The time.
    fn now(&self) -> Instant;

    /// Completes at `deadline`.
    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()>;

    /// Whether the calling thread drives tasks, so that blocking it may stop what it waits for.
    fn in_async_context(&self) -> bool;
}

/// Runs `job` where it may block and gives its result.
pub(crate) async fn blocking<T: Send + 'static>(
    runtime: &dyn Runtime,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = oneshot::channel();
    runtime.spawn_blocking(Box::new(move || {
        // A caller that has gone away needs no result.
        let _ = sender.send(job());
    }));
    receiver.await.map_err(|_| Error::new(ErrorKind::Closed, "the runtime dropped a file job"))
}
