//! Gates: how many requests a host gets at once, and when it wants none.
//!
//! A host that says "too many requests" means all of them, so everybody waits, and afterwards fewer pass at
//! once: half as many after each such answer, and one more after each round of good ones.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::Clock;

/// The gates of all hosts.
#[derive(Debug, Default)]
pub(crate) struct Gates(Mutex<HashMap<String, Arc<Gate>>>);

#[derive(Debug)]
struct Gate {
    state: Mutex<State>,
    /// Wakes one of those who wait for room.
    room: Notify,
}

#[derive(Debug)]
struct State {
    /// Nobody passes before.
    closed_until: Option<Instant>,
    /// How many may be inside.
    limit: f64,
    inside: u32,
}

/// A request that is inside; dropping it makes room.
#[derive(Debug)]
pub(crate) struct Passage(Arc<Gate>);

/// Why a request did not pass in time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// The host wants no requests for that long.
    Closed(Duration),
    /// Others were inside for all the time.
    Full,
}

impl Gates {
    /// Waits until `host` wants a request.
    pub(crate) async fn pass(
        &self,
        host: &str,
        clock: &dyn Clock,
        deadline: Option<Instant>,
    ) -> Result<Passage, Late> {
        let gate = self.gate(host);
        loop {
            let now = clock.now();
            let closed_until = {
                let mut state = gate.lock();
                state.closed_until = state.closed_until.filter(|until| now < *until);
                if state.closed_until.is_none() && f64::from(state.inside) < state.limit.floor() {
                    state.inside = state.inside.saturating_add(1);
                    // There may be room for more than one.
                    gate.room.notify_one();
                    drop(state);
                    return Ok(Passage(gate));
                }
                state.closed_until
            };
            let left = deadline.map(|deadline| deadline.saturating_duration_since(now));
            match closed_until {
                Some(until) if deadline.is_some_and(|deadline| until >= deadline) => {
                    return Err(Late::Closed(until.saturating_duration_since(now)));
                }
                Some(until) => clock.sleep_until(until).await,
                None => match left {
                    Some(left) => {
                        let room = tokio::time::timeout(left, gate.room.notified()).await;
                        room.map_err(|_| Late::Full)?;
                    }
                    None => gate.room.notified().await,
                },
            }
        }
    }

    fn gate(&self, host: &str) -> Arc<Gate> {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get(host) {
            return Arc::clone(gate);
        }
        // A gate that is in use lives on with those inside.
        if gates.len() >= MAX_HOSTS {
            gates.clear();
        }
        let state = State { closed_until: None, limit: MOST_INSIDE, inside: 0 };
        let gate = Arc::new(Gate { state: Mutex::new(state), room: Notify::new() });
        gates.insert(host.to_owned(), Arc::clone(&gate));
        gate
    }
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Passage {
    /// The host wants nothing until `until`, and less afterwards.
    pub(crate) fn close(&self, until: Instant) {
        let mut state = self.0.lock();
        state.closed_until = Some(state.closed_until.map_or(until, |held| held.max(until)));
        state.limit = (state.limit / 2.0).max(1.0);
    }

    /// The host did what it was asked.
    pub(crate) fn succeeded(&self) {
        let mut state = self.0.lock();
        state.limit = (state.limit + 1.0 / state.limit).min(MOST_INSIDE);
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.inside = state.inside.saturating_sub(1);
        self.0.room.notify_one();
    }
}

/// What registries bear from one client.
const MOST_INSIDE: f64 = 16.0;
const MAX_HOSTS: usize = 1024;

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::TokioClock;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_closed_gate_holds_everyone_until_it_opens() {
        let gates = Gates::default();
        let start = TokioClock.now();
        let passage = gates.pass("h", &TokioClock, None).await.unwrap();
        passage.close(start + 3 * SECOND);
        passage.close(start + SECOND);
        gates.pass("other", &TokioClock, None).await.unwrap();
        let late = gates.pass("h", &TokioClock, Some(start + SECOND)).await.unwrap_err();
        assert_eq!(late, Late::Closed(3 * SECOND));
        assert_eq!(TokioClock.now(), start);
        gates.pass("h", &TokioClock, None).await.unwrap();
        assert!(TokioClock.now() >= start + 3 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_pass_at_once_and_one_more_for_each_that_leaves() {
        let gates = Gates::default();
        let pass = || gates.pass("h", &TokioClock, None);
        let mut inside: Vec<_> = futures::future::join_all((0..16).map(|_| pass())).await;
        assert!(pass().now_or_never().is_none());
        let late = gates.pass("h", &TokioClock, Some(TokioClock.now() + SECOND)).await.unwrap_err();
        assert_eq!(late, Late::Full);
        let (mut one, mut two) = (Box::pin(pass()), Box::pin(pass()));
        assert!(futures::poll!(&mut one).is_pending() && futures::poll!(&mut two).is_pending());
        inside.truncate(14);
        let passed = futures::join!(one, two);
        assert!(passed.0.is_ok() && passed.1.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn fewer_pass_after_a_complaint_and_more_again_in_time() {
        let gates = Gates::default();
        let pass = || gates.pass("h", &TokioClock, None);
        let count = || {
            let inside: Vec<_> = std::iter::from_fn(|| pass().now_or_never()).collect();
            inside.len()
        };
        let passage = pass().await.unwrap();
        passage.close(TokioClock.now());
        passage.close(TokioClock.now());
        drop(passage);
        assert_eq!(count(), 4);
        for _ in 0..10 {
            pass().await.unwrap().succeeded();
        }
        assert_eq!(count(), 6);
        for _ in 0..1000 {
            pass().await.unwrap().succeeded();
        }
        assert_eq!(count(), 16);
    }
}
