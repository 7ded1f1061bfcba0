//! Reading in a thread of its own, a little ahead of whoever needs the bytes.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Has `work` read what `reader` gives, which a thread of its own reads ahead: decompressing and what is made
/// of it take a core each. The reader comes back when `work` has ended, wherever it stands then.
pub fn ahead<R: Read + Send, T>(mut reader: R, work: impl FnOnce(&mut dyn Read) -> T) -> (R, T) {
    let (sender, pieces) = sync_channel(PIECES);
    thread::scope(|scope| {
        let reading = scope.spawn(move || {
            pump(&mut reader, &sender);
            reader
        });
        let mut pieces = Pieces { pieces, piece: Vec::new(), used: 0 };
        let result = work(&mut pieces);
        // The thread ends when it finds that nobody receives.
        drop(pieces);
        let reader = reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (reader, result)
    })
}

/// Sends all that `reader` gives, until an error or until nobody receives.
fn pump(reader: &mut impl Read, sender: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let read = reader.by_ref().take(PIECE as u64).read_to_end(&mut piece);
        let end = !matches!(read, Ok(PIECE));
        // What came before an error counts, too.
        if !piece.is_empty() && sender.send(Ok(piece)).is_err() {
            return;
        }
        if let Err(error) = read {
            let _ = sender.send(Err(error));
        }
        if end {
            return;
        }
    }
}

/// The receiving end.
struct Pieces {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    used: usize,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.used == self.piece.len() {
            match self.pieces.recv() {
                Ok(piece) => (self.piece, self.used) = (piece?, 0),
                // The other end is gone: it was the last piece.
                Err(_) => return Ok(0),
            }
        }
        let read = self.piece.get(self.used..).unwrap_or_default().read(into)?;
        self.used += read;
        Ok(read)
    }
}

/// Bytes of a piece, and pieces that wait: 4 MiB, which smooths what the two sides take for a piece.
const PIECE: usize = 512 << 10;
const PIECES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives `len` sevens, then fails.
    struct Failing(usize);

    impl Read for Failing {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::other("the end of the wire"));
            }
            let len = into.len().min(self.0).min(1000);
            into[..len].fill(7);
            self.0 -= len;
            Ok(len)
        }
    }

    #[test]
    fn all_bytes_arrive_in_order() {
        for len in [0, 1, PIECE, PIECE * 20 + 3] {
            let bytes: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
            let (rest, read) = ahead(bytes.as_slice(), |reader| {
                let mut read = Vec::new();
                reader.read_to_end(&mut read).map(|_| read)
            });
            assert_eq!(read.unwrap(), bytes);
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn an_error_comes_behind_the_bytes_before_it() {
        let (_, (read, error)) = ahead(Failing(PIECE + 10), |reader| {
            let mut read = Vec::new();
            let error = reader.read_to_end(&mut read).unwrap_err();
            (read.len(), error.to_string())
        });
        assert_eq!((read, &*error), (PIECE + 10, "the end of the wire"));
    }

    #[test]
    fn whoever_stops_early_gets_the_reader_back() {
        let (mut reader, first) = ahead(io::repeat(1), |reader| {
            let mut first = [0];
            reader.read_exact(&mut first).map(|()| first)
        });
        assert_eq!(first.unwrap(), [1]);
        reader.read_exact(&mut [0]).unwrap();
    }
}
