//! How urgent a fetch is, and that this may change on the way.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use crate::sync::atomic::{AtomicU8, Ordering};
use crate::sync::{Mutex, lock};

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
pub struct Urgency(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    priority: AtomicU8,
    /// Who wants to know when it rises.
    wakers: Mutex<Vec<Waker>>,
}

impl Urgency {
    /// An urgency that starts as `priority`.
    pub fn new(priority: Priority) -> Self {
        Self(Arc::new(Shared { priority: AtomicU8::new(priority as u8), wakers: Mutex::default() }))
    }

    /// The priority now.
    pub fn get(&self) -> Priority {
        match self.0.priority.load(Ordering::SeqCst) {
            0 => Priority::Background,
            1 => Priority::Prefetch,
            _ => Priority::OnDemand,
        }
    }

    /// Raises it to `priority`, if that is more urgent.
    pub fn raise(&self, priority: Priority) {
        if self.0.priority.fetch_max(priority as u8, Ordering::SeqCst) < priority as u8 {
            let wakers = std::mem::take(&mut *lock(&self.0.wakers));
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    /// Completes when it is above `priority`: what waits in a queue looks again at its place then.
    pub async fn above(&self, priority: Priority) {
        poll_fn(|cx| {
            let mut wakers = lock(&self.0.wakers);
            if self.get() > priority {
                return Poll::Ready(());
            }
            wakers.retain(|waker| !waker.will_wake(cx.waker()));
            wakers.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Wake};

    use super::*;

    #[derive(Default)]
    struct Count(std::sync::atomic::AtomicU64);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn who_waits_for_a_rise_is_woken_by_it_and_only_by_it() {
        let (urgency, count) = (Urgency::new(Priority::Prefetch), Arc::new(Count::default()));
        let waker = Waker::from(Arc::clone(&count));
        let mut above = pin!(urgency.above(Priority::Prefetch));
        let mut poll = || above.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        assert!(!poll() && !poll());
        urgency.raise(Priority::Background);
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
        urgency.raise(Priority::OnDemand);
        assert_eq!((count.0.load(Ordering::SeqCst), poll()), (1, true));
    }

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
