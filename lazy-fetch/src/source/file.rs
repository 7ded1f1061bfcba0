//! A blob in a local file.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream;

use super::{BlobSource, ByteStream, FetchRequest, check_bounds};
use crate::runtime::blocking;
use crate::{Error, ErrorKind, Result, Runtime};

/// A local file as a [`BlobSource`].
///
/// The size is taken when the file is opened. A file that shrinks afterwards gives
/// [`ErrorKind::Storage`], never zeros.
#[derive(Debug, Clone)]
pub struct FileSource {
    runtime: Arc<dyn Runtime>,
    file: Arc<File>,
    size: u64,
}

impl FileSource {
    /// Opens the file at `path` for reading.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Storage`], naming the path.
    pub fn open(runtime: Arc<dyn Runtime>, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let named = |e| Error::new(ErrorKind::Storage, format!("opening {}", path.display())).with_source(e);
        let file = File::open(path).map_err(named)?;
        let size = file.metadata().map_err(named)?.len();
        Ok(Self { runtime, file: Arc::new(file), size })
    }

    /// Size in bytes when the file was opened.
    pub fn size(&self) -> u64 {
        self.size
    }
}

#[async_trait]
impl BlobSource for FileSource {
    async fn fetch(&self, request: FetchRequest) -> Result<ByteStream> {
        check_bounds(&request.range, self.size)?;
        let (runtime, file) = (Arc::clone(&self.runtime), Arc::clone(&self.file));
        Ok(Box::pin(stream::try_unfold(request.range, move |rest| {
            let (runtime, file) = (Arc::clone(&runtime), Arc::clone(&file));
            async move {
                let len = rest.end.saturating_sub(rest.start).min(PIECE);
                if len == 0 {
                    return Ok(None);
                }
                let piece = blocking(&*runtime, move || {
                    let mut piece = vec![0; len as usize];
                    file.read_exact_at(&mut piece, rest.start).map(|()| piece)
                });
                let piece = piece.await?.map_err(|e| {
                    Error::new(ErrorKind::Storage, format!("reading {len} bytes at {}", rest.start))
                        .with_source(e)
                })?;
                Ok(Some((Bytes::from(piece), rest.start.saturating_add(len)..rest.end)))
            }
        })))
    }
}

/// Bytes read by one job: large against the hand-over to another thread, small against memory.
const PIECE: u64 = 256 << 10;
