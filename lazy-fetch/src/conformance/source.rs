//! The contract of `BlobSource`.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;

use crate::{BlobSource, Error, FetchRequest};

/// Checks that `source` serves exactly the bytes `expected`, in every way a cache asks for them.
/// `deadline` is the one of every request; a few KiB of `expected` suffice.
///
/// # Panics
///
/// With the rule that is broken.
pub async fn blob_source(source: Arc<dyn BlobSource>, expected: &[u8], deadline: Instant) {
    let size = expected.len() as u64;
    assert!(size >= 16, "the suite needs a blob of 16 bytes or more");
    let ranges = [0..size, 0..1, size - 1..size, 1..size - 1, size / 3..size / 2, size / 2..size / 2 + 1];
    for range in &ranges {
        check(&source, expected, range.clone(), deadline).await;
    }
    for at in [0, size / 2, size] {
        check(&source, expected, at..at, deadline).await;
    }
    for range in [0..size + 1, size..size + 1, size + 7..size + 9] {
        let error = collect(&source, range.clone(), deadline).await.1;
        let error = error.unwrap_or_else(|| panic!("bytes {range:?} of {size} were not refused"));
        assert!(!error.is_transient(), "bytes {range:?} of {size} count as a transient error: {error}");
    }
    join_all(ranges.iter().cycle().take(24).map(|range| check(&source, expected, range.clone(), deadline)))
        .await;

    let (kept, dropped) = (fetch(&source, 0..size, deadline), fetch(&source, 0..size, deadline));
    let mut kept = kept.await.expect("a fetch beside another one");
    let mut dropped = dropped.await.expect("a fetch beside another one");
    let _ = dropped.next().await;
    drop(dropped);
    let mut got = Vec::new();
    while let Some(piece) = kept.next().await {
        got.extend_from_slice(&piece.expect("a stream beside one that was dropped"));
    }
    assert!(got == expected, "dropping one stream disturbed another");
}

/// Checks that a fetch which fails gives a prefix of the right bytes and then an error, and that the
/// source works again afterwards. `break_next` makes the next fetch fail in a way of its choice.
///
/// # Panics
///
/// With the rule that is broken.
pub async fn blob_source_under_fault(
    source: Arc<dyn BlobSource>,
    expected: &[u8],
    deadline: Instant,
    mut break_next: impl FnMut(),
) {
    break_next();
    let (got, error) = collect(&source, 0..expected.len() as u64, deadline).await;
    assert!(expected.starts_with(&got), "bytes before the error are wrong");
    assert!(error.is_some(), "a broken fetch ended without an error after {} bytes", got.len());
    check(&source, expected, 0..expected.len() as u64, deadline).await;
}

async fn check(source: &Arc<dyn BlobSource>, expected: &[u8], range: Range<u64>, deadline: Instant) {
    let (got, error) = collect(source, range.clone(), deadline).await;
    assert!(error.is_none(), "bytes {range:?}: {}", error.unwrap());
    assert!(got == expected[range.start as usize..range.end as usize], "bytes {range:?} are wrong");
}

async fn fetch(
    source: &Arc<dyn BlobSource>,
    range: Range<u64>,
    deadline: Instant,
) -> Result<crate::ByteStream, Error> {
    source.fetch(FetchRequest::new(range, deadline)).await
}

/// All bytes up to the end or the error.
async fn collect(
    source: &Arc<dyn BlobSource>,
    range: Range<u64>,
    deadline: Instant,
) -> (Vec<u8>, Option<Error>) {
    let mut got = Vec::new();
    let mut stream = match fetch(source, range.clone(), deadline).await {
        Ok(stream) => stream,
        Err(error) => return (got, Some(error)),
    };
    while let Some(piece) = stream.next().await {
        let piece: Bytes = match piece {
            Ok(piece) => piece,
            Err(error) => return (got, Some(error)),
        };
        assert!(!piece.is_empty(), "bytes {range:?} hold an empty piece");
        got.extend_from_slice(&piece);
    }
    (got, None)
}
