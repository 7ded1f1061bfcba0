//! Events and counts for whatever recorder the program has installed.

use metrics::{counter, histogram};

use super::{Event, Observer};
use crate::{BlobId, Priority, Stats};

/// Passes on what happens to the [`metrics`] crate:
///
/// | metric | kind | label |
/// | --- | --- | --- |
/// | `lazy_fetch_read_seconds` | histogram, reads from memory aside | |
/// | `lazy_fetch_first_byte_seconds` | histogram | `priority` |
/// | `lazy_fetch_read_errors_total` | counter | `kind` |
/// | `lazy_fetch_tries_failed_total` | counter | `kind` |
/// | `lazy_fetch_…_total`, one for each of [`Stats::counts`] | counter, by [`publish`](Self::publish) | |
///
/// No metric has the blob as a label: a node sees more blobs than a database of metrics bears.
#[derive(Debug, Clone, Copy, Default)]
pub struct MetricsObserver;

impl MetricsObserver {
    /// Sets a counter for each of [`Stats::counts`]: of all blobs since the start, those closed meanwhile
    /// included, as counters do not sink.
    pub fn publish(stats: &Stats) {
        for (name, count) in stats.counts() {
            counter!(format!("lazy_fetch_{name}_total")).absolute(count);
        }
    }
}

impl Observer for MetricsObserver {
    fn observe(&self, _blob: &BlobId, event: &Event<'_>) {
        match event {
            Event::Read { took, error, .. } => {
                histogram!("lazy_fetch_read_seconds").record(*took);
                if let Some(error) = error {
                    counter!("lazy_fetch_read_errors_total", "kind" => format!("{:?}", error.kind()))
                        .increment(1);
                }
            }
            Event::FirstByte { priority, took, .. } => {
                let priority = match priority {
                    Priority::OnDemand => "demand",
                    Priority::Prefetch => "prefetch",
                    Priority::Background => "background",
                };
                histogram!("lazy_fetch_first_byte_seconds", "priority" => priority).record(*took);
            }
            Event::Retry { error, .. } => {
                counter!("lazy_fetch_tries_failed_total", "kind" => format!("{:?}", error.kind()))
                    .increment(1);
            }
            // Counts that `publish` sets.
            Event::Hedge { .. } | Event::StoreFailure { .. } | Event::Mismatch { .. } => {}
        }
    }
}
