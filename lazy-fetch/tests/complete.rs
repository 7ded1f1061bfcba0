//! A blob that is brought here as a whole is checked before it is trusted.

#[path = "support/blob_under_test.rs"]
mod blob_under_test;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use blob_under_test::{UnderTest, build, build_over, options, read_and_compare};
use futures::FutureExt;
use lazy_fetch::conformance::{Fault, VirtualTime};
use lazy_fetch::{
    BlobOptions, Cache, CompleteOptions, Digest, DiskOptions, DiskStore, Error, ErrorKind, MemoryStore,
    Runtime,
};
use tempfile::TempDir;

const KIB: usize = 1024;
const LEN: usize = 1000 * KIB + 17;

/// A blob that is brought in windows of 64 KiB, and a directory for it.
fn world() -> (UnderTest, TempDir, PathBuf) {
    let options = options().with_max_request_len(64 << 10).with_max_gap(8 << 10);
    let world = build(LEN, options, |source| source.with_piece(64 << 10));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("blob");
    (world, dir, path)
}

fn complete(world: &UnderTest, path: &PathBuf, options: CompleteOptions) -> lazy_fetch::Result<()> {
    world.time.block_on(world.blob.complete(path, Digest::of(&world.content), options))
}

#[test]
fn a_completed_blob_is_read_from_its_file_without_the_origin() {
    let (world, dir, path) = world();
    world.read(100 * KIB, 10 * KIB).unwrap();
    complete(&world, &path, CompleteOptions::default()).unwrap();
    assert!(world.blob.is_complete() && fs::read(&path).unwrap() == world.content);
    let stats = world.blob.stats();
    assert_eq!(stats.bytes_fetched, LEN as u64, "what was here was not fetched again");
    world.source.break_next(Fault::Refuse(Error::new(ErrorKind::NotFound, "gone")));
    for at in (0..LEN - 5000).step_by(7001) {
        world.read(at, 5000).unwrap();
        assert!(world.blob.try_read_at(&mut [0; 10], at as u64).unwrap(), "just written, so in memory");
    }
    assert_eq!(world.blob.stats().requests, stats.requests);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    complete(&world, &path, CompleteOptions::default()).unwrap();
}

#[test]
fn reading_a_completed_blob_in_sequence_reads_nothing_ahead_from_the_origin() {
    let (world, _dir, path) = world();
    let options = BlobOptions::default();
    let blob =
        world.cache.open_with(blob_under_test::id(), LEN as u64, world.source.clone(), options).unwrap();
    world
        .time
        .block_on(blob.complete(&path, Digest::of(&world.content), CompleteOptions::default()))
        .unwrap();
    let asked = world.source.ranges().len();
    for at in (0..500 * KIB).step_by(4 * KIB) {
        world.time.block_on(read_and_compare(&blob, &world.content, at, 4 * KIB)).unwrap();
    }
    world.time.run_until_idle();
    assert_eq!(world.source.ranges().len(), asked);
    assert_eq!(blob.stats().bytes_local, 500 * KIB as u64);
}

#[test]
fn completing_takes_chunks_from_the_disk_and_leaves_the_memory_to_readers() {
    let (time, dir) = (VirtualTime::new(), tempfile::tempdir().unwrap());
    let open = || DiskStore::open(Arc::new(time.clone()), dir.path(), DiskOptions::default()).unwrap();
    let before = build_over(time.clone(), LEN, options(), vec![Arc::new(open())], |source| source);
    before.read(0, LEN).unwrap();
    time.run_until_idle();
    let memory = Arc::new(MemoryStore::new(64 << 20));
    let cache = Cache::builder(Arc::new(time.clone()))
        .options(options())
        .store(memory.clone())
        .store(Arc::new(open()))
        .build()
        .unwrap();
    let blob = cache.open(blob_under_test::id(), LEN as u64, before.source.clone());
    let path = dir.path().join("blob");
    time.block_on(blob.complete(&path, Digest::of(&before.content), CompleteOptions::default())).unwrap();
    assert_eq!((blob.stats().bytes_fetched, memory.bytes()), (0, 0));
}

#[test]
fn what_was_interrupted_goes_on_where_it_stopped() {
    let (world, _dir, path) = world();
    let digest = Digest::of(&world.content);
    world.time.block_on(async {
        let completion = world.blob.complete(&path, digest, CompleteOptions::default());
        let later = world.time.sleep_until(world.time.now() + Duration::from_millis(90));
        futures::future::select(Box::pin(completion), later).await;
    });
    let (held, asked) = (fs::metadata(partial_of(&path)).unwrap().len(), world.source.ranges().len());
    assert!(held > 64 << 10 && held < LEN as u64, "{held}");
    complete(&world, &path, CompleteOptions::default()).unwrap();
    assert!(world.source.ranges()[asked..].iter().all(|range| range.start >= held));
    assert!(fs::read(&path).unwrap() == world.content);
}

fn partial_of(path: &std::path::Path) -> PathBuf {
    path.with_extension("partial")
}

#[test]
fn a_file_from_before_is_used_if_it_is_right_and_replaced_if_not() {
    for (damage, fetched) in [(None, 0), (Some(0), LEN as u64), (Some(LEN - 1), LEN as u64)] {
        let (world, _dir, path) = world();
        let mut bytes = world.content.clone();
        if let Some(at) = damage {
            bytes[at] ^= 1;
        }
        fs::write(&path, bytes).unwrap();
        complete(&world, &path, CompleteOptions::default()).unwrap();
        assert_eq!(world.blob.stats().bytes_fetched, fetched);
        assert!(fs::read(&path).unwrap() == world.content);
    }
}

#[test]
fn wrong_bytes_on_the_way_or_in_the_partial_file_cost_one_more_round() {
    for in_file in [true, false] {
        let (world, _dir, path) = world();
        if in_file {
            fs::write(partial_of(&path), vec![7; 300 * KIB]).unwrap();
        } else {
            world.source.break_next(Fault::Flip(1000));
        }
        complete(&world, &path, CompleteOptions::default()).unwrap();
        assert_eq!(world.blob.stats().mismatches, 1);
        assert!(fs::read(&path).unwrap() == world.content);
        world.read(0, LEN).unwrap();
    }
}

#[test]
fn a_blob_that_does_not_match_its_digest_is_never_trusted() {
    let (world, dir, path) = world();
    let completion = world.blob.complete(&path, Digest::of(b"other"), CompleteOptions::default());
    let error = world.time.block_on(completion).unwrap_err();
    assert_eq!((error.kind(), world.blob.is_complete()), (ErrorKind::Corrupt, false));
    assert!(!path.exists() && dir.path().exists());
}

#[test]
fn two_at_a_time_do_not_write_the_same_file() {
    let (world, _dir, path) = world();
    let digest = Digest::of(&world.content);
    world.time.block_on(async {
        let (one, two) = futures::join!(
            world.blob.complete(&path, digest, CompleteOptions::default()),
            world.blob.complete(&path, digest, CompleteOptions::default()),
        );
        assert_eq!([one, two].iter().filter(|result| result.is_ok()).count(), 1);
    });
    assert!(fs::read(&path).unwrap() == world.content);
}

#[test]
fn the_rate_is_kept_and_readers_do_not_wait_for_it() {
    let (world, _dir, path) = world();
    let options = CompleteOptions::default().with_bytes_per_second(100 << 10);
    let digest = Digest::of(&world.content);
    world.time.block_on(async {
        let completion = world.blob.complete(&path, digest, options).fuse();
        let reader = async {
            let mut longest = Duration::ZERO;
            for i in 0..50 {
                world.time.sleep_until(world.time.now() + Duration::from_millis(100)).await;
                let before = world.time.elapsed();
                read_and_compare(&world.blob, &world.content, i * 16 * KIB, 100).await.unwrap();
                longest = longest.max(world.time.elapsed() - before);
            }
            longest
        };
        let (completion, longest) = futures::join!(completion, reader);
        completion.unwrap();
        assert!(longest <= Duration::from_millis(20), "{longest:?}");
    });
    let seconds = world.time.elapsed().as_secs_f64();
    assert!((9.0..12.0).contains(&seconds), "{seconds}");
}

#[test]
fn a_file_that_is_lost_afterwards_is_passed_over() {
    let (world, _dir, path) = world();
    complete(&world, &path, CompleteOptions::default()).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_len(5000).unwrap();
    world.read(0, LEN).unwrap();
    assert_eq!(world.blob.stats().store_failures, 1);
}

#[test]
fn a_file_that_goes_bad_afterwards_is_left_when_its_reader_says_so_and_replaced() {
    let (world, _dir, path) = world();
    complete(&world, &path, CompleteOptions::default()).unwrap();
    let mut bytes = world.content.clone();
    bytes[5000] ^= 1;
    fs::write(&path, bytes).unwrap();
    let mut buf = [0; 10];
    world.time.block_on(world.blob.read_at(&mut buf, 4995)).unwrap();
    assert_ne!(buf, world.content[4995..5005], "no digest protects a single read");
    world.time.block_on(world.blob.discard(4995..5005)).unwrap();
    assert!(!world.blob.is_complete());
    world.read(4995, 10).unwrap();
    complete(&world, &path, CompleteOptions::default()).unwrap();
    assert!(world.blob.is_complete() && fs::read(&path).unwrap() == world.content);
}

#[test]
fn a_directory_that_is_not_there_is_an_error_that_names_the_file() {
    let (world, dir, _) = world();
    let path = dir.path().join("missing/blob");
    let error = complete(&world, &path, CompleteOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert!(error.to_string().contains("missing/blob"), "{error}");
}

#[test]
fn completing_into_another_file_copies_and_into_the_same_one_does_nothing() {
    let (world, dir, path) = world();
    complete(&world, &path, CompleteOptions::default()).unwrap();
    let requests = world.blob.stats().requests;
    let other = dir.path().join("other");
    complete(&world, &other, CompleteOptions::default()).unwrap();
    assert!(fs::read(&other).unwrap() == world.content);
    fs::remove_file(&other).unwrap();
    complete(&world, &other, CompleteOptions::default()).unwrap();
    assert!(fs::read(&other).unwrap() == world.content, "a file that was removed is made again");
    // Had it been looked at, it would be found to be wrong.
    let mut bytes = world.content.clone();
    bytes[0] ^= 1;
    fs::write(&other, bytes).unwrap();
    complete(&world, &other, CompleteOptions::default()).unwrap();
    assert_eq!((world.blob.stats().requests, world.blob.stats().mismatches), (requests, 0));
}

#[test]
fn short_held_parts_are_fetched_along_unless_bytes_are_what_counts() {
    let chunk = 4 * KIB;
    for (rate, requests, again) in [(None, 4, 3), (Some(1 << 30), 6, 0)] {
        let options = options().with_max_request_len(1 << 20).with_max_gap(8 << 10);
        let world = build(40 * chunk, options, |source| source);
        // One chunk, two, and three that are too many; the first and the last one are between nothing.
        for held in [0..1, 4..5, 8..10, 20..23, 39..40] {
            world.read(held.start * chunk, (held.end - held.start) * chunk).unwrap();
        }
        let (dir, before) = (tempfile::tempdir().unwrap(), world.blob.stats());
        let mut options = CompleteOptions::default();
        options.bytes_per_second = rate;
        complete(&world, &dir.path().join("blob"), options).unwrap();
        let stats = world.blob.stats();
        assert_eq!(stats.bytes_in_gaps, again * chunk as u64);
        assert_eq!(
            stats.bytes_fetched - before.bytes_fetched,
            (40 - 8) as u64 * chunk as u64 + stats.bytes_in_gaps
        );
        assert_eq!(stats.requests - before.requests, requests - 2);
    }
}
