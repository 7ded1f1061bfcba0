//! Fetching what a profile names, in its order.

use std::collections::BTreeMap;
use std::ops::Range;

use lazy_fetch::Blob;
use overlaybd_format::Result;
use overlaybd_format::trace::{BlobRange, Trace};

use crate::lazy_image::LazyImage;

/// Starts to fetch what `trace` names of the remote blobs of `image`, first things first, and gives the number
/// of bytes. Whoever wants to read some of them meanwhile does not wait for the rest.
///
/// # Errors
///
/// As [`Trace::blob_ranges`].
pub fn replay(trace: &Trace, image: &LazyImage) -> Result<u64> {
    let (mut replayed, mut in_window) = (0, 0);
    // The ranges of each blob together, because those that are close to one another share requests.
    let mut window: BTreeMap<(usize, bool), Vec<Range<u64>>> = BTreeMap::new();
    let fetch = |window: &mut BTreeMap<_, Vec<_>>| {
        for ((layer, target), ranges) in std::mem::take(window) {
            if let Some(blob) = remote(image, layer, target) {
                blob.prefetch(ranges);
            }
        }
    };
    for BlobRange { layer, target, range } in trace.blob_ranges(&image.device)? {
        let len = range.end.saturating_sub(range.start);
        if remote(image, layer, target).is_none() || replayed + len > MOST {
            continue;
        }
        replayed += len;
        in_window += len;
        window.entry((layer, target)).or_default().push(range);
        if in_window >= WINDOW {
            fetch(&mut window);
            in_window = 0;
        }
    }
    fetch(&mut window);
    Ok(replayed)
}

/// The blob to fetch from, if it is not here and its bytes are those that a trace names.
fn remote(image: &LazyImage, layer: usize, target: bool) -> Option<&Blob> {
    // Where the bytes of a compressed stream are is known to its index alone.
    let known = !(target && image.blobs.get(layer)?.has_compressed_target());
    image.stored(layer, target).filter(|_| known)?.remote.as_ref()
}

/// Stored bytes within which the order of the profile gives way to few requests: half a second of a link of
/// 100 Mbit/s.
const WINDOW: u64 = 6 << 20;
/// What a profile can have fetched at most, in stored bytes.
const MOST: u64 = 1 << 30;
