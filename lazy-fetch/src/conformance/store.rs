//! The contract of `ChunkStore`.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;

use crate::{BlobId, ChunkKey, ChunkStore};

/// Checks an empty `store` with room for 1 MiB.
///
/// # Panics
///
/// With the rule that is broken.
pub async fn chunk_store(store: Arc<dyn ChunkStore>) {
    let key = key("sha256:aa", 0, 5000);
    assert_miss(&*store, &key, "an empty store has a chunk").await;
    put(&*store, &key).await;
    assert_hit(&*store, &key).await;

    let others = [
        ChunkKey { len: 4999, ..key.clone() },
        ChunkKey { len: 5001, ..key.clone() },
        ChunkKey { offset: 1, ..key.clone() },
        ChunkKey { offset: 5000, ..key.clone() },
        ChunkKey { blob: BlobId::new("sha256:bb").unwrap(), ..key.clone() },
    ];
    for other in &others {
        assert_miss(&*store, other, "a chunk comes back under another key").await;
    }

    let checked = ChunkKey { blob: key.blob.verified(), ..key.clone() };
    assert!(store.try_get(&checked).is_none(), "a chunk in memory is taken for one that was checked");

    assert!(
        store.put(&key, Bytes::from_static(b"short")).await.is_err(),
        "a chunk of the wrong length is kept"
    );
    put(&*store, &key).await;
    assert_hit(&*store, &key).await;
    store.remove(&key).await;
    assert_miss(&*store, &key, "a removed chunk comes back").await;
    store.remove(&key).await;
    put(&*store, &key).await;
    assert_hit(&*store, &key).await;

    let keys: Vec<_> = (0..32).map(|i| self::key("sha256:cc", i * 4096, 4096)).collect();
    join_all(keys.iter().map(|key| put(&*store, key))).await;
    join_all(keys.iter().map(|key| assert_hit(&*store, key))).await;
    for key in keys.iter().step_by(2) {
        store.remove(key).await;
    }
    for (i, key) in keys.iter().enumerate() {
        if i % 2 == 0 {
            assert_miss(&*store, key, "a removed chunk comes back").await;
        } else {
            assert_hit(&*store, key).await;
        }
    }
}

/// Checks that a store never gives wrong bytes after `damage` was done to what it keeps, and that it
/// can be used again. `open` opens the store anew after the damage.
///
/// # Panics
///
/// With the rule that is broken.
pub async fn chunk_store_damaged(mut open: impl FnMut() -> Arc<dyn ChunkStore>, damage: impl FnOnce()) {
    let store = open();
    let keys: Vec<_> = (0..8).map(|i| key("sha256:dd", i * 4096, 4096)).collect();
    for key in &keys {
        put(&*store, key).await;
    }
    damage();
    for store in [store, open()] {
        for key in &keys {
            if let Some(chunk) = store.get(key).await {
                assert!(chunk == content(key), "wrong bytes at {}", key.offset);
            }
        }
    }
    let store = open();
    for key in &keys {
        put(&*store, key).await;
        assert_hit(&*store, key).await;
    }
}

fn key(blob: &str, offset: u64, len: u32) -> ChunkKey {
    ChunkKey { blob: BlobId::new(blob).unwrap(), offset, len }
}

/// Bytes that differ between keys.
fn content(key: &ChunkKey) -> Bytes {
    let seed = key.blob.as_str().bytes().fold(key.offset, |a, b| a.wrapping_mul(31).wrapping_add(b.into()));
    (0..u64::from(key.len)).map(|i| (seed.wrapping_add(i * i * 7919) >> 3) as u8).collect()
}

async fn put(store: &dyn ChunkStore, key: &ChunkKey) {
    store.put(key, content(key)).await.unwrap_or_else(|e| panic!("a chunk could not be put: {e}"));
}

async fn assert_hit(store: &dyn ChunkStore, key: &ChunkKey) {
    let got = store.get(key).await.unwrap_or_else(|| panic!("no chunk at {} of {}", key.offset, key.blob));
    assert!(got == content(key), "wrong bytes at {} of {}", key.offset, key.blob);
    if let Some(warm) = store.try_get(key) {
        assert!(warm == got, "`try_get` and `get` differ at {} of {}", key.offset, key.blob);
    }
}

async fn assert_miss(store: &dyn ChunkStore, key: &ChunkKey, why: &str) {
    assert!(store.try_get(key).is_none() && store.get(key).await.is_none(), "{why}");
}
