//! A blob is what the overlaybd reader reads from.

#![cfg(feature = "overlaybd-format")]

#[path = "support/blob_under_test.rs"]
mod blob_under_test;

use blob_under_test::blob;
use lazy_fetch::conformance::Fault;
use lazy_fetch::{Error, ErrorKind};
use overlaybd_format::{ReadAt, Warm};

#[test]
fn reads_and_errors_pass_through() {
    let world = blob(10_000, [Fault::Refuse(Error::new(ErrorKind::NotFound, "gone"))]);
    let device: &dyn ReadAt = &world.blob;
    let mut buf = [0; 100];
    assert_eq!(device.size(), 10_000);
    assert_eq!(device.try_read_at(&mut buf, 50).unwrap(), Warm::No);

    let error = world.time.block_on(device.read_at(&mut buf, 50)).unwrap_err();
    assert!(matches!(&error, overlaybd_format::Error::Io { offset: 50, len: 100, .. }), "{error:?}");
    assert!(error.to_string().contains("gone"), "{error}");

    world.time.block_on(device.read_at(&mut buf, 50)).unwrap();
    assert_eq!(buf, world.content[50..150]);
    assert_eq!(device.try_read_at(&mut buf, 50).unwrap(), Warm::Yes);

    let error = world.time.block_on(device.read_at(&mut buf, 9_999)).unwrap_err();
    assert!(matches!(error, overlaybd_format::Error::OutOfBounds { offset: 9_999, len: 100, size: 10_000 }));
}
