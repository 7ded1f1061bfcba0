//! The runs that are kept, most recently used ones within a budget of memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::run::Run;

/// A run of which one reader at a time can go on; none before it has begun.
pub(super) type SharedRun = Arc<futures::lock::Mutex<Option<Run>>>;

/// Runs by the number of their checkpoint.
pub(super) struct Runs {
    kept: Mutex<Kept>,
    /// In bytes.
    budget: usize,
}

#[derive(Default)]
struct Kept {
    runs: HashMap<usize, Slot>,
    memory: usize,
    /// Counts uses, to tell which was last.
    clock: u64,
}

#[derive(Default)]
struct Slot {
    run: SharedRun,
    memory: usize,
    used: u64,
}

impl Runs {
    pub(super) fn new(budget: usize) -> Self {
        Self { kept: Mutex::default(), budget }
    }

    /// The run at checkpoint `number` if it is kept.
    pub(super) fn get(&self, number: usize) -> Option<SharedRun> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clock = kept.clock.wrapping_add(1);
        let used = kept.clock;
        let slot = kept.runs.get_mut(&number)?;
        slot.used = used;
        Some(Arc::clone(&slot.run))
    }

    /// The run at checkpoint `number`, which may not have begun.
    pub(super) fn get_or_insert(&self, number: usize) -> SharedRun {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clock = kept.clock.wrapping_add(1);
        let used = kept.clock;
        let slot = kept.runs.entry(number).or_default();
        slot.used = used;
        Arc::clone(&slot.run)
    }

    /// Notes that the run at checkpoint `number` holds `memory` bytes now, and gives up those that
    /// were not used for the longest time until the budget is kept.
    pub(super) fn account(&self, number: usize, memory: usize) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(slot) = kept.runs.get_mut(&number) else { return };
        let before = std::mem::replace(&mut slot.memory, memory);
        kept.memory = kept.memory.saturating_sub(before).saturating_add(memory);
        while kept.memory > self.budget {
            let others = kept.runs.iter().filter(|(other, _)| **other != number);
            let Some(oldest) = others.min_by_key(|(_, slot)| slot.used).map(|(other, _)| *other) else {
                return;
            };
            let gone = kept.runs.remove(&oldest).map_or(0, |slot| slot.memory);
            kept.memory = kept.memory.saturating_sub(gone);
        }
    }
}
