//! A blob in memory.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream;

use super::{BlobSource, ByteStream, FetchRequest, check_bounds};
use crate::Result;

/// Bytes in memory as a [`BlobSource`].
#[derive(Clone)]
pub struct MemorySource(Bytes);

impl MemorySource {
    /// Takes the bytes without copying them where `Bytes` can.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for MemorySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySource").field("size", &self.0.len()).finish()
    }
}

#[async_trait]
impl BlobSource for MemorySource {
    async fn fetch(&self, request: FetchRequest) -> Result<ByteStream> {
        check_bounds(&request.range, self.0.len() as u64)?;
        // In bounds of a slice, so both ends fit.
        let bytes = self.0.slice(request.range.start as usize..request.range.end as usize);
        Ok(Box::pin(stream::iter((!bytes.is_empty()).then_some(Ok(bytes)))))
    }
}
