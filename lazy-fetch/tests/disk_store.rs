//! A cache directory that outlives its process, keeps its limit, and is never in the way.

#[path = "support/blob_under_test.rs"]
mod blob_under_test;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use blob_under_test::{CHUNK, UnderTest, build_over, options};
use bytes::Bytes;
use lazy_fetch::conformance::VirtualTime;
use lazy_fetch::{BlobId, ChunkKey, ChunkStore, DiskOptions, DiskStore, ErrorKind};

fn open(time: &VirtualTime, dir: &Path, limit: u64) -> DiskStore {
    DiskStore::open(Arc::new(time.clone()), dir, DiskOptions::default().with_limit(limit)).unwrap()
}

/// A blob of 64 KiB whose cache has memory and the store.
fn over(time: &VirtualTime, store: DiskStore) -> UnderTest {
    build_over(time.clone(), 64 << 10, options(), vec![Arc::new(store)], |source| source)
}

fn key(blob: &str, index: u64) -> ChunkKey {
    ChunkKey { blob: BlobId::new(blob).unwrap(), offset: index * u64::from(CHUNK), len: CHUNK }
}

fn chunk(index: u64) -> Bytes {
    Bytes::from(vec![(index % 251) as u8; CHUNK as usize])
}

/// Bytes that the files of the store take on the disk, maps aside.
fn on_disk(dir: &Path) -> u64 {
    let files = fs::read_dir(dir.join("chunks-v1")).unwrap().map(|entry| entry.unwrap());
    files
        .filter(|entry| entry.file_name().to_str().unwrap().ends_with(".data"))
        .map(|entry| entry.metadata().unwrap().blocks() * 512)
        .sum()
}

#[test]
fn the_next_process_reads_what_this_one_fetched() {
    let (time, dir) = (VirtualTime::new(), tempfile::tempdir().unwrap());
    let first = over(&time, open(&time, dir.path(), 1 << 20));
    first.read(0, 64 << 10).unwrap();
    time.run_until_idle();

    let second = over(&time, open(&time, dir.path(), 1 << 20));
    second.read(0, 64 << 10).unwrap();
    assert!(second.source.ranges().is_empty());
    assert_eq!(second.blob.stats().hits_store, 16);
    // What was found below is in memory now.
    assert!(second.blob.try_read_at(&mut [0; 64 << 10], 0).unwrap());
}

#[test]
fn a_damaged_chunk_is_fetched_again_and_only_that_one() {
    let (time, dir) = (VirtualTime::new(), tempfile::tempdir().unwrap());
    let first = over(&time, open(&time, dir.path(), 1 << 20));
    first.read(0, 64 << 10).unwrap();
    first.time.run_until_idle();
    let data = dir.path().join("chunks-v1/sha256:0b.data");
    let mut bytes = fs::read(&data).unwrap();
    bytes[5 * 4096 + 77] ^= 0x10;
    fs::write(&data, bytes).unwrap();

    for fetched in [Some(5 * 4096..6 * 4096), None] {
        let next = over(&time, open(&time, dir.path(), 1 << 20));
        next.read(0, 64 << 10).unwrap();
        next.time.run_until_idle();
        assert!(next.source.ranges().into_iter().eq(fetched));
    }
}

#[test]
fn the_limit_is_kept_across_blobs_and_openings() {
    let (time, dir) = (VirtualTime::new(), tempfile::tempdir().unwrap());
    let limit = 10 * u64::from(CHUNK);
    for round in 0..3 {
        let store = open(&time, dir.path(), limit);
        for index in 0..40 {
            let blob = ["a", "b", "c"][(index % 3) as usize];
            time.block_on(store.put(&key(blob, index + round), chunk(index))).unwrap();
            assert!(store.bytes() <= limit);
            assert!(on_disk(dir.path()) <= limit, "{} bytes on disk", on_disk(dir.path()));
        }
        assert_eq!(store.bytes(), limit);
    }
    // A smaller limit is kept from the start.
    let store = open(&time, dir.path(), limit / 2);
    assert!(store.bytes() <= limit / 2 && on_disk(dir.path()) <= limit / 2);
}

#[test]
fn what_is_used_stays_and_a_blob_without_chunks_leaves_no_file() {
    let (time, dir) = (VirtualTime::new(), tempfile::tempdir().unwrap());
    let store = open(&time, dir.path(), 4 * u64::from(CHUNK));
    time.block_on(async {
        store.put(&key("hot", 0), chunk(0)).await.unwrap();
        for index in 0..20 {
            store.put(&key("cold", index), chunk(index)).await.unwrap();
            assert_eq!(store.get(&key("hot", 0)).await, Some(chunk(0)), "after {index}");
        }
        store.remove(&key("hot", 0)).await;
    });
    assert!(!dir.path().join("chunks-v1/hot.data").exists());
    assert!(!dir.path().join("chunks-v1/hot.map").exists());
}

#[test]
fn the_map_does_not_grow_with_the_history() {
    let (time, dir) = (VirtualTime::new(), tempfile::tempdir().unwrap());
    let store = open(&time, dir.path(), 4 * u64::from(CHUNK));
    for index in 0..3000 {
        time.block_on(store.put(&key("a", index), chunk(index))).unwrap();
    }
    let records = fs::metadata(dir.path().join("chunks-v1/a.map")).unwrap().len() / 20;
    assert!(records < 1100, "{records} records for 4 chunks");
    for index in 2996..3000 {
        assert_eq!(time.block_on(store.get(&key("a", index))), Some(chunk(index)));
    }
    let again = open(&time, dir.path(), 4 * u64::from(CHUNK));
    assert_eq!(time.block_on(again.get(&key("a", 2999))), Some(chunk(2999)));
}

#[test]
fn bytes_without_a_record_are_freed_at_the_next_opening() {
    let (time, dir) = (VirtualTime::new(), tempfile::tempdir().unwrap());
    let store = open(&time, dir.path(), 1 << 20);
    time.block_on(store.put(&key("a", 0), chunk(0))).unwrap();
    // As a process leaves it that is killed between the data and the record.
    let data = dir.path().join("chunks-v1/a.data");
    let mut bytes = fs::read(&data).unwrap();
    bytes.resize(1 << 20, 0xaa);
    fs::write(&data, bytes).unwrap();
    let store = open(&time, dir.path(), 1 << 20);
    assert!(on_disk(dir.path()) <= 2 * u64::from(CHUNK), "{}", on_disk(dir.path()));
    assert_eq!(time.block_on(store.get(&key("a", 0))), Some(chunk(0)));
}

#[test]
fn a_torn_record_does_not_spoil_those_after_it() {
    let (time, dir) = (VirtualTime::new(), tempfile::tempdir().unwrap());
    let put =
        |index| time.block_on(open(&time, dir.path(), 1 << 20).put(&key("a", index), chunk(index))).unwrap();
    put(0);
    put(1);
    let map = dir.path().join("chunks-v1/a.map");
    fs::File::options().write(true).open(&map).unwrap().set_len(27).unwrap();
    put(2);
    let store = open(&time, dir.path(), 1 << 20);
    for (index, expected) in [Some(chunk(0)), None, Some(chunk(2))].into_iter().enumerate() {
        assert_eq!(time.block_on(store.get(&key("a", index as u64))), expected);
    }
}

#[test]
fn two_openings_of_one_directory_never_give_each_other_wrong_bytes() {
    let (time, dir) = (VirtualTime::new(), tempfile::tempdir().unwrap());
    let limit = 6 * u64::from(CHUNK);
    let (a, b) = (open(&time, dir.path(), limit), open(&time, dir.path(), limit));
    let mut hits = 0;
    for round in 0u64..400 {
        let index = round * 7 % 17;
        let (writer, reader) = if round % 3 == 0 { (&a, &b) } else { (&b, &a) };
        let blob = if round % 2 == 0 { "x" } else { "y" };
        time.block_on(async {
            writer.put(&key(blob, index), chunk(index)).await.unwrap();
            for probe in 0..17 {
                for store in [reader, writer] {
                    if let Some(got) = store.get(&key(blob, probe)).await {
                        assert_eq!(got, chunk(probe));
                        hits += 1;
                    }
                }
            }
        });
    }
    assert!(hits > 100, "{hits}");
}

#[test]
fn a_directory_that_cannot_be_used_is_an_error_that_names_it() {
    let (time, dir) = (VirtualTime::new(), tempfile::tempdir().unwrap());
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.as_path(), Path::new("/proc/cache")] {
        let error = DiskStore::open(Arc::new(time.clone()), path, DiskOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Storage);
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn a_directory_that_vanishes_is_passed_over() {
    let (time, dir) = (VirtualTime::new(), tempfile::tempdir().unwrap());
    let world = over(&time, open(&time, dir.path(), 1 << 20));
    fs::remove_dir_all(dir.path()).unwrap();
    world.read(0, 64 << 10).unwrap();
    world.time.run_until_idle();
    assert_eq!(world.blob.stats().store_failures, 16);
}

#[test]
fn a_write_that_fails_leaves_nothing_to_trust() {
    let (time, dir) = (VirtualTime::new(), tempfile::tempdir().unwrap());
    let store = open(&time, dir.path(), 1 << 20);
    // A map that cannot be opened stands for a disk that fails after the data is written.
    fs::create_dir(dir.path().join("chunks-v1/a.map")).unwrap();
    let error = time.block_on(store.put(&key("a", 0), chunk(0))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert_eq!(time.block_on(store.get(&key("a", 0))), None);
    assert_eq!(store.bytes(), 0);
}

#[test]
fn foreign_files_are_left_alone() {
    let (time, dir) = (VirtualTime::new(), tempfile::tempdir().unwrap());
    let inner = dir.path().join("chunks-v1");
    fs::create_dir(&inner).unwrap();
    for name in [".hidden.map", "notes.txt", "a b.data"] {
        fs::write(inner.join(name), "x").unwrap();
    }
    open(&time, dir.path(), 1 << 20);
    assert_eq!(fs::read_dir(&inner).unwrap().count(), 3);
}
