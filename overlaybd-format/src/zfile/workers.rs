//! Who compresses: the calling thread, or several others.
//!
//! Content goes out in batches, to one thread after the other in a fixed order, and comes back in the
//! same order. What is written therefore does not depend on which thread is faster, and nothing has
//! to be put in order again.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use crate::zfile::Compression;
use crate::zfile::encoder::{Encoder, Stored};
use crate::{Error, Result};

/// Codec contexts, each of which is used for batch after batch.
pub(super) enum Workers {
    Caller(Box<Encoder>),
    Threads(Ring),
}

/// Content on its way to what is stored of it.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) content: Vec<u8>,
    pub(super) stored: Stored,
}

impl Workers {
    pub(super) fn new(compression: &Compression) -> Result<Self> {
        let encoder = || Encoder::new(compression);
        if compression.threads <= 1 {
            return Ok(Self::Caller(Box::new(encoder()?)));
        }
        let threads = (0..compression.threads).map(|_| Worker::new(encoder()?)).collect::<Result<_>>()?;
        Ok(Self::Threads(Ring { threads, sent: 0, received: 0 }))
    }

    /// Takes `batch` to be compressed and gives back the oldest one, if there is no room for more
    /// before that is done.
    pub(super) fn send(&mut self, mut batch: Batch) -> Result<Option<Batch>> {
        match self {
            Self::Caller(encoder) => {
                encoder.encode(&batch.content, &mut batch.stored)?;
                Ok(Some(batch))
            }
            Self::Threads(ring) => {
                let oldest = if ring.is_full() { ring.receive()? } else { None };
                ring.send(batch)?;
                Ok(oldest)
            }
        }
    }

    /// Waits for the oldest batch; `None` if all have come back.
    pub(super) fn receive(&mut self) -> Result<Option<Batch>> {
        match self {
            Self::Caller(_) => Ok(None),
            Self::Threads(ring) => ring.receive(),
        }
    }
}

/// Threads that take turns.
pub(super) struct Ring {
    threads: Vec<Worker>,
    /// Batches sent to the threads, and received from them, so far.
    sent: usize,
    received: usize,
}

impl Ring {
    fn is_full(&self) -> bool {
        self.sent.wrapping_sub(self.received) >= self.threads.len().saturating_mul(QUEUE)
    }

    fn send(&mut self, batch: Batch) -> Result<()> {
        let jobs = self.turn(self.sent).and_then(|worker| worker.jobs.as_ref());
        jobs.and_then(|jobs| jobs.send(batch).ok()).ok_or_else(ended)?;
        self.sent = self.sent.wrapping_add(1);
        Ok(())
    }

    fn receive(&mut self) -> Result<Option<Batch>> {
        if self.received == self.sent {
            return Ok(None);
        }
        let batch =
            self.turn(self.received).and_then(|worker| worker.done.recv().ok()).ok_or_else(ended)??;
        self.received = self.received.wrapping_add(1);
        Ok(Some(batch))
    }

    fn turn(&self, number: usize) -> Option<&Worker> {
        self.threads.get(number.checked_rem(self.threads.len())?)
    }
}

/// A thread with its codec context. It ends when this is dropped.
struct Worker {
    /// Taken away to end the thread.
    jobs: Option<SyncSender<Batch>>,
    done: Receiver<Result<Batch>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn new(mut encoder: Encoder) -> Result<Self> {
        let (jobs, todo) = sync_channel::<Batch>(QUEUE);
        let (finished, done) = sync_channel(QUEUE);
        let work = move || {
            for mut batch in todo {
                let result = encoder.encode(&batch.content, &mut batch.stored).map(|()| batch);
                if finished.send(result).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("zfile".to_owned()).spawn(work);
        let thread = thread.map_err(|e| Error::write_io(0, 0, e))?;
        Ok(Self { jobs: Some(jobs), done, thread: Some(thread) })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has shown already, as a batch that does not come back.
            let _ = thread.join();
        }
    }
}

fn ended() -> Error {
    Error::write_io(0, 0, io::Error::other("a compressing thread has ended"))
}

/// Batches that a thread has: one in hand and the next at hand.
const QUEUE: usize = 2;
