//! How urgent a fetch is, and that this may change on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// How urgent a fetch is. Later variants are more urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Fills the cache when nothing else is to do.
    Background,
    /// Expected to be read soon.
    Prefetch,
    /// A reader waits for it.
    OnDemand,
}

/// The priority of a fetch that is under way. It rises when a reader comes to wait for what was fetched
/// ahead, and never sinks. Clones are the same urgency.
#[derive(Debug, Clone)]
pub struct Urgency(Arc<AtomicU8>);

impl Urgency {
    /// An urgency that starts as `priority`.
    pub fn new(priority: Priority) -> Self {
        Self(Arc::new(AtomicU8::new(priority as u8)))
    }

    /// The priority now.
    pub fn get(&self) -> Priority {
        match self.0.load(Ordering::Relaxed) {
            0 => Priority::Background,
            1 => Priority::Prefetch,
            _ => Priority::OnDemand,
        }
    }

    /// Raises it to `priority`, if that is more urgent.
    pub fn raise(&self, priority: Priority) {
        self.0.fetch_max(priority as u8, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urgency_rises_for_all_who_hold_it_and_never_sinks() {
        let urgency = Urgency::new(Priority::Background);
        let held = urgency.clone();
        for priority in [Priority::Background, Priority::Prefetch, Priority::OnDemand] {
            held.raise(priority);
            assert_eq!(urgency.get(), priority);
        }
        held.raise(Priority::Background);
        assert_eq!(urgency.get(), Priority::OnDemand);
    }
}
