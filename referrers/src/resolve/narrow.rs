//! From an index to the image for one platform.

use std::collections::VecDeque;

use crate::image_source::ImageSource;
use crate::{Descriptor, Error, ErrorKind, Manifest, Platform, Repository, Result};

/// An image, and what stands beside it.
pub(crate) struct Narrowed {
    pub(crate) manifest: Manifest,
    /// The other entries of the index that it was chosen from; none if it was not chosen from one.
    pub(crate) siblings: Vec<Descriptor>,
}

/// The image for `platform` in `manifest`, which may be an index of indexes.
pub(crate) async fn narrow(
    source: &dyn ImageSource,
    repository: &Repository,
    manifest: Manifest,
    platform: &Platform,
) -> Result<Narrowed> {
    let mut waiting = VecDeque::from([(manifest, Vec::new(), 0)]);
    let mut read = 0usize;
    while let Some((manifest, siblings, depth)) = waiting.pop_front() {
        let Some(index) = manifest.index() else { return Ok(Narrowed { manifest, siblings }) };
        for entry in platform.choose(index) {
            read = read.saturating_add(1);
            if depth == MAX_DEPTH || read > MAX_READ {
                let kind = ErrorKind::Limit { what: "depth of an index", limit: MAX_DEPTH };
                return Err(Error::new(kind, repository.with_digest(entry.digest.clone()).to_string()));
            }
            let inner = source.manifest_of(repository, entry).await?;
            let siblings = index.manifests.iter().filter(|other| other.digest != entry.digest).cloned();
            waiting.push_back((inner, siblings.collect(), depth.saturating_add(1)));
        }
    }
    Err(no_such_platform(repository, platform))
}

pub(crate) fn no_such_platform(repository: &Repository, platform: &Platform) -> Error {
    Error::new(ErrorKind::NotFound { what: "image for the platform" }, format!("{repository} for {platform}"))
}

/// Converters nest once; more than a few levels are made to waste time.
const MAX_DEPTH: u64 = 4;
const MAX_READ: usize = 16;
