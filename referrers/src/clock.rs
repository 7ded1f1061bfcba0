//! Time: where waits and lifetimes come from.

use std::fmt;
use std::time::Instant;

use async_trait::async_trait;

/// A clock that waits between tries, lifetimes of tokens and cached answers, and watches go by.
///
/// Time limits of single network operations are not its business: they go by tokio's timers, so that a
/// clock that jumps over waits does not cut connections off.
///
/// # Contract
///
/// [`now`](Self::now) never goes back, and once [`sleep_until`](Self::sleep_until) is over it has reached
/// the deadline.
#[async_trait]
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time.
    fn now(&self) -> Instant;

    /// Completes at `deadline`.
    async fn sleep_until(&self, deadline: Instant);
}

/// Tokio's clock, which stands still and jumps in a test that pauses it.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioClock;

#[async_trait]
impl Clock for TokioClock {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    async fn sleep_until(&self, deadline: Instant) {
        tokio::time::sleep_until(deadline.into()).await;
    }
}
