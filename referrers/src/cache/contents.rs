//! Contents: what digests name, up to a number of bytes.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use lru::LruCache;

use crate::Manifest;

use super::answers::Key;

/// What a digest names, as it was read.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Manifest(Box<Manifest>),
    Blob(Bytes),
}

/// The contents used last, up to `capacity` bytes.
pub(crate) struct Contents {
    capacity: u64,
    kept: Mutex<Kept>,
}

struct Kept {
    contents: LruCache<Key, Content>,
    bytes: u64,
}

impl Contents {
    pub(crate) fn new(capacity: u64) -> Self {
        Self { capacity, kept: Mutex::new(Kept { contents: LruCache::unbounded(), bytes: 0 }) }
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Content> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).contents.get(key).cloned()
    }

    pub(crate) fn put(&self, key: Key, content: Content) {
        let size = content.size();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(replaced) = kept.contents.put(key, content) {
            kept.bytes = kept.bytes.saturating_sub(replaced.size());
        }
        kept.bytes = kept.bytes.saturating_add(size);
        while kept.bytes > self.capacity
            && let Some((_, dropped)) = kept.contents.pop_lru()
        {
            kept.bytes = kept.bytes.saturating_sub(dropped.size());
        }
    }
}

impl Content {
    /// Bytes held, with an allowance for what was parsed from them.
    fn size(&self) -> u64 {
        match self {
            Self::Manifest(manifest) => (manifest.bytes().len() as u64).saturating_mul(2),
            Self::Blob(bytes) => bytes.len() as u64,
        }
        .saturating_add(ENTRY)
    }
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contents").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

/// About what a key and the map's own structures take.
const ENTRY: u64 = 512;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Digest, Repository};

    #[test]
    fn what_was_not_used_makes_room() {
        let repository = Repository::new("h.io", "a").unwrap();
        let key = |name: u8| Key {
            identity: Arc::from("x"),
            reference: repository.with_digest(Digest::sha256_of(&[name])),
        };
        let contents = Contents::new(3 * (ENTRY + 100));
        for name in 0..3 {
            contents.put(key(name), Content::Blob(Bytes::from(vec![name; 100])));
        }
        assert!(contents.get(&key(0)).is_some());
        contents.put(key(3), Content::Blob(Bytes::from(vec![3; 100])));
        let kept: Vec<_> = (0..4).filter(|name| contents.get(&key(*name)).is_some()).collect();
        assert_eq!(kept, [0, 2, 3]);
        contents.put(key(4), Content::Blob(Bytes::from(vec![4; 10_000])));
        assert!((0..5).all(|name| contents.get(&key(name)).is_none()));
    }
}
