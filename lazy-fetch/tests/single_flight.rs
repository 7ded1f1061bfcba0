//! One fetch per chunk, however many readers, whoever leaves.

#[path = "support/blob_under_test.rs"]
mod blob_under_test;

use std::time::Duration;

use blob_under_test::{CHUNK, UnderTest, blob, read_and_compare};
use futures::future::{AbortHandle, abortable, join_all};
use lazy_fetch::conformance::Fault;
use lazy_fetch::{BlobOptions, Error, ErrorKind, Priority, Readahead, Runtime};

/// 64 readers of one chunk; those for whom `stays` is false leave while it is on its way.
fn readers(world: &UnderTest, stays: impl Fn(usize) -> bool) -> Vec<bool> {
    let (reads, handles): (Vec<_>, Vec<AbortHandle>) =
        (0..64).map(|i| abortable(read_and_compare(&world.blob, &world.content, i * 17, 100))).unzip();
    world.time.block_on(async {
        let leave = async {
            let now = world.time.now();
            world.time.sleep_until(now + Duration::from_millis(5)).await;
            assert_eq!(world.source.ranges().len(), 1, "the fetch is under way");
            for (i, handle) in handles.iter().enumerate() {
                if !stays(i) {
                    handle.abort();
                }
            }
        };
        let (read, ()) = futures::join!(join_all(reads), leave);
        read.into_iter().map(|result| matches!(result, Ok(Ok(())))).collect()
    })
}

#[test]
fn sixty_four_readers_cause_one_fetch() {
    let world = blob(100_000, []);
    assert_eq!(readers(&world, |_| true), [true; 64]);
    let ranges = world.source.ranges();
    assert_eq!((ranges.len(), &ranges[0]), (1, &(0..u64::from(CHUNK))));
    let stats = world.blob.stats();
    assert_eq!((stats.requests, stats.bytes_fetched, stats.joined), (1, 4096, 63));
}

#[test]
fn sixty_three_that_leave_harm_nobody_whoever_stays() {
    for survivor in [0, 1, 31, 63] {
        let world = blob(100_000, []);
        let finished = readers(&world, |i| i == survivor);
        let expected: Vec<_> = (0..64).map(|i| i == survivor).collect();
        assert_eq!(finished, expected);
        assert_eq!(world.source.ranges().len(), 1);
    }
}

#[test]
fn what_all_readers_left_still_reaches_the_cache() {
    let world = blob(100_000, []);
    readers(&world, |_| false);
    world.time.run_until_idle();
    assert!(world.blob.try_read_at(&mut [0; 10], 0).unwrap());
    assert_eq!((world.source.ranges().len(), world.time.tasks()), (1, 0));
}

#[test]
fn a_final_error_reaches_every_reader_after_one_series_of_tries() {
    let world = blob(100_000, [Fault::Refuse(Error::new(ErrorKind::NotFound, "gone"))]);
    let read = || async { world.blob.read_at(&mut [0; 10], 0).await.unwrap_err().kind() };
    let kinds = world.time.block_on(join_all((0..64).map(|_| read())));
    assert!(kinds.iter().all(|kind| *kind == ErrorKind::NotFound), "{kinds:?}");
    assert_eq!(world.source.ranges().len(), 1);
    // An error is not cached.
    world.read(0, 10).unwrap();
}

#[test]
fn a_reader_with_more_time_outlives_the_flight_it_joined() {
    let world = blob(100_000, [Fault::StallAfter(0)]);
    let start = world.time.now();
    world.time.block_on(async {
        let (mut a, mut b) = ([0; 10], [0; 10]);
        let hasty = world.blob.read_at_until(&mut a, 0, start + Duration::from_secs(2));
        let patient = world.blob.read_at_until(&mut b, 0, start + Duration::from_secs(60));
        let (hasty, patient) = futures::join!(hasty, patient);
        assert_eq!(hasty.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
        patient.unwrap();
        assert_eq!(b, world.content[..10]);
    });
    assert_eq!(world.source.ranges().len(), 2);
}

#[test]
fn demand_does_not_inherit_the_failure_of_a_prefetch() {
    let world = blob(1 << 20, []);
    let blob = world
        .cache
        .open_with(
            blob_under_test::id(),
            1 << 20,
            world.source.clone(),
            BlobOptions::default().with_prefetch(Readahead::new(128 << 10)),
        )
        .unwrap();
    world.time.block_on(async {
        read_and_compare(&blob, &world.content, 0, 4096).await.unwrap();
        read_and_compare(&blob, &world.content, 4096, 4096).await.unwrap();
        world.source.break_next(Fault::Refuse(Error::new(ErrorKind::Protocol, "no")));
        let soon = world.time.now() + Duration::from_millis(1);
        world.time.sleep_until(soon).await;
        read_and_compare(&blob, &world.content, 8192, 4096).await.unwrap();
    });
    let priorities: Vec<_> = world.source.requests().iter().map(|request| request.urgency.get()).collect();
    assert_eq!(
        priorities,
        [Priority::OnDemand, Priority::OnDemand, Priority::Prefetch, Priority::OnDemand],
        "the demand read made a request of its own"
    );
}

#[test]
fn a_task_that_dies_wakes_its_readers() {
    let world = blob(100_000, [Fault::Panic]);
    let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.read(0, 10)));
    // The virtual runtime lets the panic through; the next reader finds the way free.
    assert!(died.is_err());
    world.read(0, 10).unwrap();
}
