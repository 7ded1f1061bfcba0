//! A budget that many fetches share, the most urgent one first.
//!
//! ```text
//!  used ├──────────────────────────────┬─────────┤ limit
//!        demand, prefetch, background   for demand alone
//! ```
//!
//! A fetch enters with a weight (bytes, or one request) and leaves when its [`Permit`] is dropped. Those
//! that do not fit wait. When room is made, the most urgent one is let in, the longest waiting of equals;
//! urgency is looked at then, so that a fetch which a reader has come to wait for passes the others. Nobody
//! overtakes a fetch that is too heavy for the room there is, so that it gets its turn.
//!
//! One part in four is kept for demand, but at least one unit: a reader never waits for a prefetch to end, unless
//! the whole budget is one unit.

use std::pin::pin;
use std::sync::Arc;

use futures::channel::oneshot;
use futures::future::{Either, select};

use crate::source::{Priority, Urgency};
use crate::sync::{Mutex, lock};
use crate::{Error, ErrorKind, Result};

/// A budget and those who wait for their part of it.
#[derive(Debug)]
pub(crate) struct Gate {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limit: u64,
    used: u64,
    /// In the order of arrival.
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    weight: u64,
    urgency: Urgency,
    sender: oneshot::Sender<Permit>,
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    gate: Arc<Gate>,
    weight: u64,
}

impl Gate {
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { limit, used: 0, waiting: Vec::new() }) })
    }

    /// Waits for `weight` of the budget. What is heavier than the budget is let in alone.
    ///
    /// # Errors
    ///
    /// None while the gate lives.
    pub(crate) async fn enter(self: &Arc<Self>, weight: u64, urgency: &Urgency) -> Result<Permit> {
        let (sender, mut receiver) = oneshot::channel();
        let mut priority = urgency.get();
        lock(&self.state).waiting.push(Waiting { weight, urgency: urgency.clone(), sender });
        loop {
            self.admit();
            match select(&mut receiver, pin!(urgency.above(priority))).await {
                Either::Left((permit, _)) => {
                    return permit.map_err(|_| Error::new(ErrorKind::Closed, "the budget is gone"));
                }
                // There may be room now that was kept for demand.
                Either::Right(_) => priority = urgency.get(),
            }
        }
    }

    /// What is taken of the budget now.
    pub(crate) fn used(&self) -> u64 {
        lock(&self.state).used
    }

    /// How many wait now.
    pub(crate) fn waiting(&self) -> usize {
        lock(&self.state).waiting.len()
    }

    /// Changes the budget. What is taken stays taken.
    #[cfg(feature = "http")]
    pub(crate) fn set_limit(self: &Arc<Self>, limit: u64) {
        lock(&self.state).limit = limit;
        self.admit();
    }

    /// Lets in whoever fits.
    fn admit(self: &Arc<Self>) {
        loop {
            let mut state = lock(&self.state);
            let Some(next) = state.next() else { return };
            state.used = state.used.saturating_add(next.weight);
            drop(state);
            // One who has left meanwhile lets the permit drop, which comes back here.
            let _ = next.sender.send(Permit { gate: Arc::clone(self), weight: next.weight });
        }
    }
}

impl State {
    /// Takes the most urgent one off the list, if it fits.
    fn next(&mut self) -> Option<Waiting> {
        self.waiting.retain(|waiting| !waiting.sender.is_canceled());
        let urgent = |at: &usize| self.waiting.get(*at).map(|waiting| waiting.urgency.get());
        // Of equals `max_by_key` takes the last, so the order is turned round.
        let at = (0..self.waiting.len()).rev().max_by_key(urgent)?;
        let first = self.waiting.get(at)?;
        let reserved =
            if first.urgency.get() == Priority::OnDemand { 0 } else { (self.limit / DEMAND_SHARE).max(1) };
        let fits = self.used.saturating_add(first.weight) <= self.limit.saturating_sub(reserved);
        (fits || self.used == 0).then(|| self.waiting.remove(at))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = lock(&self.gate.state);
        state.used = state.used.saturating_sub(self.weight);
        drop(state);
        self.gate.admit();
    }
}

/// One part in so many is for demand alone.
const DEMAND_SHARE: u64 = 4;

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::executor::block_on;
    use proptest::prelude::*;

    use super::*;

    fn urgency(priority: Priority) -> Urgency {
        Urgency::new(priority)
    }

    /// The permit, if there is room now.
    fn try_enter(gate: &Arc<Gate>, weight: u64, priority: Priority) -> Option<Permit> {
        gate.enter(weight, &urgency(priority)).now_or_never().map(Result::unwrap)
    }

    #[test]
    fn a_part_is_kept_for_demand() {
        let gate = Gate::new(8);
        let held: Vec<_> = (0..6).map(|_| try_enter(&gate, 1, Priority::Prefetch).unwrap()).collect();
        assert!(try_enter(&gate, 1, Priority::Prefetch).is_none());
        let demand = (try_enter(&gate, 1, Priority::OnDemand), try_enter(&gate, 1, Priority::OnDemand));
        assert!(demand.0.is_some() && demand.1.is_some());
        assert!(try_enter(&gate, 1, Priority::OnDemand).is_none());
        drop((held, demand));
        assert_eq!((gate.used(), gate.waiting()), (0, 0));
    }

    #[test]
    fn however_small_the_budget_a_part_is_kept_for_demand() {
        for limit in 2..5 {
            let gate = Gate::new(limit);
            let held: Vec<_> = (1..limit).map(|_| try_enter(&gate, 1, Priority::Prefetch).unwrap()).collect();
            assert!(try_enter(&gate, 1, Priority::Prefetch).is_none(), "of {limit}");
            assert!(try_enter(&gate, 1, Priority::OnDemand).is_some(), "of {limit}");
            drop(held);
        }
        assert!(try_enter(&Gate::new(1), 1, Priority::Prefetch).is_some(), "nobody starves");
    }

    #[test]
    fn the_most_urgent_goes_first_and_urgency_may_rise_while_waiting() {
        let gate = Gate::new(1);
        let held = try_enter(&gate, 1, Priority::OnDemand);
        let urgencies = [Priority::Prefetch, Priority::Background, Priority::OnDemand].map(urgency);
        let mut waiting: Vec<_> =
            urgencies.iter().enumerate().map(|(i, urgency)| (i, Box::pin(gate.enter(1, urgency)))).collect();
        assert!(waiting.iter_mut().all(|(_, entry)| entry.now_or_never().is_none()));
        urgencies[1].raise(Priority::OnDemand);
        drop(held);
        let mut order = Vec::new();
        while !waiting.is_empty() {
            let ready = |(i, entry): &mut (usize, _)| Some((*i, FutureExt::now_or_never(entry)?));
            let (next, permit) = waiting.iter_mut().find_map(ready).unwrap();
            waiting.retain(|(i, _)| *i != next);
            order.push(next);
            drop(permit);
        }
        assert_eq!(order, [1, 2, 0]);
    }

    #[test]
    fn a_prefetch_that_becomes_demand_may_use_the_part_that_is_kept_for_it() {
        let gate = Gate::new(4);
        let _held: Vec<_> = (0..3).map(|_| try_enter(&gate, 1, Priority::Prefetch).unwrap()).collect();
        let urgency = urgency(Priority::Prefetch);
        let mut waiting = Box::pin(gate.enter(1, &urgency));
        assert!(waiting.as_mut().now_or_never().is_none());
        urgency.raise(Priority::OnDemand);
        assert!(waiting.as_mut().now_or_never().is_some());
    }

    #[test]
    fn whoever_leaves_the_queue_or_never_takes_the_permit_gives_it_back() {
        let gate = Gate::new(1);
        let held = try_enter(&gate, 1, Priority::OnDemand);
        let urgency = urgency(Priority::OnDemand);
        let mut leaving = Box::pin(gate.enter(1, &urgency));
        let mut staying = Box::pin(gate.enter(1, &urgency));
        assert!(leaving.as_mut().now_or_never().is_none() && staying.as_mut().now_or_never().is_none());
        drop(held);
        // Granted, and dropped unseen.
        drop(leaving);
        drop(block_on(staying).unwrap());
        assert_eq!(gate.used(), 0);
    }

    #[test]
    fn what_is_heavier_than_the_budget_goes_alone() {
        let gate = Gate::new(10);
        let light = try_enter(&gate, 1, Priority::OnDemand);
        assert!(try_enter(&gate, 11, Priority::OnDemand).is_none());
        drop(light);
        let heavy = try_enter(&gate, 11, Priority::OnDemand);
        assert!(heavy.is_some() && try_enter(&gate, 1, Priority::OnDemand).is_none());
    }

    #[test]
    #[cfg(feature = "http")]
    fn a_limit_that_is_raised_lets_in_at_once_and_one_that_is_cut_takes_nothing_away() {
        let gate = Gate::new(2);
        let held = [(); 2].map(|()| try_enter(&gate, 1, Priority::OnDemand).unwrap());
        let urgency = urgency(Priority::OnDemand);
        let mut waiting = Box::pin(gate.enter(1, &urgency));
        assert!(waiting.as_mut().now_or_never().is_none());
        gate.set_limit(3);
        let third = waiting.as_mut().now_or_never().unwrap();
        gate.set_limit(1);
        assert_eq!(gate.used(), 3);
        drop((held, third));
        let one = try_enter(&gate, 1, Priority::OnDemand);
        assert!(one.is_some() && try_enter(&gate, 1, Priority::OnDemand).is_none());
    }

    proptest! {
        #[test]
        fn the_limit_holds_and_everybody_gets_in(
            limit in 1u64..50, entries in prop::collection::vec((1u64..20, 0u8..3), 1..60),
        ) {
            let gate = Gate::new(limit);
            let kinds = [Priority::Background, Priority::Prefetch, Priority::OnDemand];
            let urgencies: Vec<_> = entries.iter().map(|(_, kind)| urgency(kinds[usize::from(*kind)])).collect();
            let weights = entries.iter().map(|(weight, _)| *weight);
            let mut waiting: Vec<_> =
                weights.zip(&urgencies).map(|(weight, urgency)| Box::pin(gate.enter(weight, urgency))).collect();
            let mut inside = Vec::new();
            while !waiting.is_empty() {
                let before = waiting.len();
                waiting.retain_mut(|entry| match entry.as_mut().now_or_never() {
                    Some(permit) => {
                        inside.push(permit.unwrap());
                        false
                    }
                    None => true,
                });
                prop_assert!(gate.used() <= limit || inside.len() == 1);
                prop_assert!(waiting.len() < before || !inside.is_empty(), "nobody is inside, nobody gets in");
                inside.truncate(inside.len() / 2);
            }
        }
    }
}
