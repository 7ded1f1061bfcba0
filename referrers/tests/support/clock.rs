//! A clock that jumps over waits, so that tests of waiting take no time.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::sync::Mutex;
use std::time::{Duration, Instant};

use referrers::Clock;

/// Whoever sleeps on it moves it on.
#[derive(Debug)]
pub struct JumpingClock {
    start: Instant,
    now: Mutex<Instant>,
}

impl JumpingClock {
    pub fn new() -> Self {
        let start = Instant::now();
        Self { start, now: Mutex::new(start) }
    }

    /// How far it has come.
    pub fn elapsed(&self) -> Duration {
        self.now() - self.start
    }

    pub fn advance(&self, by: Duration) {
        *self.now.lock().unwrap() += by;
    }
}

#[async_trait::async_trait]
impl Clock for JumpingClock {
    fn now(&self) -> Instant {
        *self.now.lock().unwrap()
    }

    async fn sleep_until(&self, deadline: Instant) {
        {
            let mut now = self.now.lock().unwrap();
            *now = deadline.max(*now);
        }
        tokio::task::yield_now().await;
    }
}
