//! Checking bytes before anybody sees them.

use std::fmt;
use std::num::NonZeroU32;

use crate::Digest;

/// Knows what the bytes of one blob must be.
///
/// # Contract
///
/// Pure and quick: it is called in the task that fetches, for each chunk that comes from the origin or
/// from a store, before it is kept or handed to a reader. A chunk that does not match is thrown away and
/// fetched again, a bounded number of times.
pub trait Verifier: Send + Sync + fmt::Debug {
    /// The unit in bytes that it can check. The chunk size of the cache must be a multiple of it.
    fn unit(&self) -> NonZeroU32;

    /// Whether `bytes`, whole units (the last of the blob may be shorter) from `offset` on, are right.
    fn matches(&self, offset: u64, bytes: &[u8]) -> bool;
}

/// A SHA-256 digest for each piece of a blob, as a list of digests published beside it gives them.
#[derive(Debug, Clone)]
pub struct PieceDigests {
    piece: NonZeroU32,
    digests: Vec<Digest>,
}

impl PieceDigests {
    /// The digests of pieces of `piece` bytes each, in order; the last piece may be shorter. Bytes without
    /// a digest do not match.
    pub fn new(piece: NonZeroU32, digests: Vec<Digest>) -> Self {
        Self { piece, digests }
    }

    /// The digests of the pieces of `blob`.
    pub fn of(blob: &[u8], piece: NonZeroU32) -> Self {
        Self { piece, digests: blob.chunks(piece.get() as usize).map(Digest::of).collect() }
    }

    /// The digests, in order.
    pub fn digests(&self) -> &[Digest] {
        &self.digests
    }
}

impl Verifier for PieceDigests {
    fn unit(&self) -> NonZeroU32 {
        self.piece
    }

    fn matches(&self, offset: u64, bytes: &[u8]) -> bool {
        let first = usize::try_from(offset / u64::from(self.piece.get())).unwrap_or(usize::MAX);
        let mut expected = self.digests.iter().skip(first);
        bytes.chunks(self.piece.get() as usize).all(|piece| expected.next() == Some(&Digest::of(piece)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_piece_must_match_its_own_digest() {
        let blob: Vec<u8> = (0..100).collect();
        let digests = PieceDigests::of(&blob, NonZeroU32::new(10).unwrap());
        assert!(digests.matches(0, &blob) && digests.matches(30, &blob[30..60]));
        assert!(!digests.matches(20, &blob[30..60]), "another place");
        assert!(!digests.matches(90, &[&blob[90..], &[0; 10]].concat()), "beyond the last digest");
        let mut wrong = blob.clone();
        wrong[59] ^= 1;
        assert!(!digests.matches(30, &wrong[30..60]) && digests.matches(30, &wrong[30..50]));
    }
}
