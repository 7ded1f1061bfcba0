//! The blob of an index-only layer: a tar with gzip around the filesystem's metadata and the gzip index.
//!
//! ```text
//!  erofs.fs.meta    ZFile around LSMT: metadata, and where the contents of files are in the target
//!  .turbo.ociv1     empty: marks the layer
//!  gzip.meta        how the target is read at any position, if it is gzip
//! ```

use std::io::{self, Read, Write};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use flate2::{Compression, GzBuilder};
use referrers::Digest;
use tar::{EntryType, Header};

use crate::hashing::HashingWriter;

/// What is in the blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexOnlyBlob {
    /// The layer.
    pub fs_meta: Bytes,
    /// The index of its target, if that is gzip.
    pub gzip_index: Option<Bytes>,
}

impl IndexOnlyBlob {
    /// Writes the blob of an EROFS layer to `sink`. Returns its DiffID, the digest before compression. The
    /// same layer gives the same bytes.
    ///
    /// # Errors
    ///
    /// If `sink` fails.
    pub fn write(&self, sink: impl Write) -> Result<Digest> {
        let gzip = GzBuilder::new().write(sink, Compression::default());
        let mut tar = tar::Builder::new(HashingWriter::new(gzip));
        let entries = [(FS_META[0], Some(&self.fs_meta)), (MARK, Some(&Bytes::new()))];
        for (name, content) in entries.into_iter().chain([(GZIP_INDEX, self.gzip_index.as_ref())]) {
            let Some(content) = content else { continue };
            let mut header = Header::new_ustar();
            header.set_entry_type(EntryType::Regular);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, name, content.as_ref())?;
        }
        let (gzip, diff_id, _) = tar.into_inner()?.finish()?;
        gzip.finish()?.flush()?;
        Ok(diff_id)
    }

    /// Reads a blob that anybody has made. If it has the metadata of several filesystems, that of EROFS is
    /// taken, as the snapshotter does by default.
    ///
    /// # Errors
    ///
    /// If it is no tar with gzip, holds no metadata, or more than 1 GiB.
    pub fn read(blob: impl Read) -> Result<Self> {
        let limited = MultiGzDecoder::new(blob).take(LONGEST);
        let mut tar = tar::Archive::new(limited);
        let mut found = FS_META.map(|_| None);
        let mut gzip_index = None;
        for entry in tar.entries()? {
            let mut entry = entry?;
            let name = entry.path_bytes();
            let name = name.strip_prefix(b"./").unwrap_or(&name);
            let place = if name == GZIP_INDEX.as_bytes() {
                Some(&mut gzip_index)
            } else {
                let at = FS_META.iter().position(|meta| name == meta.as_bytes());
                at.and_then(|at| found.get_mut(at))
            };
            let Some(place) = place else { continue };
            ensure!(place.is_none(), "{} is in it twice", String::from_utf8_lossy(name));
            let mut content = Vec::new();
            let read = entry.read_to_end(&mut content)? as u64;
            if read != entry.size() {
                bail!("it is cut, or longer than 1 GiB");
            }
            *place = Some(content.into());
        }
        io::copy(&mut tar.into_inner(), &mut io::sink())?;
        let fs_meta = found.into_iter().flatten().next();
        let fs_meta = fs_meta.with_context(|| format!("it holds none of {}", FS_META.join(", ")))?;
        Ok(Self { fs_meta, gzip_index })
    }
}

/// The metadata of a filesystem, the preferred one first.
const FS_META: [&str; 2] = ["erofs.fs.meta", "ext4.fs.meta"];
const MARK: &str = ".turbo.ociv1";
const GZIP_INDEX: &str = "gzip.meta";

/// Bytes of the tar: far more than the metadata of any image, and what can still be held.
const LONGEST: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn blob() -> IndexOnlyBlob {
        IndexOnlyBlob { fs_meta: vec![7; 10_000].into(), gzip_index: Some(b"ddgzidx"[..].into()) }
    }

    fn written(blob: &IndexOnlyBlob) -> (Vec<u8>, Digest) {
        let mut bytes = Vec::new();
        let diff_id = blob.write(&mut bytes).unwrap();
        (bytes, diff_id)
    }

    #[test]
    fn what_is_written_is_read() {
        for blob in [blob(), IndexOnlyBlob { gzip_index: None, ..blob() }] {
            let (bytes, diff_id) = written(&blob);
            assert_eq!(IndexOnlyBlob::read(&*bytes).unwrap(), blob);
            let mut tar = Vec::new();
            MultiGzDecoder::new(&*bytes).read_to_end(&mut tar).unwrap();
            assert_eq!(Digest::sha256_of(&tar), diff_id);
            assert_eq!(written(&blob).0, bytes);
        }
    }

    #[test]
    fn the_entries_come_in_the_order_that_readers_know() {
        let (bytes, _) = written(&blob());
        let mut tar = tar::Archive::new(MultiGzDecoder::new(&*bytes));
        let names = tar.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned());
        let expected = ["erofs.fs.meta", ".turbo.ociv1", "gzip.meta"];
        assert_eq!(names.map(|name| name.display().to_string()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_is_no_such_blob_is_refused() {
        let (bytes, _) = written(&blob());
        IndexOnlyBlob::read(&bytes[..bytes.len() - 9]).unwrap_err();
        IndexOnlyBlob::read(&b"no gzip"[..]).unwrap_err();
        let mut other = Vec::new();
        let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(&mut other, Compression::fast()));
        let mut header = Header::new_ustar();
        header.set_size(0);
        tar.append_data(&mut header, "etc/passwd", io::empty()).unwrap();
        tar.into_inner().unwrap().finish().unwrap();
        let error = IndexOnlyBlob::read(&*other).unwrap_err().to_string();
        assert!(error.contains("erofs.fs.meta"), "{error}");
    }
}
