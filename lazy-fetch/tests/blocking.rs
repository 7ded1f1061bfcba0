//! The blocking facade reads from plain threads and refuses to run where it could wait for itself.

#![cfg(feature = "tokio")]

use std::sync::Arc;

use lazy_fetch::{Blob, BlobId, Cache, ErrorKind, MemorySource, TokioRuntime, blocking};

async fn open() -> Blob {
    let cache = Cache::builder(Arc::new(TokioRuntime::current().unwrap())).build().unwrap();
    let source = Arc::new(MemorySource::new(vec![7; 1000]));
    cache.open(BlobId::new("b").unwrap(), 1000, source)
}

#[test]
fn a_plain_thread_reads() {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let blob = blocking::Blob::new(tokio.block_on(open()));
    let mut buf = [0; 10];
    blob.read_at(&mut buf, 990).unwrap();
    assert_eq!((buf, blob.size()), ([7; 10], 1000));
    assert_eq!(blob.read_at(&mut buf, 991).unwrap_err().kind(), ErrorKind::OutOfBounds);
}

#[tokio::test]
async fn an_async_context_is_refused() {
    let blob = blocking::Blob::new(open().await);
    assert_eq!(blob.read_at(&mut [0; 10], 0).unwrap_err().kind(), ErrorKind::AsyncContext);
}

#[test]
fn the_virtual_runtime_is_refused_too() {
    let time = lazy_fetch::conformance::VirtualTime::new();
    let cache = Cache::builder(Arc::new(time.clone())).build().unwrap();
    let source = Arc::new(MemorySource::new(vec![7; 1000]));
    let blob = blocking::Blob::new(cache.open(BlobId::new("b").unwrap(), 1000, source));
    let result = time.block_on(async { blob.read_at(&mut [0; 10], 0) });
    assert_eq!(result.unwrap_err().kind(), ErrorKind::AsyncContext);
}
