//! One range from the origin, whatever breaks on the way.
//!
//! A download asks the source for what is still missing, hands out pieces as they arrive, and after
//! a failure goes on at the first byte it does not hold. It ends with the last byte or with a typed
//! error, and not later than its deadline:
//!
//! | what happens | what follows |
//! | --- | --- |
//! | a body ends early, a connection breaks, nothing arrives for the stall timeout | wait, ask for the rest |
//! | a transient error (rate limit, unavailable) | the same, not before `Retry-After` |
//! | too many tries in a row without a byte | the last error |
//! | the next try would start after the deadline | the last error |
//! | the deadline passes during a try | deadline exceeded, caused by the last error |
//! | a permanent error, a body longer than asked | that error |

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::ask::{Answer, Ask};
use crate::retry::{Jitter, RetryOptions};
use crate::source::{BlobSource, Urgency};
use crate::stats::Meter;
use crate::{Error, ErrorKind, Result, Runtime};

/// What downloads of one cache have in common.
#[derive(Debug)]
pub(crate) struct Downloads {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) retry: RetryOptions,
    pub(crate) stall_timeout: Duration,
    pub(crate) jitter: Jitter,
    /// After which percentile of latency a second request is sent.
    pub(crate) hedge_percentile: Option<u8>,
}

/// A range on its way. Its bytes come out of [`next`](Self::next) in order.
pub(crate) struct Download<'a> {
    ask: Ask<'a>,
    /// What has not been handed out yet.
    rest: Range<u64>,
    answer: Option<Answer>,
    failures: u32,
    last_error: Option<Error>,
}

impl Downloads {
    pub(crate) fn start<'a>(
        &'a self,
        source: &'a dyn BlobSource,
        meter: &'a Meter,
        range: Range<u64>,
        urgency: &'a Urgency,
        deadline: Instant,
    ) -> Download<'a> {
        let ask = Ask { common: self, source, meter, urgency, deadline };
        Download { ask, rest: range, answer: None, failures: 0, last_error: None }
    }
}

impl Download<'_> {
    /// The next piece; `None` after the last byte of the range.
    ///
    /// # Errors
    ///
    /// As the table of the module says. The download is over after an error.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        while !self.rest.is_empty() {
            match self.piece().await {
                Ok(piece) => {
                    self.failures = 0;
                    self.rest.start = self.rest.start.saturating_add(piece.len() as u64);
                    self.ask.meter.fetched(piece.len() as u64);
                    return Ok(Some(piece));
                }
                Err(error) if error.is_transient() => self.recover(error).await?,
                Err(error) => return Err(self.explained(error)),
            }
        }
        Ok(None)
    }

    /// One piece of the current stream, which is opened first if there is none.
    async fn piece(&mut self) -> Result<Bytes> {
        let (answer, piece) = match self.answer.take() {
            Some(mut answer) => {
                let piece = self.ask.piece_of(&mut answer, &self.rest).await?;
                (answer, piece)
            }
            None => self.ask.for_range(&self.rest).await?,
        };
        self.answer = Some(answer);
        Ok(piece)
    }

    /// Waits before the next try, or ends the download.
    async fn recover(&mut self, error: Error) -> Result<()> {
        self.answer = None;
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.ask.common.retry.tries {
            return Err(error);
        }
        let wait = self.ask.common.retry.wait(self.failures, &error, &self.ask.common.jitter);
        let next_try = self.ask.common.runtime.now().checked_add(wait);
        let Some(next_try) = next_try.filter(|at| *at < self.ask.deadline) else {
            return Err(error);
        };
        self.ask.meter.retry(&self.rest, &error, wait);
        self.last_error = Some(error);
        self.ask.common.runtime.sleep_until(next_try).await;
        Ok(())
    }

    /// Says of a deadline what kept the download from meeting it.
    fn explained(&self, error: Error) -> Error {
        match &self.last_error {
            Some(last) if error.kind() == ErrorKind::DeadlineExceeded => error.with_source(last.clone()),
            _ => error,
        }
    }
}
