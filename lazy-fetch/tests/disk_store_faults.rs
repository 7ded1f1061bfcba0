//! A disk that fails at any step, and a process that dies at any step, cost chunks and never the truth.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use lazy_fetch::conformance::VirtualTime;
use lazy_fetch::{BlobId, ChunkKey, ChunkStore, DiskOp, DiskOptions, DiskStore};

const LEN: u32 = 4096;
const LIMIT: u64 = 10 * 4096;

fn key(blob: &str, index: u64) -> ChunkKey {
    ChunkKey { blob: BlobId::new(blob).unwrap(), offset: index * u64::from(LEN), len: LEN }
}

/// Differs between chunks and between the times they are put.
fn chunk(blob: &str, index: u64) -> Bytes {
    Bytes::from(vec![(blob.as_bytes()[0] as u64 * 31 + index % 251) as u8; LEN as usize])
}

fn open(
    time: &VirtualTime,
    dir: &Path,
    before: impl Fn(DiskOp) -> io::Result<()> + Send + Sync + 'static,
) -> DiskStore {
    let options = DiskOptions::default().with_limit(LIMIT);
    DiskStore::open_with_faults(Arc::new(time.clone()), dir, options, before).unwrap()
}

/// Puts more than fits, uses, removes, and puts again. Calls `each` after every step.
async fn work(store: &DiskStore, mut each: impl AsyncFnMut(&DiskStore)) {
    for index in 0..36u64 {
        let blob = ["a", "b", "c"][(index % 3) as usize];
        let _ = store.put(&key(blob, index / 2), chunk(blob, index / 2)).await;
        each(store).await;
        if index % 5 == 0 {
            store.get(&key("a", index / 4)).await;
        }
        if index % 7 == 0 {
            store.remove(&key(blob, index / 3)).await;
            each(store).await;
        }
    }
}

/// Everything that the store has now, checked.
async fn held(store: &DiskStore) -> BTreeMap<(String, u64), Bytes> {
    let mut held = BTreeMap::new();
    for blob in ["a", "b", "c"] {
        for index in 0..40 {
            if let Some(got) = store.get(&key(blob, index)).await {
                assert_eq!(got, chunk(blob, index), "wrong bytes of {blob} {index}");
                held.insert((blob.to_owned(), index), got);
            }
        }
    }
    held
}

fn on_disk(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let files = fs::read_dir(dir.join("chunks-v1")).unwrap().map(|entry| entry.unwrap());
    let data = files.filter(|entry| entry.file_name().to_str().unwrap().ends_with(".data"));
    data.map(|entry| entry.metadata().unwrap().blocks() * 512).sum()
}

/// How many changes `work` makes.
fn steps() -> usize {
    let (time, dir, count) =
        (VirtualTime::new(), tempfile::tempdir().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&count);
    let store = open(&time, dir.path(), move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    time.block_on(work(&store, async |_| {}));
    count.load(Ordering::Relaxed)
}

#[test]
fn a_kill_at_every_change_leaves_what_was_there_before() {
    let steps = steps();
    assert!(steps > 100, "{steps}");
    for kill in 0..steps {
        let (time, dir) = (VirtualTime::new(), tempfile::tempdir().unwrap());
        let count = AtomicUsize::new(0);
        let is_dead = Arc::new(AtomicUsize::new(0));
        let died = Arc::clone(&is_dead);
        // From the kill on, nothing reaches the disk.
        let store = open(&time, dir.path(), move |_| {
            if count.fetch_add(1, Ordering::Relaxed) < kill {
                return Ok(());
            }
            died.store(1, Ordering::Relaxed);
            Err(io::Error::other("killed"))
        });
        let mut before = BTreeMap::new();
        let step = async |store: &DiskStore| {
            if is_dead.load(Ordering::Relaxed) == 0 {
                before = held(store).await;
            }
        };
        time.block_on(work(&store, step));
        drop(store);
        let store = open(&time, dir.path(), |_| Ok(()));
        let after = time.block_on(held(&store));
        // The step in which it died may have begun to evict one chunk for another.
        let lost = before.keys().filter(|key| !after.contains_key(*key)).count();
        assert!(lost <= 1, "killed at {kill}: {lost} of {} chunks are lost", before.len());
        assert!(store.bytes() <= LIMIT && on_disk(dir.path()) <= LIMIT, "killed at {kill}");
        time.block_on(work(&store, async |store| {
            held(store).await;
        }));
    }
}

#[test]
fn a_change_that_fails_is_a_miss_and_leaks_no_space() {
    for fail in 0..steps() {
        let (time, dir) = (VirtualTime::new(), tempfile::tempdir().unwrap());
        let count = AtomicUsize::new(0);
        let store = open(&time, dir.path(), move |_| match count.fetch_add(1, Ordering::Relaxed) {
            n if n == fail => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        });
        time.block_on(work(&store, async |store| {
            held(store).await;
            assert!(store.bytes() <= LIMIT);
        }));
        // One chunk may be put again after its failure; the store is as good as new.
        time.block_on(work(&store, async |_| {}));
        let held_now = time.block_on(held(&store)).len() as u64;
        assert!(held_now >= 8);
        assert_eq!(store.bytes(), held_now * u64::from(LEN), "space is counted that nothing takes");
        drop(store);
        let store = open(&time, dir.path(), |_| Ok(()));
        time.block_on(held(&store));
        assert!(on_disk(dir.path()) <= LIMIT, "failed at {fail}: {} bytes", on_disk(dir.path()));
    }
}

#[test]
fn a_kill_while_a_map_is_written_anew_loses_nothing() {
    for (op, nth) in [(DiskOp::WriteMap, 0), (DiskOp::ReplaceMap, 0), (DiskOp::AppendRecord, 1500)] {
        let (time, dir) = (VirtualTime::new(), tempfile::tempdir().unwrap());
        let (count, is_dead) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let store = open(&time, dir.path(), move |step| {
            if step == op && count.fetch_add(1, Ordering::Relaxed) == nth {
                is_dead.store(1, Ordering::Relaxed);
            }
            if is_dead.load(Ordering::Relaxed) == 0 { Ok(()) } else { Err(io::Error::other("killed")) }
        });
        let mut last = 0;
        for index in 0..2000 {
            if time.block_on(store.put(&key("a", index), chunk("a", index))).is_err() {
                break;
            }
            last = index;
        }
        assert!(last < 1999, "it died");
        drop(store);
        let store = open(&time, dir.path(), |_| Ok(()));
        for index in last - 8..last {
            assert_eq!(time.block_on(store.get(&key("a", index))), Some(chunk("a", index)), "{op:?}");
        }
    }
}

#[test]
fn scrubbing_finds_what_is_damaged_before_a_reader_does() {
    let (time, dir) = (VirtualTime::new(), tempfile::tempdir().unwrap());
    let store = open(&time, dir.path(), |_| Ok(()));
    for index in 0..8 {
        time.block_on(store.put(&key("a", index), chunk("a", index))).unwrap();
    }
    let data = dir.path().join("chunks-v1/a.data");
    let mut bytes = fs::read(&data).unwrap();
    bytes[3 * 4096 + 5] ^= 1;
    bytes[6 * 4096] ^= 0x80;
    fs::write(&data, bytes).unwrap();
    let scrubbed = time.block_on(store.scrub()).unwrap();
    assert_eq!((scrubbed.bytes, scrubbed.damaged), (6 * u64::from(LEN), 2));
    assert_eq!(store.bytes(), 6 * u64::from(LEN));
    assert_eq!(time.block_on(store.scrub()).unwrap().damaged, 0);
}

#[test]
fn users_of_one_directory_share_its_limit() {
    let (time, dir) = (VirtualTime::new(), tempfile::tempdir().unwrap());
    let limit = 400 * u64::from(LEN);
    let open = || {
        let options = DiskOptions::default().with_limit(limit);
        DiskStore::open(Arc::new(time.clone()), dir.path(), options).unwrap()
    };
    let put = |store: &DiskStore, blob: &str, indexes: std::ops::Range<u64>| {
        for index in indexes {
            time.block_on(store.put(&key(blob, index), chunk(blob, index))).unwrap();
        }
    };
    let first = open();
    put(&first, "a", 0..500);
    assert_eq!(first.bytes(), limit, "alone, it has all");
    let second = open();
    put(&second, "b", 0..500);
    put(&first, "a", 500..700);
    put(&second, "b", 500..700);
    assert!(on_disk(dir.path()) <= limit, "{} of {limit}", on_disk(dir.path()));
    assert_eq!((first.bytes(), second.bytes()), (limit / 2, limit / 2));
    drop(second);
    put(&first, "a", 700..1300);
    assert_eq!(first.bytes(), limit);
}
