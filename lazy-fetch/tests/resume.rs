//! What breaks on the way is resumed from the bytes that are held, or becomes an error in time.

#[path = "support/blob_under_test.rs"]
mod blob_under_test;

use std::sync::Arc;
use std::time::Duration;

use blob_under_test::{blob, build, options};
use lazy_fetch::conformance::Fault;
use lazy_fetch::{BlobId, BlobSource, ByteStream, Error, ErrorKind, FetchRequest, RetryOptions};

const LEN: u64 = 10_000;

#[test]
fn a_cut_at_every_byte_is_resumed_from_the_held_bytes() {
    for cut in 0..LEN {
        let world = blob(LEN as usize, [Fault::CutAfter(cut)]);
        world.read(0, LEN as usize).unwrap();
        assert_eq!(world.source.ranges(), [0..LEN, cut..LEN]);
        assert_eq!(world.blob.stats().bytes_fetched, LEN, "no byte twice");
    }
}

#[test]
fn a_body_that_ends_early_without_an_error_is_resumed_too() {
    for cut in (0..LEN).step_by(997) {
        let world = blob(LEN as usize, [Fault::EndAfter(cut)]);
        world.read(0, LEN as usize).unwrap();
        assert_eq!(world.source.ranges(), [0..LEN, cut..LEN]);
    }
}

#[test]
fn tries_that_bring_bytes_do_not_count() {
    let faults: Vec<_> = (0..20).map(|_| Fault::CutAfter(100)).collect();
    let world = blob(LEN as usize, faults);
    world.read(0, LEN as usize).unwrap();
    assert_eq!((world.blob.stats().requests, world.blob.stats().retries), (21, 20));
}

#[test]
fn tries_without_a_byte_are_bounded() {
    let faults = vec![Fault::CutAfter(0); 100];
    let world = build(LEN as usize, options().with_retry(RetryOptions::default().with_tries(3)), |s| {
        s.with_faults(faults)
    });
    let error = world.read(0, 10).unwrap_err();
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Connection, true));
    assert_eq!(world.source.ranges().len(), 3);
    assert_eq!(error.to_string(), "blob sha256:0b, bytes 0..4096: connection reset");
}

#[test]
fn a_stall_is_given_up_and_resumed() {
    let world = blob(LEN as usize, [Fault::StallAfter(5000)]);
    world.read(0, LEN as usize).unwrap();
    // In pieces of 4 KiB, the one that was cut included.
    assert_eq!(world.source.ranges(), [0..LEN, 5000..LEN]);
    assert!(world.time.elapsed() >= options().stall_timeout);
}

#[test]
fn an_endless_stall_is_an_error_at_the_deadline_at_the_latest() {
    for stall_timeout in [1, 5, 100] {
        for read_timeout in [2, 30] {
            let options = options()
                .with_stall_timeout(Duration::from_secs(stall_timeout))
                .with_read_timeout(Duration::from_secs(read_timeout));
            let world = build(LEN as usize, options, |s| s.with_faults(vec![Fault::StallAfter(0); 100]));
            let error = world.read(0, 10).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::DeadlineExceeded | ErrorKind::Stalled), "{error}");
            assert!(world.time.elapsed() <= Duration::from_secs(read_timeout), "{:?}", world.time.elapsed());
            // The deadline ends the fetch, too.
            world.time.run_until_idle();
            assert_eq!(world.time.tasks(), 0);
        }
    }
}

#[test]
fn an_error_at_the_deadline_names_its_cause() {
    let options = options().with_read_timeout(Duration::from_secs(8));
    let world = build(LEN as usize, options, |s| {
        s.with_faults([Fault::CutAfter(0)]).with_latency(Duration::from_millis(4900))
    });
    let error = world.read(0, 10).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    assert!(error.to_string().ends_with("connection reset"), "{error}");
}

#[test]
fn a_slow_trickle_of_nothing_is_no_progress() {
    // Each piece takes longer than the stall timeout.
    let options = options().with_stall_timeout(Duration::from_millis(50));
    let world = build(LEN as usize, options, |s| s.with_latency(Duration::from_millis(60)));
    assert_eq!(world.read(0, 10).unwrap_err().kind(), ErrorKind::Stalled);
}

/// Yields empty pieces for ever.
#[derive(Debug)]
struct Hollow;

#[async_trait::async_trait]
impl BlobSource for Hollow {
    async fn fetch(&self, _request: FetchRequest) -> lazy_fetch::Result<ByteStream> {
        Ok(Box::pin(futures::stream::repeat_with(|| Ok(bytes::Bytes::new()))))
    }
}

#[test]
fn endless_empty_pieces_do_not_hang_a_reader() {
    let world = blob(10, []);
    let blob = world.cache.open(BlobId::new("hollow").unwrap(), 10, Arc::new(Hollow));
    let error = world.time.block_on(blob.read_at(&mut [0; 10], 0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
}

#[test]
fn permanent_errors_are_not_repeated() {
    for kind in [ErrorKind::NotFound, ErrorKind::Denied, ErrorKind::Protocol, ErrorKind::SizeMismatch] {
        let world = blob(LEN as usize, [Fault::Refuse(Error::new(kind, "no"))]);
        assert_eq!(world.read(0, 10).unwrap_err().kind(), kind);
        assert_eq!(world.source.ranges().len(), 1);
    }
}

#[test]
fn retry_after_is_respected_while_it_fits_the_deadline() {
    let busy = |seconds| {
        Fault::Refuse(
            Error::new(ErrorKind::RateLimited, "busy").with_retry_after(Duration::from_secs(seconds)),
        )
    };
    let world = blob(LEN as usize, [busy(7)]);
    world.read(0, 10).unwrap();
    assert!(world.time.elapsed() >= Duration::from_secs(7));

    let world = blob(LEN as usize, [busy(50)]);
    assert_eq!(world.read(0, 10).unwrap_err().kind(), ErrorKind::RateLimited);
    assert!(world.time.elapsed() < Duration::from_secs(1), "nobody waits for what cannot help");
}

#[test]
fn what_exceeds_the_range_is_never_stored() {
    let world = blob(LEN as usize, [Fault::Overrun]);
    assert_eq!(world.read(0, LEN as usize).unwrap_err().kind(), ErrorKind::Protocol);
    assert!(world.blob.try_read_at(&mut [0; 8192], 0).unwrap(), "what came before is right");
    assert!(!world.blob.try_read_at(&mut [0; 1], 8192).unwrap());
    world.read(0, LEN as usize).unwrap();
}
