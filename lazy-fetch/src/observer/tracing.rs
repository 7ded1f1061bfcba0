//! Events as spans' neighbours: one line of `tracing` for each.

use tracing::{debug, warn};

use super::{Event, Observer};
use crate::BlobId;

/// Passes events on to [`tracing`]: failures as warnings, the rest at debug level, under the target
/// `lazy_fetch`.
#[derive(Debug, Clone, Copy, Default)]
pub struct TracingObserver;

impl Observer for TracingObserver {
    fn observe(&self, blob: &BlobId, event: &Event<'_>) {
        match event {
            Event::Read { range, took, error: None } => {
                debug!(target: TARGET, %blob, ?range, ?took, "read");
            }
            Event::Read { took, error: Some(error), .. } => {
                warn!(target: TARGET, ?took, %error, "read failed");
            }
            Event::FirstByte { range, priority, took } => {
                debug!(target: TARGET, %blob, ?range, ?priority, ?took, "first byte");
            }
            Event::Retry { range, error, wait } => {
                warn!(target: TARGET, %blob, ?range, %error, ?wait, "trying again");
            }
            Event::Hedge { range, after } => {
                debug!(target: TARGET, %blob, ?range, ?after, "asking a second time");
            }
            Event::StoreFailure { error } => {
                warn!(target: TARGET, %blob, %error, "going on without a store");
            }
            Event::Mismatch { range } => {
                warn!(target: TARGET, %blob, ?range, "bytes do not match their digest");
            }
        }
    }
}

const TARGET: &str = "lazy_fetch";
