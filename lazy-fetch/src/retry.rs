//! When to try again, and when to stop.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Error;

/// How often and how soon a failed request is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryOptions {
    /// Tries in a row that bring no byte before the fetch fails. A try that brings bytes starts the
    /// count again, so that a slow but living connection is used until the deadline.
    pub tries: u32,
    /// Upper end of the first wait; it doubles with each try.
    pub first_wait: Duration,
    /// Upper end of any wait that the origin did not ask for.
    pub longest_wait: Duration,
    /// The longest wait that the origin may ask for (`Retry-After`).
    pub longest_retry_after: Duration,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self {
            tries: 5,
            first_wait: Duration::from_millis(200),
            longest_wait: Duration::from_secs(5),
            longest_retry_after: Duration::from_secs(60),
        }
    }
}

impl RetryOptions {
    /// Sets [`tries`](Self::tries).
    #[must_use]
    pub fn with_tries(mut self, tries: u32) -> Self {
        self.tries = tries;
        self
    }

    /// Sets [`first_wait`](Self::first_wait).
    #[must_use]
    pub fn with_first_wait(mut self, wait: Duration) -> Self {
        self.first_wait = wait;
        self
    }

    /// The wait before the next try, after `failures` (at least 1) in a row.
    ///
    /// Full jitter: any time up to the doubling bound, so that readers who failed together do not
    /// come back together. What the origin asks for is a lower bound on top.
    pub(crate) fn wait(&self, failures: u32, error: &Error, jitter: &Jitter) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        let bound = self.first_wait.saturating_mul(1 << doublings).min(self.longest_wait);
        let asked = error.retry_after().unwrap_or_default().min(self.longest_retry_after);
        asked.saturating_add(jitter.up_to(bound))
    }
}

/// A source of jitter: SplitMix64, which needs no more than one counter and gives a repeatable run
/// for a given seed.
#[derive(Debug)]
pub(crate) struct Jitter(AtomicU64);

impl Jitter {
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self(AtomicU64::new(seed.unwrap_or_else(|| RandomState::new().hash_one(0))))
    }

    fn up_to(&self, bound: Duration) -> Duration {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        bound.mul_f64((z >> 11) as f64 / (1u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn waits(seed: u64, error: &Error) -> Vec<Duration> {
        let jitter = Jitter::new(Some(seed));
        (1..12).map(|failures| RetryOptions::default().wait(failures, error, &jitter)).collect()
    }

    #[test]
    fn waits_stay_below_a_doubling_bound_and_repeat_by_seed() {
        let error = Error::new(ErrorKind::Connection, "x");
        for seed in 0..200 {
            for (i, wait) in waits(seed, &error).into_iter().enumerate() {
                let bound = Duration::from_millis(200 << i).min(Duration::from_secs(5));
                assert!(wait <= bound, "{wait:?} > {bound:?}");
            }
        }
        assert_eq!(waits(7, &error), waits(7, &error));
        assert_ne!(waits(7, &error), waits(8, &error));
    }

    #[test]
    fn what_the_origin_asks_for_is_waited_within_reason() {
        let asks = |wait| Error::new(ErrorKind::RateLimited, "x").with_retry_after(Duration::from_secs(wait));
        assert!(waits(1, &asks(9)).iter().all(|wait| *wait >= Duration::from_secs(9)));
        assert!(waits(1, &asks(1 << 40)).iter().all(|wait| *wait <= Duration::from_secs(65)));
    }
}
