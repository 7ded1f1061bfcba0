//! How many requests a host gets at once.
//!
//! A host that answers 429 or 503 is asked to do too much. Its limit is halved, once for all requests
//! that were under way together, and grows by one for each limit's worth of good answers: additive
//! increase, multiplicative decrease, as in TCP. Where it says how long to wait (`Retry-After`), nobody
//! asks it before that.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use tokio::time::{Instant, sleep_until};

use crate::gate::{Gate, Permit};
use crate::source::FetchRequest;
use crate::sync::{Mutex, lock};
use crate::{Error, ErrorKind, Result};

/// The hosts that a client has talked to.
#[derive(Debug)]
pub(super) struct Hosts {
    /// Requests at once to one host at most.
    most: u32,
    known: Mutex<HashMap<String, Arc<Host>>>,
}

/// One scheme, host and port.
#[derive(Debug)]
pub(super) struct Host {
    gate: Arc<Gate>,
    pace: Mutex<Pace>,
    closed_until: Mutex<Option<Instant>>,
}

/// A request to a host that is under way, its body included.
#[derive(Debug)]
pub(super) struct Visit {
    host: Arc<Host>,
    /// Cuts of the limit before this request.
    cuts: u64,
    _permit: Permit,
}

/// What a client is asking of one host at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostUsage {
    /// Scheme, host and port.
    pub origin: String,
    /// Requests at once that the host bears, as far as is known.
    pub limit: u32,
    /// Requests under way, their bodies included.
    pub requests: u64,
    /// Requests that wait for their turn.
    pub waiting: usize,
}

impl Hosts {
    pub(super) fn new(most: u32) -> Self {
        Self { most: most.max(1), known: Mutex::default() }
    }

    pub(super) fn of(&self, url: &Url) -> Arc<Host> {
        let mut known = lock(&self.known);
        let origin = url.origin().ascii_serialization();
        if known.len() >= MAX_HOSTS && !known.contains_key(&origin) {
            // A host in use is held by its visits.
            known.retain(|_, host| Arc::strong_count(host) > 1);
        }
        Arc::clone(known.entry(origin).or_insert_with(|| Arc::new(Host::new(self.most))))
    }

    pub(super) fn usage(&self) -> Vec<HostUsage> {
        let known = lock(&self.known);
        let mut usage: Vec<_> = known.iter().map(|(origin, host)| host.usage(origin.clone())).collect();
        usage.sort_by(|a, b| a.origin.cmp(&b.origin));
        usage
    }
}

impl Host {
    fn usage(&self, origin: String) -> HostUsage {
        let limit = lock(&self.pace).limit;
        HostUsage { origin, limit, requests: self.gate.used(), waiting: self.gate.waiting() }
    }

    fn new(most: u32) -> Self {
        let pace = Pace { limit: most, most, good: 0, cuts: 0 };
        Self { gate: Gate::new(most.into()), pace: Mutex::new(pace), closed_until: Mutex::new(None) }
    }

    /// Waits for its turn, the most urgent first.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RateLimited`] if the host wants to be left alone until after the deadline.
    pub(super) async fn visit(self: &Arc<Self>, request: &FetchRequest) -> Result<Visit> {
        let (_waiting, deadline) = (request.progress.wait(), request.deadline.into());
        loop {
            let permit = self.gate.enter(1, &request.urgency).await?;
            let closed_until = *lock(&self.closed_until);
            match closed_until.filter(|until| *until > Instant::now()) {
                None => {
                    let cuts = lock(&self.pace).cuts;
                    return Ok(Visit { host: Arc::clone(self), cuts, _permit: permit });
                }
                Some(until) if until >= deadline => {
                    let wait = until.saturating_duration_since(Instant::now());
                    let error = Error::new(ErrorKind::RateLimited, "the host asked to be left alone");
                    return Err(error.with_retry_after(wait));
                }
                Some(until) => {
                    drop(permit);
                    sleep_until(until).await;
                }
            }
        }
    }
}

impl Visit {
    /// Takes note of how the host answered.
    pub(super) fn answered(&self, status: u16, retry_after: Option<Duration>) {
        let mut pace = lock(&self.host.pace);
        let limit = match status {
            429 | 503 => pace.overloaded(self.cuts),
            _ => pace.good(),
        };
        drop(pace);
        self.host.gate.set_limit(limit.into());
        if matches!(status, 429 | 503)
            && let Some(until) = retry_after.and_then(|wait| Instant::now().checked_add(wait.min(MAX_CLOSED)))
        {
            let mut closed_until = lock(&self.host.closed_until);
            *closed_until = (*closed_until).max(Some(until));
        }
    }
}

/// The limit of one host.
#[derive(Debug)]
struct Pace {
    limit: u32,
    most: u32,
    /// Good answers since the limit changed last.
    good: u32,
    /// How often the limit was cut.
    cuts: u64,
}

impl Pace {
    fn good(&mut self) -> u32 {
        self.good = self.good.saturating_add(1);
        if self.good >= self.limit && self.limit < self.most {
            self.limit = self.limit.saturating_add(1);
            self.good = 0;
        }
        self.limit
    }

    /// `cuts` as they were when the refused request began: those that began before the last cut are what
    /// it was made for.
    fn overloaded(&mut self, cuts: u64) -> u32 {
        if cuts == self.cuts {
            self.limit = (self.limit / 2).max(1);
            self.cuts = self.cuts.saturating_add(1);
            self.good = 0;
        }
        self.limit
    }
}

/// Hosts that are remembered at most while idle.
const MAX_HOSTS: usize = 256;
/// The longest time that a host may close itself for all.
const MAX_CLOSED: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_burst_of_refusals_halves_the_limit_once() {
        let mut pace = Pace { limit: 16, most: 16, good: 0, cuts: 0 };
        assert!((0..16).all(|_| pace.overloaded(0) == 8));
        assert_eq!(
            [pace.overloaded(1), pace.overloaded(2), pace.overloaded(3), pace.overloaded(4)],
            [4, 2, 1, 1]
        );
    }

    #[test]
    fn the_limit_grows_back_by_one_for_each_limit_of_good_answers() {
        let mut pace = Pace { limit: 2, most: 4, good: 0, cuts: 0 };
        let limits: Vec<_> = (0..7).map(|_| pace.good()).collect();
        assert_eq!(limits, [2, 3, 3, 3, 4, 4, 4]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_wants_to_be_left_alone_is_left_alone_by_all() {
        let host = Arc::new(Host::new(4));
        let start = Instant::now();
        let request = |seconds| FetchRequest::new(0..1, (start + Duration::from_secs(seconds)).into());
        let visit = host.visit(&request(30)).await.unwrap();
        visit.answered(429, Some(Duration::from_secs(7)));
        let error = host.visit(&request(5)).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.retry_after()),
            (ErrorKind::RateLimited, Some(Duration::from_secs(7)))
        );
        assert_eq!(start.elapsed(), Duration::ZERO, "nobody waits for what cannot help");
        host.visit(&request(30)).await.unwrap();
        assert!(start.elapsed() >= Duration::from_secs(7));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_a_turn_or_for_a_closed_host_is_no_stall() {
        let (host, runtime) = (Arc::new(Host::new(1)), crate::TokioRuntime::current().unwrap());
        let request = || FetchRequest::new(0..1, (Instant::now() + Duration::from_secs(600)).into());
        let held = host.visit(&request()).await.unwrap();
        let (second, start) = (request(), Instant::now());
        let asking = async {
            let _visit = host.visit(&second).await.unwrap();
            std::future::pending::<()>().await;
        };
        let closing = async {
            sleep_until(start + Duration::from_secs(60)).await;
            held.answered(503, Some(Duration::from_secs(30)));
            drop(held);
            std::future::pending::<()>().await;
        };
        let stalled = second.progress.stalled(&runtime, Duration::from_secs(5));
        tokio::select! { () = stalled => {}, _ = async { tokio::join!(asking, closing) } => {} }
        assert_eq!(start.elapsed().as_secs(), 60 + 30 + 5);
    }

    #[test]
    fn idle_hosts_are_forgotten_and_busy_ones_are_not() {
        let hosts = Hosts::new(1);
        let url = |i: usize| Url::parse(&format!("http://host-{i}/")).unwrap();
        let busy = hosts.of(&url(0));
        for i in 1..10 * MAX_HOSTS {
            hosts.of(&url(i));
        }
        assert!(lock(&hosts.known).len() <= MAX_HOSTS);
        assert!(Arc::ptr_eq(&busy, &hosts.of(&url(0))));
    }
}
