//! When to ask a second time for what does not come.
//!
//! A request that takes longer than most others of its blob may be stuck behind a slow server; a second
//! one often overtakes it. It is sent for readers only, after the time that a high percentile of requests
//! needed to their first byte, and for one request in twenty at most, so that an origin which is slow as a
//! whole is not asked twice for everything.

use std::time::Duration;

use crate::source::Priority;
use crate::stats::Counts;

/// How long to wait for the first byte before asking again; `None`: as long as it takes.
pub(crate) fn patience(percentile: Option<u8>, priority: Priority, counts: &Counts) -> Option<Duration> {
    let quantile = f64::from(percentile?.min(100)) / 100.0;
    let has_budget = counts.hedges.get().saturating_mul(SHARE) < counts.requests.get();
    if priority < Priority::OnDemand || !has_budget {
        return None;
    }
    let latency = counts.first_byte_latency.snapshot();
    if latency.count() < SAMPLES {
        return None;
    }
    latency.quantile(quantile).map(|patience| patience.max(SHORTEST))
}

/// Requests for each second one.
const SHARE: u64 = 20;
/// Fewer say nothing about a high percentile.
const SAMPLES: u64 = 20;
/// Below this a second request brings more load than it saves.
const SHORTEST: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_needs_samples_a_reader_and_budget() {
        let counts = Counts::default();
        let ask = |priority| patience(Some(95), priority, &counts);
        counts.requests.add(100);
        assert_eq!(ask(Priority::OnDemand), None, "no samples");
        (0..95).for_each(|_| counts.first_byte_latency.add(Duration::from_millis(30)));
        (0..5).for_each(|_| counts.first_byte_latency.add(Duration::from_secs(3)));
        let found = ask(Priority::OnDemand).unwrap();
        assert!((30..40).contains(&found.as_millis()), "{found:?}");
        assert_eq!(ask(Priority::Prefetch), None);
        assert_eq!(patience(None, Priority::OnDemand, &counts), None);
        counts.hedges.add(5);
        assert_eq!(ask(Priority::OnDemand), None, "five of a hundred is enough");
    }
}
