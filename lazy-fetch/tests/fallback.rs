//! A blob at several origins is read while one of them serves it.

#[path = "support/blob_under_test.rs"]
mod blob_under_test;

use std::sync::Arc;
use std::time::Duration;

use blob_under_test::{CHUNK, content, options, read_and_compare};
use lazy_fetch::conformance::{Fault, FaultySource, VirtualTime, blob_source};
use lazy_fetch::{
    Blob, BlobId, BlobOptions, BlobSource, Cache, Error, ErrorKind, Fallback, FetchRequest, MemorySource,
    NoPrefetch, Runtime,
};

const LEN: usize = 64 * CHUNK as usize;

struct World {
    time: VirtualTime,
    mirror: Arc<FaultySource>,
    origin: Arc<FaultySource>,
    fallback: Arc<Fallback>,
    blob: Blob,
}

fn world() -> World {
    let time = VirtualTime::new();
    let runtime: Arc<dyn Runtime> = Arc::new(time.clone());
    let source = || {
        let inner = Arc::new(MemorySource::new(content(LEN)));
        Arc::new(FaultySource::new(runtime.clone(), inner).with_latency(Duration::from_millis(10)))
    };
    let (mirror, origin) = (source(), source());
    let fallback = Arc::new(Fallback::new(runtime.clone(), mirror.clone()).or(origin.clone()));
    let cache = Cache::builder(runtime).options(options()).build().unwrap();
    let id = BlobId::new("b").unwrap();
    let blob = cache
        .open_with(id, LEN as u64, fallback.clone(), BlobOptions::default().with_prefetch(NoPrefetch))
        .unwrap();
    World { time, mirror, origin, fallback, blob }
}

impl World {
    fn read(&self, chunk: usize) {
        let content = content(LEN);
        self.time.block_on(read_and_compare(&self.blob, &content, chunk * CHUNK as usize, 100)).unwrap();
    }

    fn asked(&self) -> (usize, usize) {
        (self.mirror.ranges().len(), self.origin.ranges().len())
    }
}

fn refused(kind: ErrorKind) -> Fault {
    Fault::Refuse(Error::new(kind, "no"))
}

#[test]
fn the_contract_is_kept() {
    let world = world();
    let deadline = world.time.now() + Duration::from_secs(60);
    world.time.block_on(blob_source(world.fallback.clone(), &content(LEN), deadline));
}

#[test]
fn whatever_the_mirror_answers_the_origin_is_asked_in_the_same_try() {
    for kind in [ErrorKind::NotFound, ErrorKind::Denied, ErrorKind::Protocol, ErrorKind::Unavailable] {
        let world = world();
        world.mirror.break_next(refused(kind));
        world.read(0);
        assert_eq!((world.asked(), world.blob.stats().retries), ((1, 1), 0), "{kind:?}");
    }
}

#[test]
fn a_mirror_that_fails_again_and_again_is_passed_over_and_tried_later() {
    let world = world();
    for _ in 0..4 {
        world.mirror.break_next(refused(ErrorKind::Connection));
    }
    for chunk in 0..10 {
        world.read(chunk);
    }
    assert_eq!((world.asked(), world.fallback.passed_over()), ((3, 10), vec![true, false]));
    let later = |seconds| {
        let at = world.time.now() + Duration::from_secs(seconds);
        world.time.block_on(world.time.sleep_until(at));
    };
    later(1);
    world.read(10);
    assert_eq!(world.asked(), (4, 11), "it is tried and fails");
    later(2);
    for chunk in 11..14 {
        world.read(chunk);
    }
    assert_eq!((world.asked(), world.fallback.passed_over()), ((7, 11), vec![false, false]), "it is back");
}

#[test]
fn a_mirror_that_hangs_costs_its_patience_and_then_nothing() {
    let world = world();
    for _ in 0..3 {
        world.mirror.break_next(Fault::Hang);
    }
    for chunk in 0..10 {
        world.read(chunk);
    }
    assert_eq!(world.asked(), (3, 10));
    assert!(world.time.elapsed() < Duration::from_secs(7), "{:?}", world.time.elapsed());
}

#[test]
fn a_body_that_breaks_is_resumed_at_the_next_one() {
    let world = world();
    for _ in 0..3 {
        world.mirror.break_next(Fault::CutAfter(1000));
    }
    for chunk in 0..3 {
        world.read(chunk);
    }
    assert_eq!(world.fallback.passed_over(), [false, false], "the last try of each was good");
    for _ in 0..3 {
        world.mirror.break_next(Fault::CutAfter(0));
    }
    world.read(3);
    assert_eq!(world.fallback.passed_over(), [true, false]);
}

#[test]
fn an_error_of_all_is_one_that_may_pass_if_any_may() {
    for (mirror, origin, expected) in [
        (ErrorKind::Unavailable, ErrorKind::NotFound, ErrorKind::Unavailable),
        (ErrorKind::NotFound, ErrorKind::Unavailable, ErrorKind::Unavailable),
        (ErrorKind::Denied, ErrorKind::NotFound, ErrorKind::NotFound),
    ] {
        let world = world();
        world.mirror.break_next(refused(mirror));
        world.origin.break_next(refused(origin));
        let request = FetchRequest::new(0..10, world.time.now() + Duration::from_secs(9));
        let error = world.time.block_on(world.fallback.fetch(request)).err().unwrap();
        assert_eq!(error.kind(), expected);
    }
}
