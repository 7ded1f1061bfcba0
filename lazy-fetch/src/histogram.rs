//! How long things take, in buckets.
//!
//! Four buckets to each doubling, from a microsecond to two minutes: a quantile is at most a quarter too
//! high, and a histogram takes less than a kilobyte.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Durations, counted by their length. A snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Empty, or one count for each bucket.
    counts: Vec<u64>,
}

impl Histogram {
    /// How many durations it holds.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// A duration that the part `q` (0 to 1) of all do not exceed; `None` of none.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let count = self.count();
        let rank = ((count as f64 * q.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut below = 0u64;
        self.buckets().find_map(|(upper, count)| {
            below = below.saturating_add(count);
            (below >= rank).then_some(upper)
        })
    }

    /// Upper end (exclusive) and count of each bucket, ascending. The last one holds whatever is longer,
    /// too.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        self.counts.iter().enumerate().map(|(i, count)| (upper(i), *count))
    }

    /// Adds the durations of `other`.
    #[must_use]
    pub fn merged(mut self, other: &Self) -> Self {
        if self.counts.is_empty() {
            return other.clone();
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine = mine.saturating_add(*theirs);
        }
        self
    }
}

/// A histogram that many tasks add to.
#[derive(Debug)]
pub(crate) struct Recorder([AtomicU64; BUCKETS]);

impl Recorder {
    pub(crate) fn add(&self, duration: Duration) {
        if let Some(count) = self.0.get(bucket(duration)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn snapshot(&self) -> Histogram {
        let counts: Vec<u64> = self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        if counts.iter().all(|count| *count == 0) { Histogram::default() } else { Histogram { counts } }
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; BUCKETS])
    }
}

fn bucket(duration: Duration) -> usize {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let Some(doublings) = micros.checked_ilog2().filter(|doublings| *doublings >= 2) else {
        return micros as usize;
    };
    let quarter = (micros >> doublings.saturating_sub(2)) & 3;
    let first = doublings.saturating_sub(1).saturating_mul(4);
    (first as usize).saturating_add(quarter as usize).min(BUCKETS.saturating_sub(1))
}

fn upper(bucket: usize) -> Duration {
    let (doublings, quarter) = ((bucket / 4).saturating_add(1), bucket % 4);
    let micros = match doublings {
        1 => (bucket as u64).saturating_add(1),
        _ => (quarter as u64).saturating_add(5) << doublings.saturating_sub(2).min(60),
    };
    Duration::from_micros(micros)
}

/// Up to 2^27 µs.
const BUCKETS: usize = 26 * 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(micros: impl IntoIterator<Item = u64>) -> Histogram {
        let recorder = Recorder::default();
        micros.into_iter().for_each(|micros| recorder.add(Duration::from_micros(micros)));
        recorder.snapshot()
    }

    #[test]
    fn quantiles_are_at_most_a_quarter_too_high() {
        let histogram = of(1..=1000);
        for q in [0.01, 0.5, 0.95, 1.0] {
            let (exact, found) = (q * 1000.0, histogram.quantile(q).unwrap().as_micros() as f64);
            assert!((exact..=exact * 1.25 + 1.0).contains(&found), "{q}: {found}");
        }
        assert_eq!((of([]).quantile(0.5), of([]).count(), histogram.count()), (None, 0, 1000));
    }

    #[test]
    fn whatever_is_too_long_is_in_the_last_bucket() {
        let histogram = of([u64::MAX, 1 << 40]);
        assert_eq!(histogram.buckets().last().unwrap().1, 2);
    }

    #[test]
    fn merging_adds() {
        let merged = of([1, 100]).merged(&of([100, 5000]));
        assert_eq!(merged, of([1, 100, 100, 5000]));
        assert_eq!(Histogram::default().merged(&merged), merged);
        assert_eq!(merged.clone().merged(&Histogram::default()), merged);
    }

    proptest! {
        #[test]
        fn a_duration_is_below_the_upper_end_of_its_bucket_and_not_below_that_of_the_one_before(
            micros in 0u64..1 << 26,
        ) {
            let (duration, at) = (Duration::from_micros(micros), bucket(Duration::from_micros(micros)));
            prop_assert!(duration < upper(at));
            prop_assert!(at == 0 || duration >= upper(at - 1));
        }
    }
}
