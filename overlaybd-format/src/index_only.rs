//! Index-only layers: metadata of a filesystem in the layer, contents of files in a *target*.
//!
//! The target is the uncompressed tar stream of an ordinary OCI layer. A segment says by its tag which
//! of the two its bytes are in. For the rest of the crate the two are one stream, and the segments are
//! shifted accordingly when the layer is opened:
//!
//! ```text
//!  0                            target_at
//!  ├ LSMT stream ───────┬ 0…511 ┼ target ────────────────┤
//!    header data index   padding  tar header, file, …
//! ```

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;

use crate::content::Content;
use crate::lsmt::SECTOR_SIZE;
use crate::read_at::check_bounds;
use crate::{ReadAt, Result, Warm};

/// The blob that an index-only layer points into.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) name: Arc<str>,
    pub(crate) blob: Arc<dyn ReadAt>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Target").field(&self.name).field(&self.blob).finish()
    }
}

/// The stream of a layer and its target as one.
#[derive(Debug)]
pub(crate) struct IndexOnlyStream {
    own: Content,
    target: Target,
}

impl IndexOnlyStream {
    pub(crate) fn new(own: Content, target: Target) -> Self {
        Self { own, target }
    }

    pub(crate) fn own(&self) -> &Content {
        &self.own
    }

    pub(crate) fn target_name(&self) -> &str {
        &self.target.name
    }

    /// Where in the target the bytes `range` are; none if they are not.
    pub(crate) fn in_target(&self, range: &Range<u64>) -> Option<Range<u64>> {
        let at = self.target_at();
        Some(range.start.checked_sub(at)?..range.end.checked_sub(at)?)
    }

    fn target_at(&self) -> u64 {
        target_sector(self.own.size()).saturating_mul(SECTOR_SIZE)
    }

    /// Cuts a read into the part of the layer, the padding, and the part of the target, which starts
    /// at the byte given with it.
    fn parts<'a>(&self, buf: &'a mut [u8], offset: u64) -> (&'a mut [u8], &'a mut [u8], &'a mut [u8], u64) {
        let up_to =
            |end: u64, len: usize| usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX).min(len);
        let target_at = self.target_at();
        let len = buf.len();
        let (front, in_target) = buf.split_at_mut(up_to(target_at, len));
        let len = front.len();
        let (own, padding) = front.split_at_mut(up_to(self.own.size(), len));
        (own, padding, in_target, offset.saturating_sub(target_at))
    }
}

#[async_trait]
impl ReadAt for IndexOnlyStream {
    fn size(&self) -> u64 {
        self.target_at().saturating_add(self.target.blob.size())
    }

    async fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_bounds(self.size(), offset, buf.len())?;
        let (own, padding, in_target, target_offset) = self.parts(buf, offset);
        padding.fill(0);
        if !own.is_empty() {
            self.own.read_at(own, offset).await?;
        }
        if !in_target.is_empty() {
            let read = self.target.blob.read_at(in_target, target_offset).await;
            read.map_err(|error| error.in_blob(&self.target.name))?;
        }
        Ok(())
    }

    fn try_read_at(&self, buf: &mut [u8], offset: u64) -> Result<Warm> {
        check_bounds(self.size(), offset, buf.len())?;
        let (own, padding, in_target, target_offset) = self.parts(buf, offset);
        padding.fill(0);
        if !own.is_empty() && self.own.try_read_at(own, offset)? == Warm::No {
            return Ok(Warm::No);
        }
        if in_target.is_empty() {
            return Ok(Warm::Yes);
        }
        let read = self.target.blob.try_read_at(in_target, target_offset);
        read.map_err(|error| error.in_blob(&self.target.name))
    }
}

/// The sector at which the target starts behind a stream of `own_size` bytes.
pub(crate) const fn target_sector(own_size: u64) -> u64 {
    own_size.div_ceil(SECTOR_SIZE)
}
