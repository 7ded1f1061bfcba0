//! Demand comes first, and what a reader waits for becomes demand.

#[path = "support/blob_under_test.rs"]
mod blob_under_test;

use std::time::Duration;

use blob_under_test::{UnderTest, build, options, read_and_compare};
use futures::future::join_all;
use lazy_fetch::{CacheOptions, Priority, Runtime};

const KIB: usize = 1024;
const REQUEST: usize = 64 * KIB;

/// Requests of 64 KiB, of which as many as `in_flight` says are under way at once.
fn world(in_flight: usize) -> UnderTest {
    let options: CacheOptions = options()
        .with_max_request_len(REQUEST as u64)
        .with_max_in_flight((in_flight * REQUEST) as u64)
        .with_hedge_percentile(None);
    build(64 * REQUEST, options, |source| source.with_piece(REQUEST))
}

fn ranges(requests: std::ops::Range<usize>) -> impl Iterator<Item = std::ops::Range<u64>> {
    requests.map(|i| (i * REQUEST) as u64..((i + 1) * REQUEST) as u64)
}

#[test]
fn the_budget_holds_and_a_read_does_not_wait_for_a_prefetch() {
    let world = world(4);
    world.time.block_on(async {
        world.blob.prefetch(ranges(0..32));
        world.time.sleep_until(world.time.now() + Duration::from_millis(5)).await;
        let usage = world.cache.usage();
        assert_eq!((usage.bytes_in_flight, usage.requests_waiting), (3 * REQUEST as u64, 29));
        let before = world.time.elapsed();
        read_and_compare(&world.blob, &world.content, 40 * REQUEST, 100).await.unwrap();
        assert_eq!(world.time.elapsed() - before, Duration::from_millis(20));
    });
    world.time.run_until_idle();
    assert_eq!(world.source.ranges().len(), 33);
    let usage = world.cache.usage();
    assert_eq!((usage.bytes_in_flight, usage.requests_waiting), (0, 0));
}

#[test]
fn a_prefetch_that_a_reader_joins_goes_before_the_others() {
    let world = world(4);
    world.time.block_on(async {
        world.blob.prefetch(ranges(0..32));
        world.time.sleep_until(world.time.now() + Duration::from_millis(5)).await;
        let before = world.time.elapsed();
        read_and_compare(&world.blob, &world.content, 31 * REQUEST + 7, 100).await.unwrap();
        assert_eq!(world.time.elapsed() - before, Duration::from_millis(20));
    });
    let requests = world.source.requests();
    let raised = requests.iter().position(|request| request.range.start == 31 * REQUEST as u64).unwrap();
    assert_eq!((raised, requests[raised].urgency.get()), (3, Priority::OnDemand));
    world.time.run_until_idle();
    assert_eq!(world.source.ranges().len(), 32, "nothing was fetched twice");
}

#[test]
fn more_readers_than_the_budget_bears_all_get_their_bytes() {
    let world = world(2);
    let reads = (0..64).map(|i| read_and_compare(&world.blob, &world.content, i * REQUEST, REQUEST));
    for result in world.time.block_on(join_all(reads)) {
        result.unwrap();
    }
    assert!(world.time.elapsed() >= Duration::from_millis(20 * 64 / 2), "{:?}", world.time.elapsed());
}

#[test]
fn a_read_that_gets_no_turn_ends_at_its_deadline_and_says_so() {
    let world = world(1);
    for _ in 0..100 {
        world.source.break_next(lazy_fetch::conformance::Fault::Hang);
    }
    let patient = world.time.now() + Duration::from_secs(60);
    let hasty = world.time.now() + Duration::from_secs(2);
    world.time.block_on(async {
        let (mut a, mut b) = (vec![0; REQUEST], vec![0; REQUEST]);
        let holder = world.blob.read_at_until(&mut a, 0, patient);
        let waiter = world.blob.read_at_until(&mut b, REQUEST as u64, hasty);
        let (holder, waiter) = futures::join!(holder, waiter);
        assert!(holder.is_err());
        assert!(waiter.unwrap_err().to_string().contains("other requests took up"));
    });
}

#[test]
fn a_warm_up_costs_few_requests_in_the_order_given() {
    let world = build(64 * REQUEST, options().with_max_request_len(1 << 20), |s| s.with_piece(1 << 20));
    let far = 40 * REQUEST as u64;
    // Of a start: pieces of two files, woven together, the second one with a hole of one chunk.
    let wanted = (0..32u64).flat_map(|i| [far + i * 8192..far + i * 8192 + 8192, i * 4096..i * 4096 + 4096]);
    let holed = wanted.filter(|range| range.start != 20 * 4096);
    world.blob.prefetch(holed);
    world.time.run_until_idle();
    assert_eq!(world.source.ranges(), [0..32 * 4096, far..far + 32 * 8192]);
    world.blob.prefetch([0..u64::MAX, u64::MAX..u64::MAX]);
}
