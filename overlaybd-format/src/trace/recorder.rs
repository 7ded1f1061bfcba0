//! Watching the reads of a device.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::pages::Pages;
use crate::{Limits, ReadAt, Result, Warm};

/// A reader that notes which bytes are read of the one below it, each once, in the order of the first
/// read.
///
/// What is noted are whole pages of 4 KiB (more on a device of more than 64 GiB), because that is what
/// a kernel asks of a device. Runs that follow one another are noted as one. A read of what was noted
/// before takes no lock and allocates nothing. At most 2 MiB and [`Limits::trace_records`] runs are
/// held, whatever is read.
#[derive(Debug)]
pub struct Recorder<R> {
    reader: R,
    pages: Pages,
    runs: Mutex<Vec<Range<u64>>>,
    most: usize,
}

impl<R: ReadAt> Recorder<R> {
    /// Watches the reads of `reader`.
    pub fn new(reader: R, limits: &Limits) -> Self {
        let pages = Pages::new(reader.size());
        Self { reader, pages, runs: Mutex::default(), most: limits.trace_records }
    }

    /// What was read so far, first things first.
    #[must_use]
    pub fn ranges(&self) -> Vec<Range<u64>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, offset: u64, len: usize) {
        let read = offset..offset.saturating_add(len as u64);
        if self.pages.have(&read) {
            return;
        }
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        self.pages.claim(&read, |run| {
            if let Some(earlier) =
                runs.iter_mut().rev().take(STREAMS).find(|earlier| earlier.end == run.start)
            {
                earlier.end = run.end;
            } else if runs.len() < self.most {
                runs.push(run);
            }
        });
    }
}

#[async_trait]
impl<R: ReadAt> ReadAt for Recorder<R> {
    fn size(&self) -> u64 {
        self.reader.size()
    }

    async fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.reader.read_at(buf, offset).await?;
        self.note(offset, buf.len());
        Ok(())
    }

    fn try_read_at(&self, buf: &mut [u8], offset: u64) -> Result<Warm> {
        let warm = self.reader.try_read_at(buf, offset)?;
        if warm == Warm::Yes {
            self.note(offset, buf.len());
        }
        Ok(warm)
    }

    fn try_view(&self, range: Range<u64>, view: &mut dyn FnMut(&[u8])) -> Result<Warm> {
        let mut seen = 0;
        let warm = self.reader.try_view(range.clone(), &mut |bytes| {
            seen = bytes.len();
            view(bytes);
        })?;
        self.note(range.start, seen);
        Ok(warm)
    }
}

/// Runs that a further read may lengthen: as many sequential readers are told apart.
const STREAMS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, MemoryBlob};
    use futures::executor::block_on;

    fn recorder(size: usize, limits: &Limits) -> Recorder<MemoryBlob> {
        Recorder::new(MemoryBlob::new(vec![0; size]), limits)
    }

    #[test]
    fn pages_are_noted_in_the_order_of_their_first_read() {
        let recorder = recorder(1 << 20, &Limits::default());
        for (offset, len) in [(500_000, 10), (0, 100), (500_001, 4096), (4096, 4096), (0, 20_000)] {
            block_on(recorder.read_at(&mut vec![0; len], offset)).unwrap();
        }
        assert_eq!(recorder.ranges(), [499_712..507_904, 0..20_480]);
    }

    #[test]
    fn interleaved_streams_are_told_apart() {
        let recorder = recorder(1 << 20, &Limits::default());
        for step in 0..10 {
            for start in [0, 300 << 10, 600 << 10] {
                let _ = recorder.try_read_at(&mut [0; 4096], start + step * 4096).unwrap();
            }
        }
        assert_eq!(
            recorder.ranges(),
            [0..40_960, 300 << 10..(300 << 10) + 40_960, 600 << 10..(600 << 10) + 40_960]
        );
    }

    #[test]
    fn failed_and_cold_reads_are_not_noted() {
        #[derive(Debug)]
        struct Cold;
        #[async_trait]
        impl ReadAt for Cold {
            fn size(&self) -> u64 {
                1 << 20
            }
            async fn read_at(&self, _: &mut [u8], offset: u64) -> Result<()> {
                Err(Error::broken("far blob", offset, "it does not answer"))
            }
            fn try_read_at(&self, _: &mut [u8], _: u64) -> Result<Warm> {
                Ok(Warm::No)
            }
        }
        let recorder = Recorder::new(Cold, &Limits::default());
        block_on(recorder.read_at(&mut [0; 512], 0)).unwrap_err();
        assert_eq!(recorder.try_read_at(&mut [0; 512], 0).unwrap(), Warm::No);
        assert!(recorder.ranges().is_empty());
    }

    #[test]
    fn a_full_recorder_still_reads() {
        let limits = Limits { trace_records: 3, ..Limits::default() };
        let recorder = recorder(1 << 20, &limits);
        for page in (0..100).rev() {
            block_on(recorder.read_at(&mut [0; 1], page * 8192)).unwrap();
        }
        assert_eq!(recorder.ranges().len(), 3);
    }
}
