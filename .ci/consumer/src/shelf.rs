//! A cache directory with a file for each chunk.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use lazy_fetch::{ChunkKey, ChunkStore, Error, ErrorKind};

/// A [`ChunkStore`] whose files end with a hash of the key and the chunk.
#[derive(Debug)]
pub struct Shelf {
    directory: PathBuf,
    writes: AtomicU64,
}

impl Shelf {
    /// A store in `directory`, which exists and which no other store writes to.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), writes: AtomicU64::new(0) }
    }

    fn path(&self, key: &ChunkKey) -> PathBuf {
        self.directory.join(format!("{}@{}+{}", key.blob, key.offset, key.len))
    }

    fn write(&self, key: &ChunkKey, chunk: &[u8]) -> io::Result<()> {
        let unfinished = self.directory.join(format!("{}.new", self.writes.fetch_add(1, Ordering::Relaxed)));
        fs::write(&unfinished, [chunk, &hash(key, chunk)].concat())?;
        fs::rename(unfinished, self.path(key))
    }
}

#[async_trait]
impl ChunkStore for Shelf {
    fn try_get(&self, _: &ChunkKey) -> Option<Bytes> {
        None
    }

    async fn get(&self, key: &ChunkKey) -> Option<Bytes> {
        let mut file = fs::read(self.path(key)).ok()?;
        let stored = file.split_off(file.len().checked_sub(HASH_LEN)?);
        (key.check_len(&file).is_ok() && stored == hash(key, &file)).then(|| file.into())
    }

    async fn put(&self, key: &ChunkKey, chunk: Bytes) -> lazy_fetch::Result<()> {
        key.check_len(&chunk)?;
        self.write(key, &chunk).map_err(|why| {
            Error::new(ErrorKind::Storage, "a chunk cannot be written")
                .at(&key.blob, key.range())
                .with_source(why)
        })
    }

    async fn remove(&self, key: &ChunkKey) {
        // What cannot be removed is found wrong again by whoever reads it.
        let _ = fs::remove_file(self.path(key));
    }
}

fn hash(key: &ChunkKey, chunk: &[u8]) -> [u8; HASH_LEN] {
    let mut hasher = DefaultHasher::new();
    (key, chunk).hash(&mut hasher);
    hasher.finish().to_le_bytes()
}

const HASH_LEN: usize = size_of::<u64>();
