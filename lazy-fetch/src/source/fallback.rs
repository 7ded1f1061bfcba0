//! One blob at several origins: mirrors, or a proxy before the origin.
//!
//! ```text
//!              ┌ allowed ─► ask ─ fails, or no answer in time ─┐
//!  fetch ─► 1st┤                                              ▼
//!              └ broken circuit ───────────────────────────► 2nd … ─► the last, whose answer counts
//! ```
//!
//! A member that fails several times in a row is passed over for a while, twice as long each time; then
//! one request tries it. What breaks in the middle of a body counts as a failure, too, and is resumed by
//! the cache, which asks here again.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::StreamExt;
use futures::future::{Either, select};

use super::{BlobSource, ByteStream, FetchRequest};
use crate::sync::{Mutex, lock};
use crate::{Error, ErrorKind, Result, Runtime};

/// The same blob at several [`BlobSource`]s, the preferred one first.
#[derive(Debug)]
pub struct Fallback {
    runtime: Arc<dyn Runtime>,
    members: Vec<Member>,
    patience: Duration,
}

#[derive(Debug)]
struct Member {
    source: Arc<dyn BlobSource>,
    breaker: Arc<Mutex<Breaker>>,
}

impl Fallback {
    /// Asks `first`; see [`or`](Self::or) for the next ones.
    pub fn new(runtime: Arc<dyn Runtime>, first: Arc<dyn BlobSource>) -> Self {
        Self { runtime, members: Vec::new(), patience: Duration::from_secs(2) }.or(first)
    }

    /// Asks `source` where those before it fail.
    #[must_use]
    pub fn or(mut self, source: Arc<dyn BlobSource>) -> Self {
        self.members.push(Member { source, breaker: Arc::default() });
        self
    }

    /// Sets the time until a member that does not answer is passed over, 2 s unless set; time in a queue of its
    /// own is not counted. The last one has as
    /// much time as the cache gives it.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Which members are passed over now, in order.
    pub fn passed_over(&self) -> Vec<bool> {
        let now = self.runtime.now();
        self.members.iter().map(|member| lock(&member.breaker).open_until > Some(now)).collect()
    }

    async fn ask(&self, member: &Member, request: FetchRequest, is_last: bool) -> Result<ByteStream> {
        let attempt = Attempt::new(&self.runtime, &member.breaker);
        let progress = request.progress.clone();
        let fetch = member.source.fetch(request);
        let answer = if is_last {
            fetch.await
        } else {
            match select(fetch, pin!(progress.stalled(&*self.runtime, self.patience))).await {
                Either::Left((answer, _)) => answer,
                Either::Right(_) => Err(Error::new(ErrorKind::Stalled, "a mirror does not answer")),
            }
        };
        match answer {
            // The rest of the body decides.
            Ok(stream) => Ok(attempt.watch(stream)),
            Err(error) => {
                attempt.failed(&error);
                Err(error)
            }
        }
    }
}

#[async_trait]
impl BlobSource for Fallback {
    async fn fetch(&self, request: FetchRequest) -> Result<ByteStream> {
        let now = self.runtime.now();
        let allowed: Vec<_> =
            self.members.iter().filter(|member| lock(&member.breaker).allows(now)).collect();
        // With every circuit broken, asking beats failing.
        let asked = if allowed.is_empty() { self.members.iter().collect() } else { allowed };
        let mut failure: Option<Error> = None;
        for (i, member) in asked.iter().enumerate() {
            match self.ask(member, request.clone(), i.saturating_add(1) == asked.len()).await {
                Ok(stream) => return Ok(stream),
                Err(error) if is_ours(&error) => return Err(error),
                // One that may succeed later gives the cache reason to try again.
                Err(error) if failure.as_ref().is_some_and(Error::is_transient) && !error.is_transient() => {}
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| Error::new(ErrorKind::InvalidInput, "no mirror to ask")))
    }
}

/// Errors of the request, which every member would answer alike.
fn is_ours(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::OutOfBounds | ErrorKind::InvalidInput | ErrorKind::DeadlineExceeded)
}

/// One request to one member. One that is given up after a while without an outcome has failed.
struct Attempt {
    runtime: Arc<dyn Runtime>,
    breaker: Arc<Mutex<Breaker>>,
    since: Option<Instant>,
}

impl Attempt {
    fn new(runtime: &Arc<dyn Runtime>, breaker: &Arc<Mutex<Breaker>>) -> Self {
        Self { since: Some(runtime.now()), runtime: Arc::clone(runtime), breaker: Arc::clone(breaker) }
    }

    fn failed(mut self, error: &Error) {
        self.since = None;
        if !is_ours(error) {
            lock(&self.breaker).failed(self.runtime.now());
        }
    }

    /// The stream, whose first piece is a success and whose error is a failure.
    fn watch(self, stream: ByteStream) -> ByteStream {
        let mut attempt = Some(self);
        let (runtime, breaker) = match &attempt {
            Some(attempt) => (Arc::clone(&attempt.runtime), Arc::clone(&attempt.breaker)),
            None => return stream,
        };
        Box::pin(stream.inspect(move |piece| {
            if let Some(mut attempt) = attempt.take() {
                attempt.since = None;
            }
            match piece {
                Ok(_) => lock(&breaker).succeeded(),
                Err(_) => lock(&breaker).failed(runtime.now()),
            }
        }))
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let now = self.runtime.now();
        if self.since.is_some_and(|since| now.saturating_duration_since(since) >= GIVEN_UP) {
            lock(&self.breaker).failed(now);
        }
    }
}

/// Whether a member is worth asking.
#[derive(Debug, Default)]
struct Breaker {
    /// In a row.
    failures: u32,
    open_until: Option<Instant>,
}

impl Breaker {
    /// Whether to ask at `now`. After its pause a member is asked by one, while the others wait another
    /// pause for the outcome.
    fn allows(&mut self, now: Instant) -> bool {
        match self.open_until {
            None => true,
            Some(until) if until > now => false,
            Some(_) => {
                self.open_until = now.checked_add(self.pause());
                true
            }
        }
    }

    fn succeeded(&mut self) {
        *self = Self::default();
    }

    fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES {
            self.open_until = now.checked_add(self.pause());
        }
    }

    fn pause(&self) -> Duration {
        let doublings = self.failures.saturating_sub(FAILURES).min(10);
        FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE)
    }
}

/// Failures in a row that are no accident.
const FAILURES: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// A mirror that comes back is noticed within this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A request that was dropped sooner may have lost a race.
const GIVEN_UP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circuit_breaks_after_three_failures_and_is_tried_by_one() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for _ in 0..2 {
            breaker.failed(at(0));
            assert!(breaker.allows(at(0)));
        }
        breaker.failed(at(0));
        assert!(!breaker.allows(at(0)));
        assert!(breaker.allows(at(1)), "one tries");
        assert!(!breaker.allows(at(1)), "and only one");
        breaker.failed(at(1));
        assert!(!breaker.allows(at(2)) && breaker.allows(at(3)), "the pause has doubled");
        breaker.succeeded();
        assert!(breaker.allows(at(3)) && breaker.allows(at(3)));
    }

    #[test]
    fn the_pause_is_bounded() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..1000 {
            breaker.failed(now);
        }
        assert!(breaker.allows(now + LONGEST_PAUSE));
    }
}
