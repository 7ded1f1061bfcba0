//! File lists: the paths that a start reads, one a line.
//!
//! A list says the same as a [trace](crate::trace) and is written by people: it names files and not
//! bytes, so it holds for every layer that the files may come to be in.
//!
//! ```text
//! /usr/bin/python3
//! /usr/lib/python3.11/        all files below a directory
//! ```

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

mod walk;

use std::ops::Range;

use crate::{Error, ReadAt, Result};

/// The files that a start reads, in the order to fetch them in.
///
/// ```
/// use overlaybd_format::FileList;
///
/// let list = FileList::decode(b"/usr/bin/python3\n\n  etc/\n")?;
/// assert_eq!(list.paths(), [b"/usr/bin/python3".to_vec(), b"etc/".to_vec()]);
/// assert_eq!(list.encode(), b"/usr/bin/python3\netc/\n");
/// # Ok::<_, overlaybd_format::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileList {
    paths: Vec<Vec<u8>>,
}

/// What a [`FileList`] comes to on a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedFiles {
    /// The bytes of the device that the files are in, in the order of the list. Files that are named
    /// more than once have theirs as often.
    pub ranges: Vec<Range<u64>>,
    /// The places in the list of paths that lead nowhere, to a directory without a `/` at the end, or
    /// to a file that is stored in a way that cannot be followed.
    pub unresolved: Vec<usize>,
}

impl FileList {
    /// A list of `paths`, from the root; one that ends in `/` means all files below a directory.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] for a path that no line can hold: an empty one, one with a line break, and
    /// one with blanks at an end; [`Error::Limit`] for more than 65,536 bytes in all, which the
    /// reference does not read.
    pub fn new<P: Into<Vec<u8>>>(paths: impl IntoIterator<Item = P>) -> Result<Self> {
        let list = Self { paths: paths.into_iter().map(Into::into).collect() };
        let unfit = |path: &&Vec<u8>| path.is_empty() || path.trim_ascii() != *path || path.contains(&b'\n');
        if let Some(path) = list.paths.iter().find(unfit) {
            let why = format!("the path {:?}", path.escape_ascii().to_string());
            return Err(Error::broken("file list", 0, why));
        }
        let size = list.paths.iter().map(|path| (path.len() as u64).saturating_add(1)).sum();
        Self::check_size(size)?;
        Ok(list)
    }

    /// Decodes a list file, which is all of `bytes`. Blanks around a path and empty lines mean nothing.
    /// Every file that is not empty and no [trace](crate::trace::Trace::detect) is a list.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`] for more than 65,536 bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        Self::check_size(bytes.len() as u64)?;
        let lines = bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
        Ok(Self { paths: lines.filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect() })
    }

    /// The list file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.paths.iter().flat_map(|path| path.iter().copied().chain([b'\n'])).collect()
    }

    /// The paths, as listed.
    #[must_use]
    pub fn paths(&self) -> &[Vec<u8>] {
        &self.paths
    }

    /// Finds the files on `device`, which has an ext4 or EROFS filesystem, and says which bytes of it
    /// they are in. Only what leads to the files is read; links are followed, except below a listed
    /// directory. [`Trace::of`](crate::trace::Trace::of) makes a trace of the ranges.
    ///
    /// The work is bounded, whatever the filesystem says: paths that are left when the bound is reached
    /// are unresolved.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for another filesystem; [`Error::Broken`] or [`Error::Limit`] for structures
    /// that cannot be; whatever reading `device` reports.
    pub async fn resolve(&self, device: &dyn ReadAt) -> Result<ListedFiles> {
        walk::resolve(self, device).await
    }

    fn check_size(size: u64) -> Result<()> {
        if size > LARGEST {
            return Err(Error::Limit { what: "bytes in a file list", value: size, limit: LARGEST });
        }
        Ok(())
    }
}

/// Bytes of a list that the reference reads.
const LARGEST: u64 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_survive_the_round_trip() {
        let list = FileList::new(["/bin/sh", "usr/lib/", "/opt/a b+c@2/\u{e9}"]).unwrap();
        assert_eq!(FileList::decode(&list.encode()).unwrap(), list);
        assert_eq!(FileList::decode(b"").unwrap(), FileList::default());
        assert_eq!(FileList::decode(b" a\t\r\n\n\r\nb").unwrap(), FileList::new(["a", "b"]).unwrap());
    }

    #[test]
    fn paths_that_no_line_holds_are_refused() {
        for path in ["", " a", "a\t", "a\nb"] {
            assert!(matches!(FileList::new(["x", path]), Err(Error::Broken { .. })), "{path:?}");
        }
    }

    #[test]
    fn lists_are_as_short_as_the_reference_reads_them() {
        let long = |len: usize| FileList::new([vec![b'a'; len]]);
        assert_eq!(FileList::decode(&long(65_535).unwrap().encode()).unwrap(), long(65_535).unwrap());
        assert!(matches!(long(65_536), Err(Error::Limit { value: 65_537, .. })));
        assert!(matches!(FileList::decode(&[b'a'; 65_537]), Err(Error::Limit { value: 65_537, .. })));
    }
}
