//! Large reads on several cores.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::thread::{self, ScopedJoinHandle};

use crate::read_at::check_bounds;
use crate::{Error, ReadAt, Result, Warm};

/// Fills `buf` as [`ReadAt::try_read_at`] does, decoding parts of it on up to `threads` threads.
///
/// The threads live as long as the call; each takes some tens of microseconds to start, so a part
/// is never smaller than 2 MiB, and a read of less than two parts stays on the calling thread.
///
/// ```
/// use std::num::NonZero;
/// use overlaybd_format::{MemoryBlob, Warm, try_read_parallel};
///
/// let blob = MemoryBlob::new(vec![7; 1 << 20]);
/// let mut buf = vec![0; 1 << 20];
/// let two = NonZero::new(2).unwrap();
/// assert_eq!(try_read_parallel(&blob, &mut buf, 0, two)?, Warm::Yes);
/// assert_eq!(buf[..], [7; 1 << 20]);
/// # Ok::<_, overlaybd_format::Error>(())
/// ```
///
/// # Errors
///
/// As [`ReadAt::try_read_at`]: that of the first part in the order of the buffer that fails;
/// [`Error::Io`] if a thread cannot be started.
pub fn try_read_parallel(
    reader: &dyn ReadAt,
    buf: &mut [u8],
    offset: u64,
    threads: NonZero<usize>,
) -> Result<Warm> {
    check_bounds(reader.size(), offset, buf.len())?;
    let part_len = buf.len().div_ceil(threads.get()).next_multiple_of(ALIGN).max(LEAST_PART);
    let mut parts = buf.chunks_mut(part_len);
    let first = parts.next().unwrap_or_default();
    let starts = (1u64..).map(|number| offset.saturating_add(number.saturating_mul(part_len as u64)));
    thread::scope(|scope| {
        let others: Vec<_> = parts
            .zip(starts)
            .map(|(part, start)| {
                let len = part.len();
                let read = move || reader.try_read_at(part, start);
                thread::Builder::new().spawn_scoped(scope, read).map_err(|e| Error::io(start, len, e))
            })
            .collect();
        let mut warm = reader.try_read_at(first, offset);
        for other in others {
            let join =
                |other: ScopedJoinHandle<'_, _>| other.join().unwrap_or_else(|panic| resume_unwind(panic));
            let result = other.and_then(join);
            warm = match (warm, result) {
                (Ok(Warm::Yes), result) => result,
                (Ok(Warm::No), Err(error)) => Err(error),
                (earlier, _) => earlier,
            };
        }
        warm
    })
}

/// The largest block: parts of aligned reads share none.
const ALIGN: usize = 64 << 10;
/// What one core decodes in some hundred microseconds, several times what starting a thread takes.
const LEAST_PART: usize = 2 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryBlob;
    use async_trait::async_trait;

    /// Holds the first `held` bytes; byte `broken` cannot be read.
    #[derive(Debug)]
    struct Half {
        bytes: MemoryBlob,
        held: u64,
        broken: Option<u64>,
    }

    #[async_trait]
    impl ReadAt for Half {
        fn size(&self) -> u64 {
            self.bytes.size()
        }

        async fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
            self.bytes.read_at(buf, offset).await
        }

        fn try_read_at(&self, buf: &mut [u8], offset: u64) -> Result<Warm> {
            let range = offset..offset + buf.len() as u64;
            if let Some(at) = self.broken.filter(|at| range.contains(at)) {
                return Err(Error::broken("byte", at, "broken"));
            }
            if range.end > self.held { Ok(Warm::No) } else { self.bytes.try_read_at(buf, offset) }
        }
    }

    fn read(held: u64, broken: Option<u64>, threads: usize) -> (Result<Warm>, bool) {
        let bytes: Vec<u8> = (0..9 << 20).map(|n: u32| (n / 1000) as u8).collect();
        let expected = bytes[77..].to_vec();
        let reader = Half { bytes: MemoryBlob::new(bytes), held, broken };
        let mut buf = vec![0; expected.len()];
        let result = try_read_parallel(&reader, &mut buf, 77, NonZero::new(threads).unwrap());
        (result, buf == expected)
    }

    #[test]
    fn parts_come_together_whatever_their_number() {
        for threads in [1, 2, 3, 7, 100] {
            let (result, equal) = read(u64::MAX, None, threads);
            assert_eq!(result.unwrap(), Warm::Yes, "{threads}");
            assert!(equal, "{threads}");
        }
    }

    #[test]
    fn one_cold_part_is_cold_and_one_broken_part_is_an_error() {
        assert_eq!(read((9 << 20) - 1, None, 4).0.unwrap(), Warm::No);
        assert!(matches!(read(u64::MAX, Some(5 << 20), 4).0, Err(Error::Broken { .. })));
        assert!(matches!(read(1 << 20, Some((9 << 20) - 9), 4).0, Err(Error::Broken { .. })));
        assert!(matches!(
            try_read_parallel(&MemoryBlob::new(vec![0; 9]), &mut [0; 5], 5, NonZero::<usize>::MIN),
            Err(Error::OutOfBounds { .. })
        ));
    }
}
