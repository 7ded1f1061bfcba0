//! A blob as what the overlaybd reader reads from.

use async_trait::async_trait;
use overlaybd_format::{Error, ReadAt, Warm};

use crate::{Blob, ErrorKind};

#[async_trait]
impl ReadAt for Blob {
    fn size(&self) -> u64 {
        Self::size(self)
    }

    async fn read_at(&self, buf: &mut [u8], offset: u64) -> overlaybd_format::Result<()> {
        let len = buf.len();
        Self::read_at(self, buf, offset).await.map_err(|e| translated(e, self.size(), offset, len))
    }

    fn try_read_at(&self, buf: &mut [u8], offset: u64) -> overlaybd_format::Result<Warm> {
        let len = buf.len();
        match Self::try_read_at(self, buf, offset) {
            Ok(true) => Ok(Warm::Yes),
            Ok(false) => Ok(Warm::No),
            Err(e) => Err(translated(e, self.size(), offset, len)),
        }
    }
}

fn translated(error: crate::Error, size: u64, offset: u64, len: usize) -> Error {
    match error.kind() {
        ErrorKind::OutOfBounds => Error::OutOfBounds { offset, len: len as u64, size },
        _ => Error::io(offset, len, error),
    }
}
