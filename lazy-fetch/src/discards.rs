//! What proved wrong must not come back from a task that still holds it.
//!
//! A chunk is put into the lower stores after its readers have it. When one of them finds it wrong and
//! discards it meanwhile, it is gone from the stores that have it and about to enter the others. So whoever
//! carries a chunk to a store looks whether something of the blob was discarded since it got the chunk: before it
//! puts, to spare the work, and after it, because the discard may have come in between. A discard is counted before
//! it removes anything, so one of the two sees the other.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use crate::BlobId;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, lock};

/// The counts of all blobs that are open.
#[derive(Debug, Default)]
pub(crate) struct Discards(Mutex<HashMap<BlobId, Weak<AtomicU64>>>);

/// How often something of a blob was discarded. Blobs of one id share it.
#[derive(Debug, Clone)]
pub(crate) struct DiscardCount(Arc<AtomicU64>);

impl Discards {
    pub(crate) fn of(&self, blob: &BlobId) -> DiscardCount {
        let mut counts = lock(&self.0);
        if let Some(count) = counts.get(blob).and_then(Weak::upgrade) {
            return DiscardCount(count);
        }
        counts.retain(|_, count| count.strong_count() > 0);
        let count = Arc::default();
        counts.insert(blob.clone(), Arc::downgrade(&count));
        DiscardCount(count)
    }
}

impl DiscardCount {
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_of_one_id_share_a_count_and_closed_ones_take_no_room() {
        let (discards, id) = (Discards::default(), |i: usize| BlobId::new(format!("b{i}")).unwrap());
        let (one, same, other) = (discards.of(&id(0)), discards.of(&id(0)), discards.of(&id(1)));
        one.add();
        assert_eq!((one.get(), same.get(), other.get()), (1, 1, 0));
        for i in 2..100 {
            discards.of(&id(i));
        }
        assert!(lock(&discards.0).len() <= 3);
    }
}
