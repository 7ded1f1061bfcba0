//! A writable layer as one that is read.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Storage, Upper};
use crate::content::Content;
use crate::read_at::check_bounds;
use crate::{Layer, ReadAt, Result, Warm, lsmt};

impl Upper {
    /// The layer as it is now, in the form in which it can be committed or put under another one,
    /// whether it is sealed or not.
    ///
    /// What is written to an append-only layer later does not show. A sparse layer must not be
    /// written to for as long as the result is used.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io), also if the medium failed to sync before: what is in the file may
    /// not be what was written.
    pub fn to_layer(&self) -> Result<Layer> {
        self.check()?;
        let segments = self.segments();
        let storage = Arc::clone(self.data());
        let size = storage.length()?;
        let name = Arc::clone(storage.name());
        let (uuid, parent_uuid) = self.identity();
        let trailer = lsmt::Header {
            flags: lsmt::FLAG_DATA | lsmt::FLAG_SEALED,
            index_offset: size,
            index_entries: segments.len() as u64,
            virtual_size: self.virtual_size(),
            uuid,
            parent_uuid,
            user_tag: Vec::new(),
        };
        let content = Content::new(Arc::new(StoredBlob { storage, size }), 0..size, None);
        Ok(Layer::assemble(name, content, trailer, segments))
    }
}

/// A storage up to where it ended when this was made.
#[derive(Debug)]
struct StoredBlob {
    storage: Arc<dyn Storage>,
    size: u64,
}

#[async_trait]
impl ReadAt for StoredBlob {
    fn size(&self) -> u64 {
        self.size
    }

    async fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.try_read_at(buf, offset).map(|_| ())
    }

    fn try_read_at(&self, buf: &mut [u8], offset: u64) -> Result<Warm> {
        check_bounds(self.size, offset, buf.len())?;
        self.storage.read(buf, offset)?;
        Ok(Warm::Yes)
    }
}
