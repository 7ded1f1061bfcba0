//! What the store does to its directory, one step at a time.
//!
//! Every change goes through here first, so that a test can let any of them fail, or let all fail from one
//! on, which is what a kill at that moment leaves on the disk.

use std::{fmt, io};

/// A change to the directory of a [`DiskStore`](crate::DiskStore).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(not(feature = "conformance"), allow(unreachable_pub, reason = "tests alone see the steps"))]
pub enum DiskOp {
    /// The bytes of a chunk are written.
    WriteData,
    /// A record is added to a map.
    AppendRecord,
    /// The torn end of a map is cut off.
    CutMap,
    /// A shorter map is written beside the old one.
    WriteMap,
    /// The shorter map takes the place of the old one.
    ReplaceMap,
    /// The bytes of a chunk are freed.
    Punch,
    /// A file is removed.
    Remove,
    /// A file is made, if it is not there.
    Create,
}

/// Who is asked before each change.
#[derive(Clone, Default)]
pub(super) struct Ops {
    #[cfg(feature = "conformance")]
    before: Option<std::sync::Arc<dyn Fn(DiskOp) -> io::Result<()> + Send + Sync>>,
}

impl Ops {
    #[cfg(feature = "conformance")]
    pub(super) fn asking(before: impl Fn(DiskOp) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self { before: Some(std::sync::Arc::new(before)) }
    }

    #[cfg(feature = "conformance")]
    pub(super) fn before(&self, op: DiskOp) -> io::Result<()> {
        self.before.as_ref().map_or(Ok(()), |before| before(op))
    }

    #[cfg(not(feature = "conformance"))]
    pub(super) fn before(&self, _op: DiskOp) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Ops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ops")
    }
}
