//! A blob in an object store.

use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore};

use super::{BlobSource, ByteStream, FetchRequest, check_bounds};
use crate::{Error, ErrorKind, Result};

/// An object of S3, GCS, Azure or any other [`ObjectStore`] as a [`BlobSource`].
///
/// The store's own retries add to those of the cache: build it with few.
#[derive(Debug, Clone)]
pub struct ObjectSource {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
}

impl ObjectSource {
    /// The object of `size` bytes at `path` of `store`.
    pub fn new(store: Arc<dyn ObjectStore>, path: Path, size: u64) -> Self {
        Self { store, path, size }
    }
}

#[async_trait]
impl BlobSource for ObjectSource {
    async fn fetch(&self, request: FetchRequest) -> Result<ByteStream> {
        let range = request.range;
        check_bounds(&range, self.size)?;
        if range.is_empty() {
            return Ok(Box::pin(stream::empty()));
        }
        let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
        let found = self.store.get_opts(&self.path, options).await.map_err(|e| failure(&e))?;
        if found.meta.size != self.size {
            let why = format!("an object of {} bytes where {} were stated", found.meta.size, self.size);
            return Err(Error::new(ErrorKind::SizeMismatch, why));
        }
        if found.range != range {
            return Err(Error::new(ErrorKind::Protocol, "the object store gave another range"));
        }
        let pieces = found.into_stream().map(|piece| piece.map_err(|e| failure(&e)));
        // Some stores yield an empty piece at an end.
        let pieces = pieces.filter(|piece| std::future::ready(!piece.as_ref().is_ok_and(|p| p.is_empty())));
        Ok(super::exact(Box::pin(pieces), range.end.saturating_sub(range.start)))
    }
}

/// What an error of an object store means here. Its text may hold a signed URL and is left out.
pub(crate) fn failure(error: &object_store::Error) -> Error {
    use object_store::Error as Theirs;
    let (kind, why) = match error {
        Theirs::NotFound { .. } => (ErrorKind::NotFound, "the object store does not have the object"),
        Theirs::PermissionDenied { .. } | Theirs::Unauthenticated { .. } => {
            (ErrorKind::Denied, "the object store refuses these credentials")
        }
        Theirs::InvalidPath { .. } | Theirs::NotSupported { .. } | Theirs::NotImplemented { .. } => {
            (ErrorKind::InvalidInput, "the object store cannot do this")
        }
        _ => (ErrorKind::Unavailable, "the object store failed"),
    };
    Error::new(kind, why)
}
