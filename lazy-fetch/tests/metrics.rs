//! What a cache tells arrives at the recorder of the program.

#![cfg(feature = "metrics")]

#[path = "support/blob_under_test.rs"]
mod blob_under_test;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use blob_under_test::{content, id, options};
use lazy_fetch::conformance::{Fault, FaultySource, VirtualTime};
use lazy_fetch::{Cache, Error, ErrorKind, MemorySource, MetricsObserver};
use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    with_local_recorder,
};

/// Keeps counters, and how many values each histogram got.
#[derive(Default)]
struct Kept(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

struct Values(Arc<AtomicU64>);

impl HistogramFn for Values {
    fn record(&self, seconds: f64) {
        assert!((0.0..60.0).contains(&seconds));
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Kept {
    fn of(&self, key: &Key) -> Arc<AtomicU64> {
        let labels: String = key.labels().map(|l| format!(" {}={}", l.key(), l.value())).collect();
        self.0.lock().unwrap().entry(format!("{}{labels}", key.name())).or_default().clone()
    }

    fn get(&self, name: &str) -> u64 {
        self.0.lock().unwrap().get(name).map_or(0, |value| value.load(Ordering::Relaxed))
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.of(key))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Values(self.of(key))))
    }
}

#[test]
fn reads_tries_and_counts_are_recorded() {
    let (time, kept) = (VirtualTime::new(), Kept::default());
    let busy = || Fault::Refuse(Error::new(ErrorKind::RateLimited, "busy"));
    let gone = Fault::Refuse(Error::new(ErrorKind::NotFound, "gone"));
    let source = FaultySource::new(Arc::new(time.clone()), Arc::new(MemorySource::new(content(100_000))))
        .with_faults([busy(), busy(), gone]);
    let cache = Cache::builder(Arc::new(time.clone()))
        .options(options())
        .observer(Arc::new(MetricsObserver))
        .build()
        .unwrap();
    let blob = cache.open(id(), 100_000, Arc::new(source));
    with_local_recorder(&kept, || {
        time.block_on(blob.read_at(&mut [0; 10], 0)).unwrap_err();
        time.block_on(blob.read_at(&mut [0; 10], 0)).unwrap();
        time.run_until_idle();
        MetricsObserver::publish(&blob.stats());
    });
    assert_eq!(kept.get("lazy_fetch_tries_failed_total kind=RateLimited"), 2);
    assert_eq!(kept.get("lazy_fetch_read_errors_total kind=NotFound"), 1);
    assert_eq!(kept.get("lazy_fetch_read_seconds"), 2);
    assert_eq!(kept.get("lazy_fetch_first_byte_seconds priority=demand"), 1);
    assert_eq!(kept.get("lazy_fetch_bytes_wanted_total"), 20);
    assert_eq!(kept.get("lazy_fetch_requests_total"), blob.stats().requests);
    assert_eq!(blob.stats().counts().count(), 12, "each has a counter of its own");
}
