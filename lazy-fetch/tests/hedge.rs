//! A request that takes longer than most is asked for a second time, within a budget.

#[path = "support/blob_under_test.rs"]
mod blob_under_test;

use std::time::Duration;

use blob_under_test::{CHUNK, UnderTest, build, options};
use lazy_fetch::conformance::Fault;
use lazy_fetch::{Error, ErrorKind};

const CHUNKS: usize = 200;

/// A blob of which thirty chunks were read, each after 10 ms for the answer and 10 ms for the piece.
fn used(percentile: Option<u8>) -> UnderTest {
    let options = options().with_hedge_percentile(percentile);
    let world = build(CHUNKS * CHUNK as usize, options, |source| source);
    (0..30).for_each(|chunk| read(&world, chunk));
    world
}

fn read(world: &UnderTest, chunk: usize) {
    world.read(chunk * CHUNK as usize, 100).unwrap();
}

#[test]
fn a_request_that_hangs_costs_little_more_than_usual() {
    let world = used(Some(95));
    let before = world.time.elapsed();
    world.source.break_next(Fault::Hang);
    read(&world, 50);
    let took = world.time.elapsed() - before;
    assert!(took <= Duration::from_millis(50), "{took:?}");
    let stats = world.blob.stats();
    assert_eq!((stats.hedges, stats.retries, stats.requests), (1, 0, 32));
    assert_eq!(stats.bytes_fetched, 31 * u64::from(CHUNK));
    world.time.run_until_idle();
    assert_eq!(world.time.tasks(), 0, "the loser is gone");
}

#[test]
fn without_a_percentile_a_request_has_its_time() {
    let world = used(None);
    world.source.break_next(Fault::Hang);
    read(&world, 50);
    let stats = world.blob.stats();
    assert_eq!((stats.hedges, stats.retries), (0, 1));
    assert!(world.time.elapsed() >= options().stall_timeout);
}

#[test]
fn the_first_counts_if_the_second_fails() {
    let world = used(Some(95));
    world.source.break_next(Fault::Slow(Duration::from_millis(500)));
    world.source.break_next(Fault::Refuse(Error::new(ErrorKind::Protocol, "no")));
    read(&world, 50);
    let stats = world.blob.stats();
    assert_eq!((stats.hedges, stats.retries), (1, 0));
}

#[test]
fn an_origin_that_is_slow_as_a_whole_is_not_asked_twice_for_everything() {
    // The median follows the slow ones late enough that the budget is what holds.
    let world = used(Some(50));
    for _ in 0..1000 {
        world.source.break_next(Fault::Slow(Duration::from_millis(500)));
    }
    (50..CHUNKS).for_each(|chunk| read(&world, chunk));
    let stats = world.blob.stats();
    assert!(stats.hedges > 1 && stats.hedges <= stats.requests / 20 + 1, "{stats:?}");
}
