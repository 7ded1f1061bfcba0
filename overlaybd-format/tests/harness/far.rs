//! A blob at the far end of a link, which counts what is asked of it.

// Each test binary uses a part of this.
#![allow(dead_code)]

use std::future::Future;
use std::ops::Range;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::poll_fn;
use overlaybd_format::{ReadAt, Result, Warm, check_bounds};

/// A link on which every answer takes the same time: requests made before any of them is answered
/// are one wave.
#[derive(Debug, Default)]
pub(crate) struct Link(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Waves answered.
    waves: usize,
    /// Who waits for an answer of the wave under way.
    waiting: Vec<Waker>,
    requests: Vec<Request>,
}

/// One ranged read of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) blob: usize,
    pub(crate) range: Range<u64>,
    /// The wave it was made in, from 0.
    pub(crate) wave: usize,
}

/// A blob that is reached through a [`Link`] only.
#[derive(Debug)]
pub(crate) struct FarBlob {
    pub(crate) link: Arc<Link>,
    /// Tells the blobs of a link apart.
    pub(crate) number: usize,
    pub(crate) bytes: Bytes,
}

impl Link {
    /// Runs `work` to its end, wave by wave; gives its result and the requests it made.
    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> (T, Vec<Request>) {
        *self.0.lock().unwrap() = State::default();
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(woken.clone());
        let mut work = pin!(work);
        loop {
            while woken.0.swap(false, Ordering::Relaxed) {
                if let Poll::Ready(result) = work.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return (result, std::mem::take(&mut self.0.lock().unwrap().requests));
                }
            }
            let mut state = self.0.lock().unwrap();
            assert!(!state.waiting.is_empty(), "the work waits for nothing that this link could answer");
            state.waves += 1;
            state.waiting.drain(..).for_each(Waker::wake);
        }
    }

    /// Registers a request and waits until its wave is answered.
    async fn answer(&self, blob: usize, range: Range<u64>) {
        let wave = self.0.lock().unwrap().waves;
        self.0.lock().unwrap().requests.push(Request { blob, range, wave });
        poll_fn(|cx| {
            let mut state = self.0.lock().unwrap();
            if state.waves > wave {
                return Poll::Ready(());
            }
            state.waiting.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// The number of waves in `requests`.
pub(crate) fn waves(requests: &[Request]) -> usize {
    requests.iter().map(|request| request.wave + 1).max().unwrap_or(0)
}

/// The sum of the bytes asked for.
pub(crate) fn bytes_of(requests: &[Request]) -> u64 {
    requests.iter().map(|request| request.range.end - request.range.start).sum()
}

#[async_trait]
impl ReadAt for FarBlob {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    async fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_bounds(self.size(), offset, buf.len())?;
        self.link.answer(self.number, offset..offset + buf.len() as u64).await;
        let start = usize::try_from(offset).unwrap();
        buf.copy_from_slice(&self.bytes[start..start + buf.len()]);
        Ok(())
    }

    fn try_read_at(&self, _buf: &mut [u8], _offset: u64) -> Result<Warm> {
        Ok(Warm::No)
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
