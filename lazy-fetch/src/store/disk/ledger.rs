//! Which chunks are on the disk, in the order of use, and how much space they take.

use std::collections::HashMap;

use lru::LruCache;

use super::record::Record;
use crate::BlobId;
use crate::store::ChunkKey;

/// The chunks of a directory. Space is reserved before it is used, so that the limit holds at any
/// time, and a chunk is seen only once its bytes are written.
#[derive(Debug)]
pub(crate) struct Ledger {
    limit: u64,
    bytes: u64,
    chunks: LruCache<(BlobId, u64), Held>,
    counts: HashMap<BlobId, u64>,
}

/// What is known of a chunk on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) len: u32,
    pub(crate) crc: u32,
}

impl Ledger {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, bytes: 0, chunks: LruCache::unbounded(), counts: HashMap::new() }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The chunk, which becomes the most recently used one.
    pub(crate) fn touch(&mut self, key: &ChunkKey) -> Option<Held> {
        self.chunks.get(&(key.blob.clone(), key.offset)).copied().filter(|held| held.len == key.len)
    }

    /// Sets space aside for a chunk; gives what had to be forgotten for it, or `None` if there is
    /// nothing to do: the chunk is held already, or larger than the limit.
    pub(crate) fn reserve(
        &mut self,
        blob: &BlobId,
        offset: u64,
        held: Held,
    ) -> Option<Vec<(BlobId, u64, Held)>> {
        let before = self.chunks.get(&(blob.clone(), offset)).copied();
        if before == Some(held) || weight(held) > self.limit {
            return None;
        }
        let mut evicted = Vec::new();
        if let Some(before) = self.remove(blob, offset) {
            evicted.push((blob.clone(), offset, before));
        }
        self.shrink_to(self.limit.saturating_sub(weight(held)), &mut evicted);
        self.bytes = self.bytes.saturating_add(weight(held));
        Some(evicted)
    }

    /// Changes the limit; gives what had to be forgotten for it.
    pub(crate) fn set_limit(&mut self, limit: u64) -> Vec<(BlobId, u64, Held)> {
        let mut evicted = Vec::new();
        self.limit = limit;
        self.shrink_to(limit, &mut evicted);
        evicted
    }

    fn shrink_to(&mut self, bytes: u64, evicted: &mut Vec<(BlobId, u64, Held)>) {
        while self.bytes > bytes
            && let Some(((blob, offset), held)) = self.chunks.pop_lru()
        {
            self.forget(&blob, held);
            evicted.push((blob, offset, held));
        }
    }

    /// Every chunk, the least recently used first.
    pub(crate) fn all(&self) -> Vec<ChunkKey> {
        let key = |(blob, offset): &(BlobId, u64), held: &Held| ChunkKey {
            blob: blob.clone(),
            offset: *offset,
            len: held.len,
        };
        self.chunks.iter().rev().map(|(name, held)| key(name, held)).collect()
    }

    /// What is known of a chunk, without using it.
    pub(crate) fn peek(&self, key: &ChunkKey) -> Option<Held> {
        self.chunks.peek(&(key.blob.clone(), key.offset)).copied()
    }

    /// Takes in a chunk that space is reserved for and whose bytes are written.
    pub(crate) fn insert(&mut self, blob: &BlobId, offset: u64, held: Held) {
        // Two that wrote the same chunk had a reservation each.
        self.remove(blob, offset);
        self.chunks.put((blob.clone(), offset), held);
        let count = self.counts.entry(blob.clone()).or_default();
        *count = count.saturating_add(1);
    }

    /// Gives back the reservation of a chunk that could not be written.
    pub(crate) fn release(&mut self, held: Held) {
        self.bytes = self.bytes.saturating_sub(weight(held));
    }

    pub(crate) fn remove(&mut self, blob: &BlobId, offset: u64) -> Option<Held> {
        let held = self.chunks.pop(&(blob.clone(), offset))?;
        self.forget(blob, held);
        Some(held)
    }

    pub(crate) fn remove_blob(&mut self, blob: &BlobId) {
        for record in self.records(blob) {
            self.remove(blob, record.offset);
        }
    }

    /// Chunks of one blob.
    pub(crate) fn count(&self, blob: &BlobId) -> u64 {
        self.counts.get(blob).copied().unwrap_or(0)
    }

    pub(super) fn records(&self, blob: &BlobId) -> Vec<Record> {
        let of_blob = self.chunks.iter().filter(|((owner, _), _)| owner == blob);
        of_blob.map(|((_, offset), held)| Record { offset: *offset, len: held.len, crc: held.crc }).collect()
    }

    /// Keeps the sums after a chunk of `blob` left the list.
    fn forget(&mut self, blob: &BlobId, held: Held) {
        self.bytes = self.bytes.saturating_sub(weight(held));
        if let Some(count) = self.counts.get_mut(blob) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.counts.remove(blob);
            }
        }
    }
}

/// What a chunk takes on the disk, in whole pages.
fn weight(held: Held) -> u64 {
    u64::from(held.len).next_multiple_of(PAGE)
}

/// The block of common file systems.
const PAGE: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(id: &str) -> BlobId {
        BlobId::new(id).unwrap()
    }

    const HELD: Held = Held { len: 4096, crc: 7 };

    fn take_in(ledger: &mut Ledger, id: &str, offset: u64, held: Held) -> Vec<(BlobId, u64, Held)> {
        let evicted = ledger.reserve(&blob(id), offset, held).unwrap();
        ledger.insert(&blob(id), offset, held);
        evicted
    }

    fn key(offset: u64) -> ChunkKey {
        ChunkKey { blob: blob("a"), offset, len: 4096 }
    }

    #[test]
    fn the_least_recently_used_chunk_makes_room() {
        let mut ledger = Ledger::new(3 * 4096);
        for offset in 0..3 {
            assert_eq!(take_in(&mut ledger, "a", offset, HELD), []);
        }
        assert_eq!(ledger.touch(&key(0)), Some(HELD));
        assert_eq!(take_in(&mut ledger, "b", 0, HELD), [(blob("a"), 1, HELD)]);
        assert_eq!((ledger.bytes(), ledger.count(&blob("a")), ledger.count(&blob("b"))), (3 * 4096, 2, 1));
    }

    #[test]
    fn a_reservation_counts_but_is_not_seen() {
        let mut ledger = Ledger::new(2 * 4096);
        ledger.reserve(&blob("a"), 0, HELD).unwrap();
        assert_eq!((ledger.bytes(), ledger.touch(&key(0))), (4096, None));
        // A second writer of the same chunk.
        ledger.reserve(&blob("a"), 0, HELD).unwrap();
        ledger.insert(&blob("a"), 0, HELD);
        ledger.insert(&blob("a"), 0, HELD);
        assert_eq!((ledger.bytes(), ledger.count(&blob("a"))), (4096, 1));
        ledger.reserve(&blob("a"), 1, HELD).unwrap();
        ledger.release(HELD);
        assert_eq!((ledger.bytes(), ledger.touch(&key(1))), (4096, None));
    }

    #[test]
    fn what_is_known_or_too_large_is_not_reserved() {
        let mut ledger = Ledger::new(4096);
        take_in(&mut ledger, "a", 0, HELD);
        assert_eq!(ledger.reserve(&blob("a"), 0, HELD), None);
        assert_eq!(ledger.reserve(&blob("a"), 1, Held { len: 4097, crc: 0 }), None);
        assert_eq!((ledger.bytes(), ledger.count(&blob("a"))), (4096, 1));
    }

    #[test]
    fn a_chunk_of_another_length_at_its_place_is_forgotten_first() {
        let mut ledger = Ledger::new(1 << 20);
        take_in(&mut ledger, "a", 0, Held { len: 65536, crc: 1 });
        assert_eq!(take_in(&mut ledger, "a", 0, HELD), [(blob("a"), 0, Held { len: 65536, crc: 1 })]);
        assert_eq!(ledger.bytes(), 4096);
    }
}
