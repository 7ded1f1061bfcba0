//! What a source tells of a fetch while it has no bytes to give.
//!
//! A fetch from which nothing comes for a while is given up: its origin does not answer. But one that still waits
//! for its turn has not asked, and one that skips bytes nobody wants is not stuck. Both say so here.

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use futures::future::{Either, select};

use crate::Runtime;
use crate::sync::{Mutex, lock};

/// Signs of life of one fetch. Clones are the same fetch.
///
/// A source that neither queues nor skips has nothing to say.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Mutex<State>>);

/// A fetch waits for its turn until this is dropped.
#[derive(Debug)]
pub struct Waiting(Progress);

#[derive(Debug, Default)]
struct State {
    /// Queues that the fetch stands in.
    waiting: usize,
    /// How often something was said.
    signs: u64,
    /// Who wants to know when something is said.
    wakers: Vec<Waker>,
}

impl Progress {
    /// The fetch waits for its turn: until the result is dropped, the time is not held against the origin.
    #[must_use = "the wait ends when this is dropped"]
    pub fn wait(&self) -> Waiting {
        self.sign(|state| state.waiting = state.waiting.saturating_add(1));
        Waiting(self.clone())
    }

    /// Something has arrived that is not handed out.
    pub fn moved(&self) {
        self.sign(|_| {});
    }

    /// Completes when the fetch has been asking for `patience` without a sign of life.
    pub(crate) async fn stalled(&self, runtime: &dyn Runtime, patience: Duration) {
        loop {
            let (signs, is_waiting) = self.look();
            let until = runtime.now().checked_add(patience).filter(|_| !is_waiting);
            let silence = async {
                match until {
                    Some(until) => runtime.sleep_until(until).await,
                    None => pending().await,
                }
            };
            if let Either::Left(_) = select(pin!(silence), pin!(self.beyond(signs))).await {
                return;
            }
        }
    }

    /// `work`, in which this fetch waits while `other`, another fetch, does.
    #[cfg(feature = "http")]
    pub(crate) async fn following<T>(&self, other: &Self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            let (signs, is_waiting) = other.look();
            let _waiting = is_waiting.then(|| self.wait());
            if let Either::Left((done, _)) = select(work.as_mut(), pin!(other.beyond(signs))).await {
                return done;
            }
        }
    }

    /// Signs so far, and whether the fetch waits.
    pub(crate) fn look(&self) -> (u64, bool) {
        let state = lock(&self.0);
        (state.signs, state.waiting > 0)
    }

    fn sign(&self, change: impl FnOnce(&mut State)) {
        let mut state = lock(&self.0);
        change(&mut state);
        state.signs = state.signs.wrapping_add(1);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Completes with the next sign after `signs`.
    async fn beyond(&self, signs: u64) {
        poll_fn(|cx| {
            let mut state = lock(&self.0);
            if state.signs != signs {
                return Poll::Ready(());
            }
            state.wakers.retain(|waker| !waker.will_wake(cx.waker()));
            state.wakers.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.sign(|state| state.waiting = state.waiting.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::VirtualTime;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn seconds(time: &VirtualTime, seconds: u64) -> impl Future<Output = ()> {
        time.sleep_until(time.now() + Duration::from_secs(seconds))
    }

    /// When a fetch counts as stalled that does `work` meanwhile.
    fn stalled_after(work: impl AsyncFnOnce(&VirtualTime, &Progress)) -> u64 {
        let (time, progress) = (VirtualTime::new(), Progress::default());
        time.block_on(async {
            let stalled = async {
                progress.stalled(&time, PATIENCE).await;
                time.elapsed().as_secs()
            };
            futures::join!(stalled, work(&time, &progress)).0
        })
    }

    #[test]
    fn silence_is_a_stall() {
        assert_eq!(stalled_after(async |_, _| {}), 5);
    }

    #[test]
    fn time_in_a_queue_is_none() {
        let after = stalled_after(async |time, progress| {
            seconds(time, 2).await;
            let (one, two) = (progress.wait(), progress.wait());
            seconds(time, 20).await;
            drop(one);
            seconds(time, 20).await;
            drop(two);
        });
        assert_eq!(after, 2 + 20 + 20 + 5);
    }

    #[test]
    fn a_sign_of_life_starts_the_clock_again() {
        let after = stalled_after(async |time, progress| {
            for _ in 0..3 {
                seconds(time, 4).await;
                progress.moved();
            }
        });
        assert_eq!(after, 3 * 4 + 5);
    }

    #[test]
    #[cfg(feature = "http")]
    fn who_waits_for_another_fetch_waits_in_its_queues() {
        let after = stalled_after(async |time, progress| {
            let other = Progress::default();
            let work = async {
                let waiting = other.wait();
                seconds(time, 20).await;
                drop(waiting);
                seconds(time, 100).await;
            };
            progress.following(&other, work).await;
        });
        assert_eq!(after, 20 + 5);
    }
}
